"""`sdeictl postmortem`: what each kind of end leaves, alone and together, gives the right account."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from sdeictl.cli import cli
from sdeictl.errors import SdeictlError, Status
from sdeictl.host.directory import DirectoryRoot
from sdeictl.host.journal import Journal, JournalBoot, JournalEnd
from sdeictl.host.reader import Reader
from sdeictl.postmortem.document import postmortem_document, postmortem_status
from sdeictl.postmortem.examine import examine
from sdeictl.postmortem.files import MANY_FILES, MANY_LOGS, NO_ROOM, read_dump, read_log
from sdeictl.postmortem.join import share_times
from sdeictl.postmortem.text import render_postmortem
from sdeictl.text import to_plain
from tests.conftest import TESTS, validate
from tests.support.core_builder import FakeCpu, FakeKernel, address_of, elf_core, flattened, kdump_core
from tests.support.limited import run

Json = dict[str, Any]
IDLE = FakeCpu(address_of("default_idle_call"))
WEDGED = FakeCpu(address_of("lkdtm_HARDLOCKUP"), pstate=0x600000C5, pid=101)
UNSTOPPED = FakeCpu(None)
BEGAN = 1_700_000_000.0 - 1195.0
"""When the first boot began, in seconds since 1970; the kernels of core_builder crash 1,195 s later."""
BOOT = (
    "0.000000 Booting Linux on physical CPU 0x0000000000 [0x411fd070]",
    "0.000000 Linux version 7.3.4-fake (x) #1",
    "0.512345 Machine model: linux,dummy-virt",
    "0.612345 sdei_nmi: using SDEI cross-CPU NMI (SDEI_EVENT_SIGNAL, event 0)",
    "0.700001 smp: Brought up 1 node, 4 CPUs",
    "1.000002 Run /sbin/init as init process",
    "3.100003 systemd[1]: nothing of interest",
)
PANIC = (
    "1190.000001 Kernel panic - not syncing: dumptest",
    "1190.100002 SMP: stopping secondary CPUs",
    "1191.200003 SMP: retry stop with SDEI NMI for CPUs 2",
    "1191.300004 Starting crashdump kernel...",
)
NO_REACH = (*PANIC[:2], "1191.200003 SMP: failed to stop secondary CPUs 2", *PANIC[3:])


def dmesg(lines: Sequence[str]) -> bytes:
    """Return lines of `seconds text` as dmesg prints them."""
    pairs = (line.split(" ", 1) for line in lines)
    return "".join(f"<6>[{float(at):12.6f}] {text}\n" for at, text in pairs).encode()


def entries(lines: Sequence[str]) -> bytes:
    """Return lines as `journalctl -o json` prints the kernel's entries."""
    found = []
    for line in lines:
        at, text = line.split(" ", 1)
        found.append(
            json.dumps({
                "_TRANSPORT": "kernel", "SYSLOG_FACILITY": "0", "PRIORITY": "6", "MESSAGE": text,
                "_SOURCE_MONOTONIC_TIMESTAMP": str(round(float(at) * 1e6)),
            })
        )  # fmt: skip
    return "".join(f"{line}\n" for line in found).encode()


def later(lines: Sequence[str]) -> list[str]:
    """Return the same lines, each a millisecond later: the log of another boot."""
    pairs = (line.split(" ", 1) for line in lines)
    return [f"{float(at) + 0.001:.6f} {text}" for at, text in pairs]


class FakeJournal(Journal):
    """A journal with boots of 20 minutes each, one after the other."""

    def __init__(self, *boots: Sequence[str], closed: Sequence[int] = (), seconds: float = 1190.0) -> None:
        super().__init__()
        self._logs = boots
        self._closed = closed
        self._seconds = seconds

    def boots(self) -> tuple[JournalBoot, ...]:
        count = len(self._logs)
        return tuple(JournalBoot(place - count + 1, f"{place:032x}") for place in range(count))

    def kernel_log(self, boot: JournalBoot) -> Iterator[bytes]:
        yield entries(self._logs[int(boot.id, 16)])

    def began_at(self, boot: JournalBoot) -> float | None:
        return BEGAN + 1200.0 * int(boot.id, 16)

    def end(self, boot: JournalBoot) -> JournalEnd | None:
        number = int(boot.id, 16)
        return JournalEnd(BEGAN + 1200.0 * number + self._seconds, number in self._closed)


def look(journal: Journal, tree: Path, files: Mapping[str, bytes] | None = None, boots: int = 3) -> Json:
    """Write files to a tree, and return the document about it."""
    for path, data in (files or {}).items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_bytes(data)
    found = examine(Reader(DirectoryRoot(str(tree))), journal, [], boots)
    document: Any = postmortem_document(found)
    validate("postmortem-1", document)
    document["status"] = int(postmortem_status(found))
    document["text"] = to_plain(render_postmortem(document))
    return dict(document)


def kernel(lines: Sequence[str], *cpus: FakeCpu) -> FakeKernel:
    return FakeKernel(cpus or (IDLE, IDLE, WEDGED, IDLE), log=tuple(lines))


def test_clean_end(tmp_path: Path) -> None:
    document = look(FakeJournal(BOOT, BOOT, closed=(0, 1)), tmp_path)
    assert [boot["end"] for boot in document["boots"]] == ["clean", "clean"]
    assert (document["verdict"]["evidence_lost"], document["status"]) == (False, 0)


def test_log_that_simply_stops(tmp_path: Path) -> None:
    document = look(FakeJournal(BOOT), tmp_path)
    assert [boot["end"] for boot in document["boots"]] == ["reset"]
    assert (document["verdict"]["evidence_lost"], document["status"]) == (None, 3)


LAYOUTS = {
    "debian": ("202311142213", "dump.202311142213", "dmesg.202311142213"),
    "rhel": ("127.0.0.1-2023-11-14-22:13:20", "vmcore", "vmcore-dmesg.txt"),
    "suse": ("2023-11-14-22:13", "vmcore", "dmesg.txt"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("build", ["elf", "kdump", "flattened"])
@pytest.mark.parametrize("with_journal", [True, False])
def test_dump_in_each_layout(tmp_path: Path, layout: str, build: str, with_journal: bool) -> None:
    place, dump, log = LAYOUTS[layout]
    lines = [*BOOT, *PANIC]
    core = elf_core(kernel(lines)) if build == "elf" else kdump_core(kernel(lines))
    data = flattened(core) if build == "flattened" else core
    files = {f"var/crash/{place}/{dump}": data, f"var/crash/{place}/{log}": dmesg(lines)}
    document = look(FakeJournal(*([BOOT] * with_journal)), tmp_path, files)
    assert len(document["boots"]) == 1, document["boots"]
    boot = document["boots"][0]
    assert (boot["end"], boot["panic"], boot["dump"]["state"]) == ("panic", "dumptest", "complete")
    assert boot["stop"] == {"rungs": ["ipi", "sdei"], "retried": [2], "failed": []}
    assert [
        (cpu["cpu"], cpu["answered"], cpu["path"], cpu["registers_in_dump"]) for cpu in boot["stuck"]
    ] == [(2, True, "sdei", True)]
    assert (boot["boot_id"] is not None, document["status"]) == (with_journal, 0)
    assert document["advice"] == []


def test_culprit_is_missing_in_the_dump(tmp_path: Path) -> None:
    boot_lines = [line for line in BOOT if "sdei_nmi" not in line]
    lines = [*boot_lines, *NO_REACH]
    files = {"var/crash/202311142213/dump.202311142213": elf_core(kernel(lines, IDLE, IDLE, UNSTOPPED, IDLE))}
    document = look(FakeJournal(boot_lines), tmp_path, files)
    boot = document["boots"][0]
    assert [
        (cpu["cpu"], cpu["answered"], cpu["path"], cpu["registers_in_dump"]) for cpu in boot["stuck"]
    ] == [(2, False, "none", False)]
    assert boot["missing"]
    assert (document["verdict"]["evidence_lost"], document["status"]) == (True, 1)
    assert "lacks the registers of CPU 2" in boot["summary"]


def test_two_sources_of_one_crash_are_one_boot(tmp_path: Path) -> None:
    lines = [*BOOT, *PANIC]
    files = {
        "sys/fs/pstore/dmesg-ramoops-0": b"Panic#1 Part1\n" + dmesg([*BOOT, PANIC[0]]),
        "sys/fs/pstore/console-ramoops-0": dmesg([*BOOT[4:], *PANIC]),
        "var/crash/202311142213/dump.202311142213": elf_core(kernel(lines)),
    }
    document = look(FakeJournal(BOOT, BOOT[:4], closed=(1,)), tmp_path, files)
    ends = [boot["end"] for boot in document["boots"]]
    assert ends == ["panic", "clean"], document["text"]
    assert len(document["boots"][0]["evidence"]) == 4


def test_parts_of_one_record_in_pstore(tmp_path: Path) -> None:
    """EFI stores a log in parts; the last one has no record that the journal has."""
    files = {
        "sys/fs/pstore/dmesg-efi_pstore-170000000001001": b"Panic#1 Part1\n" + dmesg(PANIC),
        "sys/fs/pstore/dmesg-efi_pstore-170000000002001": b"Panic#1 Part2\n" + dmesg(BOOT),
    }
    document = look(FakeJournal(BOOT), tmp_path, files)
    assert [boot["end"] for boot in document["boots"]] == ["panic"]


def test_capture_kernel_is_no_boot_of_the_host(tmp_path: Path) -> None:
    capture = (*BOOT[:3], "0.000000 OF: fdt: Reserving 4 KiB of memory at 0x5fdff000 for elfcorehdr")
    document = look(FakeJournal(BOOT, capture, BOOT, closed=(2,)), tmp_path)
    assert [boot["end"] for boot in document["boots"]] == ["reset", "clean"]


def test_dump_of_another_host(tmp_path: Path) -> None:
    other = later([line.replace("linux,dummy-virt", "GB200") for line in (*BOOT, *PANIC)])
    files = {"var/crash/202311142213/vmcore": elf_core(kernel(other))}
    document = look(FakeJournal(BOOT, BOOT, closed=(0, 1)), tmp_path, files)
    assert [boot["end"] for boot in document["boots"]] == ["clean", "clean"]
    assert "of another host" in document["gaps"][0]["detail"]


def test_incomplete_dump(tmp_path: Path) -> None:
    lines = [*BOOT, *PANIC]
    whole = elf_core(kernel(lines))
    files = {
        "var/crash/202311142213/dump-incomplete": whole[: len(whole) - 100],
        "var/crash/202311142213/dmesg.202311142213": dmesg(lines),
    }
    boot = look(FakeJournal(BOOT), tmp_path, files)["boots"][0]
    assert (boot["end"], boot["dump"]["state"]) == ("panic", "incomplete")


def test_empty_dump(tmp_path: Path) -> None:
    """Seen with kdump-tools 1.10.7 of Debian, where makedumpfile cannot read the kernel."""
    document = look(FakeJournal(), tmp_path, {"var/crash/202311142213/dump.202311142213": b""})
    boot = document["boots"][0]
    assert (boot["end"], boot["dump"]["state"]) == ("unknown", "incomplete")


def test_console_of_the_capture_kernel(tmp_path: Path) -> None:
    """It writes to the same ramoops memory as the kernel that crashed."""
    capture = later([*BOOT[:2], "0.000000 OF: fdt: Reserving 4 KiB of memory at 0x77ff0000 for elfcorehdr"])
    # What systemd-pstore.service has moved is gone from there.
    console = dmesg(["18.300000 reboot: Restarting system"])
    files = {"var/lib/systemd/pstore/console-ramoops-0": console}
    document = look(FakeJournal(BOOT, capture, BOOT), tmp_path, files)
    assert [boot["end"] for boot in document["boots"]] == ["reset", "reset"], document["text"]


def test_dump_that_is_none(tmp_path: Path) -> None:
    files = {
        "var/crash/202311142213/dump.202311142213": b"makedumpfile",
        "var/crash/202311142213/dmesg.202311142213": dmesg([*BOOT, *PANIC]),
    }
    boot = look(FakeJournal(BOOT), tmp_path, files)["boots"][0]
    assert (boot["end"], boot["dump"]["state"]) == ("panic", "unknown")


def test_nothing_to_read_gives_advice(tmp_path: Path) -> None:
    document = look(FakeJournal(), tmp_path)
    assert (document["boots"], document["status"], len(document["advice"])) == ([], 3, 3)


@pytest.mark.parametrize(("host", "stack"), [("dt-none", False), ("dt-sdei", True)])
def test_real_wedge(tmp_path: Path, host: str, stack: bool) -> None:
    """The console of a real host whose CPU 1 was wedged, as its ramoops console."""
    console = (TESTS / "hosts" / host / "console.log").read_bytes()
    document = look(FakeJournal(), tmp_path, {"sys/fs/pstore/console-ramoops-0": console})
    boot = document["boots"][-1]
    culprit = next(cpu for cpu in boot["stuck"] if cpu["cpu"] == 1)
    assert (boot["end"], culprit["stack"], document["status"]) == ("panic", stack, int(not stack)), document[
        "text"
    ]
    assert culprit["since"]
    if not stack:
        assert boot["missing"]


def test_command(tmp_path: Path) -> None:
    log = tmp_path / "console.log"
    log.write_bytes((TESTS / "hosts" / "dt-none/console.log").read_bytes())
    (tmp_path / "tree/etc").mkdir(parents=True)
    arguments = ["postmortem", "--root", str(tmp_path / "tree"), str(log)]
    done = CliRunner().invoke(cli, [*arguments, "--format", "json"])
    assert done.exit_code == 1, done.output
    validate("postmortem-1", json.loads(done.stdout))
    done = CliRunner().invoke(cli, arguments)
    assert (done.exit_code, done.stdout.startswith("EVIDENCE LOST")) == (1, True)
    error = CliRunner().invoke(cli, [*arguments[:3], str(tmp_path / "none")]).exception
    assert isinstance(error, SdeictlError)
    assert error.status == Status.USAGE


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"no kernel\n", "neither a crash dump nor a log"), (b"", "neither a crash dump nor a log"),
        (b"\x7fELF" + bytes(100), "cannot be read as a crash dump"),
    ],
)  # fmt: skip
def test_one_bad_file_hides_no_other(tmp_path: Path, content: bytes, why: str) -> None:
    (tmp_path / "tree/etc").mkdir(parents=True)
    (tmp_path / "bad").write_bytes(content)
    log = TESTS / "hosts/dt-none/console.log"
    arguments = ["postmortem", "--root", str(tmp_path / "tree"), "--format", "json", str(tmp_path / "bad")]
    done = CliRunner().invoke(cli, [*arguments, str(log), str(log)])
    document = json.loads(done.stdout)
    assert done.exit_code == 1
    assert any(why in gap["detail"] for gap in document["gaps"])
    assert [boot["evidence"] for boot in document["boots"]] == [[str(log)]]
    assert CliRunner().invoke(cli, arguments).exit_code == 3


def of_named(tmp_path: Path, log: bytes) -> Json:
    """Return the document about a log that the user names, and no host."""
    found = [find._replace(named=True) for find in read_log(("console",), [log])]
    document: Any = postmortem_document(
        examine(Reader(DirectoryRoot(str(tmp_path))), FakeJournal(), found, 3)
    )
    return dict(document)


@pytest.mark.parametrize(("first", "second"), [("dt-none", "dt-sdei"), ("dt-sdei", "dt-none")])
def test_log_of_several_boots(tmp_path: Path, first: str, second: str) -> None:
    """A serial console goes on after the reset; no crash in it is forgotten."""
    logs = {host: (TESTS / "hosts" / host / "console.log").read_bytes() for host in (first, second)}
    begins = b"".join(logs[second].splitlines(keepends=True)[:200])
    cases = ((logs[first] + logs[second], ["panic", "panic"]), (logs[first] + begins, ["panic", "running"]))
    for text, ends in cases:
        document = of_named(tmp_path, text)
        assert [boot["end"] for boot in document["boots"]] == ends
        lost = "dt-none" in (first, second)[: ends.count("panic")]
        assert document["verdict"]["evidence_lost"] is lost


def test_boot_that_simply_stops_before_another(tmp_path: Path) -> None:
    document = of_named(tmp_path, dmesg(BOOT) + dmesg(later(BOOT)))
    assert [boot["end"] for boot in document["boots"]] == ["reset", "running"]


def test_cpu_that_waits_for_another(tmp_path: Path) -> None:
    """CPU 3 asked CPU 1 and still waited for it, masked, when the kernel stopped all CPUs."""
    console = (TESTS / "hosts/dt-none/console.log").read_bytes()
    document = look(FakeJournal(), tmp_path, {"sys/fs/pstore/console-ramoops-0": console})
    (boot,) = document["boots"]
    assert [(cpu["cpu"], cpu["waits_for"]) for cpu in boot["stuck"]] == [(1, None), (3, 1)]
    assert "CPU 1 was stuck" in boot["summary"]


def test_log_that_ends_with_the_report(tmp_path: Path) -> None:
    """Whether a stack would have followed is unknown."""
    lines = [*BOOT, "16.348000 watchdog: CPU0: Watchdog detected hard LOCKUP on cpu 1"]
    document = look(FakeJournal(), tmp_path, {"sys/fs/pstore/console-ramoops-0": dmesg(lines)})
    assert [(cpu["cpu"], cpu["stack"]) for cpu in document["boots"][0]["stuck"]] == [(1, None)]
    assert (document["verdict"]["evidence_lost"], document["status"]) == (None, 3)


def test_account_in_a_capture(tmp_path: Path) -> None:
    tree, out = tmp_path / "tree", tmp_path / "out.tar.gz"
    shutil.copytree(TESTS / "hosts/dt-sdei" / "root", tree, symlinks=True)
    pstore = tree / "sys/fs/pstore"
    pstore.mkdir(parents=True, exist_ok=True)
    shutil.copy(TESTS / "hosts/dt-none/console.log", pstore / "console-ramoops-0")
    CliRunner().invoke(cli, ["capture", "--root", str(tree), "--postmortem", str(out)])
    done = CliRunner().invoke(cli, ["postmortem", "--root", str(out)])
    assert (done.exit_code, done.stdout.startswith("EVIDENCE LOST")) == (1, True)
    bare = tmp_path / "bare.tar.gz"
    CliRunner().invoke(cli, ["capture", "--root", str(tree), str(bare)])
    for without in (bare, tree / "kmsg.txt"):
        error = CliRunner().invoke(cli, ["postmortem", "--root", str(without)]).exception
        assert isinstance(error, SdeictlError)
        assert error.status == Status.UNKNOWN


@pytest.mark.parametrize("change", ["model", "records", "release"])
def test_dump_of_another_host_at_the_same_time(tmp_path: Path, change: str) -> None:
    """On shared storage the dump of another host can be made when this host was reset."""
    other = [*BOOT[:1], *BOOT[1:], *PANIC]
    if change == "model":
        other = [line.replace("linux,dummy-virt", "GB200") for line in other[:3]] + list(PANIC)
    elif change == "release":
        other = [line.replace("7.3.4-fake", "6.12.1") for line in other[:2]] + list(PANIC)
    else:
        other = later(other)
    files = {"var/crash/202311142213/vmcore": elf_core(kernel(other))}
    document = look(FakeJournal(BOOT), tmp_path, files)
    assert document["boots"][-1]["end"] == "reset", document["text"]


def test_dump_that_only_the_clock_places(tmp_path: Path) -> None:
    """A log that has wrapped has no record that reached the journal before the crash."""
    files = {"var/crash/202311142213/vmcore": elf_core(kernel(PANIC))}
    document = look(FakeJournal(BOOT), tmp_path, files)
    assert [boot["end"] for boot in document["boots"]] == ["panic"], document["text"]


def test_named_dump_joins_its_log(tmp_path: Path) -> None:
    lines = [*BOOT, *PANIC]
    dump = read_dump("x", io.BytesIO(elf_core(kernel(lines))))
    (log,) = read_log(("y",), [dmesg(lines)])
    found = examine(Reader(DirectoryRoot(str(tmp_path))), FakeJournal(), [dump, log], 3)
    assert [boot.evidence for boot in found.boots] == [("x", "y")]


def test_capture_has_no_secret(tmp_path: Path) -> None:
    """Names of files and directories, the message of a driver, and the identifiers of boots do not leave."""
    lines = [*BOOT, PANIC[0].replace("dumptest", "CANARY in the driver"), *PANIC[1:]]
    tree = tmp_path / "tree"
    for path, data in {
        "var/crash/CANARY-202311142213/dump.CANARY": elf_core(kernel(lines)),
        "var/crash/CANARY-202311142213/dmesg.CANARY": dmesg(lines),
        "var/lib/systemd/pstore/CANARY/dmesg.txt": dmesg(later(lines)),
        "kmsg.txt": (TESTS / "hosts/dt-sdei" / "root" / "kmsg.txt").read_bytes(),
    }.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_bytes(data)
    out = tmp_path / "out.tar.gz"
    done = CliRunner().invoke(cli, ["capture", "--root", str(tree), "--postmortem", str(out)])
    with tarfile.open(out) as archive:
        file = archive.extractfile("postmortem.json")
        assert file, done.output
        text = file.read().decode()
        assert not [name for name in archive.getnames() if "CANARY" in name or "crash" in name]
    document = json.loads(text)
    validate("postmortem-1", document)
    assert "CANARY" not in text
    assert [boot["panic"] for boot in document["boots"]] == ["other", "other"]
    assert {source for boot in document["boots"] for source in boot["evidence"]} == {"dump", "log", "pstore"}


def test_clock_that_went_back(tmp_path: Path) -> None:
    """The second boot began before the first one, by the clock; the records say where the dump belongs."""

    class Backward(FakeJournal):
        def began_at(self, boot: JournalBoot) -> float | None:
            return BEGAN - 86400.0 * int(boot.id, 16)

        def end(self, boot: JournalBoot) -> JournalEnd | None:
            return JournalEnd(BEGAN - 86400.0 * int(boot.id, 16) + 900, closed=int(boot.id, 16) == 1)

    files = {"var/crash/202311142213/vmcore": elf_core(kernel([*BOOT, *PANIC]))}
    document = look(Backward(BOOT, later(BOOT)), tmp_path, files)
    assert [boot["end"] for boot in document["boots"]] == ["panic", "clean"], document["text"]


def test_journal_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Denied(FakeJournal):
        def boots(self) -> tuple[JournalBoot, ...]:
            raise OSError(errno.EIO, "journalctl ended with status 1")

    for user, kind in ((0, "broken"), (1000, "denied")):
        monkeypatch.setattr(os, "geteuid", lambda user=user: user)
        document = look(Denied(), tmp_path)
        assert [gap["kind"] for gap in document["gaps"]] == [kind]
        assert document["status"] == 3


def test_journal_without_kernel_records(tmp_path: Path) -> None:
    """So a user who is no member of the group sees the journal."""
    document = look(FakeJournal((), ()), tmp_path)
    assert [boot["end"] for boot in document["boots"]] == ["unknown", "unknown"]
    assert "systemd-journal" in document["gaps"][0]["detail"]
    assert document["status"] == 3


def test_many_sparse_dumps(tmp_path: Path) -> None:
    """Only the newest crashes are read, and of each dump only the pages that tell of the CPUs."""
    core = elf_core(kernel([*BOOT, *PANIC]))
    for day in range(50):
        place = tmp_path / f"var/crash/2023{day // 25 + 1:02}{day % 25 + 1:02}0000"
        place.mkdir(parents=True)
        with (place / "vmcore").open("wb") as file:
            file.write(core)
            file.truncate(1 << 30)
    outcome = run("postmortem", "--root", tmp_path, "--format", "json")
    document = json.loads(outcome.stdout)
    assert (outcome.status, outcome.peak_mib < 100) == (0, True)
    assert "47 older" in document["gaps"][0]["detail"]
    (boot,) = document["boots"]
    assert len([source for source in boot["evidence"] if "vmcore" in source]) == 3


STOP, MASKED = "20231114T221300.000000Z-stop", "20231114T221300.000000Z-backtrace"


@pytest.mark.parametrize(
    ("drill", "outcome", "named"),
    [
        (STOP, None, True), (STOP, "pass", True), (MASKED, None, True), (MASKED, "lost", True),
        (MASKED, "pass", False),
    ],
)  # fmt: skip
def test_drill_that_ended_the_boot(tmp_path: Path, drill: str, outcome: str | None, named: bool) -> None:
    """A drill that always ends the boot, has no result or lost a CPU; one that has passed did not do it."""
    lines = [*BOOT, f"1180.000000 sdeictl: drill {drill}", *PANIC]
    files = {"var/crash/202311142213/vmcore": elf_core(kernel(lines))}
    if outcome:
        result = json.loads((TESTS / "hosts/dt-sdei/drills/plain.json").read_text())
        result |= {"id": drill, "outcome": outcome, "drill": drill.rpartition("-")[2], "variant": None}
        files[f"var/lib/sdeictl/drills/{drill}.json"] = json.dumps(result).encode()
    boot = look(FakeJournal(BOOT), tmp_path, files)["boots"][0]
    assert boot["drill"] == (drill if named else None)


def test_console_that_shares_only_lines_of_systemd(tmp_path: Path) -> None:
    """systemd-pstore.service empties the console when it moves it: the next one begins there."""
    times = [f"{4 + number}.{number}00123" for number in range(8)]
    systemd = "".join(
        json.dumps({
            "_TRANSPORT": "kernel", "SYSLOG_FACILITY": "3", "PRIORITY": "6", "MESSAGE": f"Started {time}",
            "_SOURCE_MONOTONIC_TIMESTAMP": str(round(float(time) * 1e6)),
        }) + "\n"
        for time in times
    ).encode()  # fmt: skip

    class WithSystemd(FakeJournal):
        def kernel_log(self, boot: JournalBoot) -> Iterator[bytes]:
            yield from super().kernel_log(boot)
            yield systemd if boot.number == -1 else b""

    lines = [f"{time} systemd[1]: Started {time}." for time in times]
    files = {"var/lib/systemd/pstore/console-ramoops-0": dmesg([*lines, *PANIC])}
    document = look(WithSystemd(BOOT, BOOT, later(BOOT), closed=(2,)), tmp_path, files)
    assert [boot["end"] for boot in document["boots"]] == ["reset", "panic", "clean"], document["text"]


def test_floods_share_some_times() -> None:
    one, other = set(range(0, 1_000_000, 50)), set(range(0, 1_000_000, 77))
    assert len(one & other) > 100
    assert not share_times(one, other)
    # A console of five lines, as one boot left it, and the journal of that boot.
    console = {6_397_856, 17_041_869, 17_075_202, 19_070_470, 21_318_800}
    journal = {*range(100_000, 17_000_000, 43_000), 6_397_856, 17_041_869}
    assert share_times(console, journal)
    assert not share_times({time + 1 for time in console}, journal)


def test_many_logs_in_pstore(tmp_path: Path) -> None:
    directory = tmp_path / "sys/fs/pstore"
    directory.mkdir(parents=True)
    for at in range(3000):
        boots = "".join(f"[    {9 - boot}.{at:06d}] a{boot}\n" for boot in range(9))
        (directory / f"console-{at}").write_text(boots)
    outcome = run("postmortem", "--root", tmp_path)
    assert outcome.status == 3
    assert MANY_LOGS[:20].encode() in outcome.stdout


def test_many_names_of_one_log(tmp_path: Path) -> None:
    directory = tmp_path / "var/crash/202601010000"
    directory.mkdir(parents=True)
    (directory / "dmesg.0").write_text("".join(f"[{1 + at / 1e6:.6f}] a\n" for at in range(100_000)))
    for at in range(1, 100):
        (directory / f"dmesg.{at}").symlink_to("dmesg.0")
    outcome = run("postmortem", "--root", tmp_path)
    assert outcome.peak_mib < 200
    assert NO_ROOM[:20].encode() in outcome.stdout
    assert MANY_FILES[:20].encode() in outcome.stdout


@pytest.mark.parametrize("place", ["sys/fs/pstore/dmesg-erst-{}", "var/crash/2023010100{:02}/dmesg.x"])
def test_large_logs(tmp_path: Path, place: str) -> None:
    """Neither hundreds of records in pstore nor long logs beside dumps need much memory."""
    lines = [f"{number / 1000:.6f} a line of no interest, and another {number}" for number in range(10_000)]
    for number in range(12):
        path = tmp_path / place.format(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        text = dmesg([f"{float(line.split()[0]) + number:.6f} {line}" for line in lines])
        path.write_bytes(text * 2 if "crash" in place else text)
    outcome = run("postmortem", "--root", tmp_path)
    assert outcome.status == 3
    assert outcome.peak_mib < 100
