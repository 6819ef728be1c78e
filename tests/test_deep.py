"""`probe --deep`: the journal, the program that prints it, and one byte of the kernel's memory."""

from __future__ import annotations

import errno
import io
import json
import os
import struct
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdeictl.host import programs as processes
from sdeictl.host.directory import DirectoryRoot
from sdeictl.host.files import find_words
from sdeictl.host.live import LiveRoot
from sdeictl.host.paths import CPU_DEVICES, CPUS_ONLINE, KALLSYMS, KCORE, KMSG, NOTIFIER_RUN
from sdeictl.host.programs import output_of
from sdeictl.host.tracepoint import counting
from sdeictl.klog.bootlog import read_bootlog
from sdeictl.klog.journald import parse_journal
from sdeictl.klog.log import parse_log
from sdeictl.probe import deep as deep_probe
from sdeictl.probe.collect import collect
from sdeictl.probe.deep import JOURNAL, byte_at
from sdeictl.probe.facts import HostFacts, MaskCount
from sdeictl.probe.kernel import FLAG, NOTIFIER
from sdeictl.probe.report import build_report
from tests.conftest import load_host

ADDRESS = 0xFFFF_8000_8123_4567


def entry(message: object, micros: int = 1_500_000, **changed: object) -> bytes:
    """Return one line of `journalctl -o json`, as systemd 257 prints a kernel record."""
    fields = {
        "_BOOT_ID": "5de1", "_TRANSPORT": "kernel", "SYSLOG_FACILITY": "0", "PRIORITY": "6",
        "SYSLOG_IDENTIFIER": "kernel", "_SOURCE_MONOTONIC_TIMESTAMP": str(micros), "MESSAGE": message,
    }  # fmt: skip
    return json.dumps(fields | changed).encode() + b"\n"


def test_journal_reads_as_kernel_log() -> None:
    start = "Booting Linux on physical CPU 0x0000000000 [0x410fd0c0]"
    data = entry(start, 0) + entry("sdei_nmi: using SDEI cross-CPU NMI (SDEI_EVENT_SIGNAL, event 0)")
    assert parse_journal(data).startswith(b"<6>[    0.000000] Booting Linux on")
    facts = read_bootlog(parse_log(parse_journal(data)).last_boot())
    assert (facts.started, facts.sdei_nmi) == (True, True)


def test_other_journal_entries_are_left_out() -> None:
    claim = "sdei_nmi: using SDEI cross-CPU NMI (SDEI_EVENT_SIGNAL, event 0)"
    others = (
        entry(claim, SYSLOG_FACILITY="3"), entry(claim, _TRANSPORT="stdout"), entry(claim)[:-1],
        entry(claim, _SOURCE_MONOTONIC_TIMESTAMP="now"), entry([300]), b"{}\n", b"[1]\n", b"\xff\n",
        b"[" * 100_000 + b"\n",
    )  # fmt: skip
    for other in others:
        assert parse_journal(other) == b""


def test_journal_record_stays_one_line() -> None:
    forged = "usb 1-1: \n<6>[    1.000000] sdei_nmi: using SDEI cross-CPU NMI"
    assert parse_journal(entry(forged)).count(b"\n") == 1
    assert b"caf\xc3\xa9 \xef\xbf\xbd" in parse_journal(entry(list(b"caf\xc3\xa9 \xff")))


@given(st.binary(max_size=300))
def test_random_bytes_are_no_journal(data: bytes) -> None:
    assert parse_journal(data + b"\n") == b""


def program(directory: Path, script: str) -> None:
    path = directory / "journalctl"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the only directory in which output_of() looks for programs."""
    monkeypatch.setattr(processes, "PROGRAMS", (str(tmp_path),))
    return tmp_path


def test_output_of_a_program(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileNotFoundError):
        output_of("journalctl")
    program(programs, 'echo "$LC_ALL $* $HOME"; /bin/cat')
    assert output_of("journalctl", "-k", "x y") == b"C.UTF-8 -k x y \n"
    program(programs, "echo half; exit 3")
    with pytest.raises(OSError, match="journalctl ended with status 3"):
        output_of("journalctl")
    monkeypatch.setattr(processes, "MAX_OUTPUT_BYTES", 10)
    program(programs, "while :; do echo 123; done")
    assert output_of("journalctl") == b"123\n123\n12"
    program(programs, "exec /bin/sleep 600")
    with pytest.raises(OSError, match=r"did not end within"):
        output_of("journalctl", seconds=0.1)


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo 'Cannot load.' >&2; exit 2", "journalctl ended with status 2: Cannot load"),
        ("echo first >&2; echo; echo ' last ' >&2; echo >&2; exit 1", "journalctl ended with status 1: last"),
        ("i=0; while [ $i -lt 9999 ]; do echo noise >&2; i=$((i+1)); done; exit 1", "status 1: noise"),
        ("printf '\\377\\377' >&2; exit 1", "status 1: \ufffd\ufffd"),
    ],
)
def test_error_of_a_program_is_told(programs: Path, script: str, message: str) -> None:
    program(programs, script)
    with pytest.raises(OSError, match=f"{message}$"):
        output_of("journalctl")


def core(*segments: tuple[int, bytes]) -> bytes:
    """Return an ELF core of arm64 with segments of (address, content); include/uapi/linux/elf.h."""
    header = struct.pack(
        "<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 4, 183, 1, 0, 64, 0, 0, 64, 56, len(segments), 0, 0, 0
    )
    offset = 64 + 56 * len(segments)
    table = b""
    for address, content in segments:
        table += struct.pack("<IIQQQQQQ", 1, 7, offset, address, 0, len(content), len(content), 1)
        offset += len(content)
    return header + table + b"".join(content for _address, content in segments)


def test_byte_of_a_core() -> None:
    data = core((0x1000, b"abc"), (ADDRESS - 1, b"\0\1\2"))
    assert byte_at(io.BytesIO(data), ADDRESS) == 1
    assert byte_at(io.BytesIO(data), 0x1002) == ord("c")
    for address in (0x1003, 0, 2**64 - 1):
        with pytest.raises(OSError, match="it does not contain the address"):
            byte_at(io.BytesIO(data), address)


@given(st.data())
def test_damaged_core_raises_only_oserror(data: st.DataObject) -> None:
    whole = bytearray(core((ADDRESS - 1, b"\0\1\2")))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(whole[: data.draw(st.integers(0, len(whole)))])
    with suppress(OSError):
        assert 0 <= byte_at(io.BytesIO(cut), ADDRESS) <= 255


class Running(LiveRoot):
    """A captured host that is read like the running one, with an address of the flag and a core."""

    def __init__(self, name: str, core: bytes | OSError, address: int = ADDRESS) -> None:
        self._tree = DirectoryRoot(str(load_host(name).root))
        self._core = core
        self._flag = f"{address:016x} b {FLAG}\n".encode()

    def read(self, path: str) -> bytes:
        if path == KMSG:
            # The start of the log is overwritten.
            return b"".join(self._tree.read("/kmsg.txt").splitlines(keepends=True)[-5:])
        content = self._tree.read(path)
        return self._flag + content if path == "/proc/kallsyms" else content

    def search(self, path: str, words: Iterable[bytes], ends: bytes) -> frozenset[bytes]:
        return find_words(self.read(path), words, ends)

    def names(self, path: str) -> tuple[str, ...]:
        return self._tree.names(path)

    def link(self, path: str) -> str:
        return self._tree.link(path)

    def open(self, path: str) -> io.BytesIO:
        assert path == KCORE
        if isinstance(self._core, OSError):
            raise self._core
        return io.BytesIO(self._core)


def gaps(facts: HostFacts) -> set[tuple[str, str]]:
    return {(gap.source, gap.kind) for gap in facts.gaps}


@pytest.mark.usefixtures("programs")
@pytest.mark.parametrize(("byte", "outcome", "path"), [(b"\1", "pass", "sdei"), (b"\0", "fail", "none")])
def test_kernel_flag_decides(byte: bytes, outcome: str, path: str) -> None:
    facts = collect(Running("dt-sdei", core((ADDRESS, byte))), deep=True)
    report = build_report(facts)
    finding = next(f for f in report["findings"] if f["id"] == "sdei-nmi-registered")
    assert (finding["outcome"], finding["sources"][0]) == (outcome, KCORE)
    assert report["verdict"]["nmi_path"] == path


@pytest.mark.usefixtures("programs")
@pytest.mark.parametrize(
    ("memory", "address", "kind"),
    [
        (PermissionError(1, "Operation not permitted"), ADDRESS, "denied"),
        (core((ADDRESS, b"\7")), ADDRESS, "broken"),
        (b"no core", ADDRESS, "broken"),
        (core((ADDRESS, b"\1")), 0, "denied"),
    ],
)
def test_unreadable_flag_is_a_gap(memory: bytes | OSError, address: int, kind: str) -> None:
    facts = collect(Running("dt-sdei", memory, address), deep=True)
    assert facts.sdei_nmi_available is None
    assert gaps(facts) == {(KMSG, "broken"), (JOURNAL, "absent"), (KCORE, kind)}
    assert build_report(facts)["verdict"]["nmi_path"] == "unknown"


@pytest.mark.parametrize("deep", [True, False])
def test_journal_replaces_a_rotated_log(deep: bool, programs: Path) -> None:
    log = DirectoryRoot(str(load_host("dt-pnmi").root)).read("/kmsg.txt").decode()
    lines = [line.split(";", 1) for line in log.splitlines() if line[0].isdigit()]
    output = b"".join(entry(text, int(head.split(",")[2])) for head, text in lines)
    (programs / "output").write_bytes(output)
    program(programs, f"/bin/cat {programs}/output")
    facts = collect(Running("dt-pnmi", core((ADDRESS, b"\0"))), deep=deep, journal=not deep)
    assert facts.sdei_nmi_available is (False if deep else None)
    report = build_report(facts)
    finding = next(f for f in report["findings"] if f["id"] == "pseudo-nmi-enabled")
    assert (report["verdict"]["nmi_path"], finding["sources"][0]) == ("pseudo-nmi", JOURNAL)
    assert facts.bootlog
    assert not facts.bootlog.complete


def test_plain_probe_starts_no_program(programs: Path) -> None:
    program(programs, f"touch {programs}/asked")
    collect(Running("dt-sdei", core((ADDRESS, b"\1"))))
    assert not (programs / "asked").exists()
    assert os.listdir(programs) == ["journalctl"]


MASK_ADDRESS = 0xFFFF_8000_8077_1234


class Idling(Running):
    """A host whose CPUs use the idle state `standby` of psci_idle, and that has the tracepoint."""

    def __init__(
        self,
        entries: Iterable[str],
        *,
        tracepoint: bool = True,
        online: str = "0-1",
        address: int = MASK_ADDRESS,
    ) -> None:  # fmt: skip
        super().__init__("dt-sdei", core((ADDRESS, b"\1")))
        self._entries = list(entries)
        self._tracepoint = tracepoint
        self._symbol = f"{address:016x} t {NOTIFIER}\n".encode()
        self._files = {
            f"{CPU_DEVICES}/cpuidle/current_driver": b"psci_idle\n",
            f"{CPU_DEVICES}/cpu0/cpuidle/state1/name": b"standby\n",
            CPUS_ONLINE: f"{online}\n".encode(),
        }

    def read(self, path: str) -> bytes:
        if path == f"{CPU_DEVICES}/cpu0/cpuidle/state1/usage":
            return f"{self._entries.pop(0) if len(self._entries) > 1 else self._entries[0]}\n".encode()
        if path == KALLSYMS:
            return self._symbol + super().read(path)
        return self._files[path] if path in self._files else super().read(path)

    def names(self, path: str) -> tuple[str, ...]:
        known = {CPU_DEVICES: ("cpu0", "cpuidle"), f"{CPU_DEVICES}/cpu0/cpuidle": ("state0", "state1")}
        return known[path] if path in known else super().names(path)

    def link(self, path: str) -> str:
        if path == f"{NOTIFIER_RUN}/id" and self._tracepoint:
            raise OSError(errno.EINVAL, "Invalid argument")
        return super().link(path)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let the kernel count what is put into the list, without waiting for it."""
    counts: list[int] = []

    @contextmanager
    def counting(directory: str, condition: str, cpus: Iterable[int]) -> Iterator[Callable[[], int]]:
        assert (directory, condition, list(cpus)) == (NOTIFIER_RUN, f"cb == {MASK_ADDRESS:#x}", [0, 1])
        if not counts:
            raise PermissionError(errno.EACCES, "Permission denied")
        yield lambda: counts[0]

    monkeypatch.setattr(deep_probe, "counting", counting)
    monkeypatch.setattr(deep_probe, "COUNT_SECONDS", 0.0)
    return counts


@pytest.mark.usefixtures("programs")
@pytest.mark.parametrize(
    ("times", "entries", "saw_each_state"),
    [
        (52, ("9", "9", "30"), True),
        (0, ("9", "9", "30"), True),
        (0, ("9",), False),
        (0, ("9", "x", "9"), False),
    ],
)
def test_masking_is_counted(
    counted: list[int], times: int, entries: tuple[str, ...], saw_each_state: bool
) -> None:
    counted.append(times)
    found = collect(Idling(entries), deep=True).mask_count
    assert found == MaskCount(0.0, times, saw_each_state)


@pytest.mark.usefixtures("programs", "counted")
@pytest.mark.parametrize(
    ("host", "kind"),
    [
        (Idling("9"), "denied"),
        (Idling("9", tracepoint=False), "absent"),
        (Idling("9", online=""), "broken"),
        (Idling("9", address=0), "denied"),
    ],
)
def test_uncounted_masking_is_a_gap(host: Idling, kind: str) -> None:
    facts = collect(host, deep=True)
    assert facts.mask_count is None
    assert (NOTIFIER_RUN, kind) in gaps(facts)


def test_counting_needs_a_tracepoint(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), counting(str(tmp_path), "cb == 1", [0]):
        pass
    (tmp_path / "id").write_text("no number\n")
    with (
        pytest.raises(OSError, match="/id does not contain a number"),
        counting(str(tmp_path), "cb == 1", [0]),
    ):
        pass
