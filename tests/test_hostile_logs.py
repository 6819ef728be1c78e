"""Logs of any shape end in bounded time and memory, and say what was left out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sdeictl.klog import boot_reader, log
from sdeictl.klog.analysis import FULL, Source, analyze_files, find_episodes
from sdeictl.klog.boots import Boots
from sdeictl.klog.episodes import Analysis, Backtrace, Panic
from sdeictl.klog.lines import MAX_LINES, LineBudget
from sdeictl.klog.log import LONG, LogFile, parse_log, read_last_boot
from sdeictl.klog.public import LEFT_OUT, public_log
from sdeictl.klog.words import CpuState
from tests.conftest import CapturedHost, load_host
from tests.support.limited import run

MIB = 1 << 20
BEGIN = b"[    1.000000] sysrq: Show backtrace of all active CPUs\n"


def analyze(*files: bytes) -> Analysis:
    return analyze_files([Source(f"file {at}", [data], lambda: ()) for at, data in enumerate(files)])


def lines(text: str, count: int, step: float = 11.0) -> Iterator[str]:
    """Yield lines with rising times; `{at}` and the like in the text stand for numbers."""
    for at in range(count):
        numbers = {"at": at, "cpu": at % 4000, "low": 1 + at % 100, "high": 4000 - at % 1900}
        yield f"[{100 + step * at:12.6f}] {text.format(**numbers)}\n"


# Each is short to write, and names many CPUs or makes many episodes.
FLOODS = {
    "requests": "Sending NMI from CPU 0 to CPUs 1-4095:",
    "other requests": "Sending NMI from CPU 0 to CPUs {low}-{high}:",
    "time-outs": "After 10 seconds, these CPUS still haven't responded to the NMI: {low}-{high}",
    "idle answers": "NMI backtrace for cpu {cpu} skipped: idling at x",
    "answers": "NMI backtrace for cpu {cpu}",
    "failed stops": "SMP: failed to stop secondary CPUs {low}-{high}",
    "pools": "BUG: workqueue lockup - pool cpus={low}-{high} node=0 flags=0x0 nice=0 stuck for 30s!",
    "soft lockups": "watchdog: BUG: soft lockup - CPU#5 stuck for 31s! [nnnnnnnnnnnnnnn:{at}]",
    "locks": "smp: csd: Detected non-responsive CSD lock (#1) on CPU#{at}, waiting 5000 ns for CPU#1 x(0x0).",
    "hung tasks": "INFO: task x:{at} blocked for more than 120 seconds.",
    "panics": "Kernel panic - not syncing: " + "p" * 3000,
}  # fmt: skip


@pytest.mark.parametrize("name", FLOODS)
def test_flood_is_cut_and_said(name: str) -> None:
    """What is kept depends on the limit, not on the length of the log."""
    one, other = (
        find_episodes(parse_log("".join(lines(FLOODS[name], count)).encode()).records, limit=100_000)
        for count in (1000, 2000)
    )
    assert one == other
    assert one.ended_early
    assert any(note.startswith(FULL[:40]) for note in one.notes)
    assert len(one.episodes) <= 110


def test_floods_need_little_memory(tmp_path: Path) -> None:
    for name in ("other requests", "answers"):
        (tmp_path / name.replace(" ", "")).write_text("".join(lines(FLOODS[name], 20_000)))
    outcome = run("analyze", *sorted(tmp_path.iterdir()))
    assert outcome.stdout.startswith(b"40000 kernel records, ")
    assert b"need too much memory" in outcome.stdout


@pytest.mark.parametrize("step", [1.0, 11.0])
def test_requests_of_a_large_machine_are_whole(tmp_path: Path, step: float) -> None:
    """1,500 requests to 4,095 CPUs fit, whether each was answered unseen or by nobody."""
    (tmp_path / "log").write_text("".join(lines(FLOODS["requests"], 1500, step)))
    outcome = run("analyze", tmp_path / "log")
    assert outcome.stdout.startswith(b"1500 kernel records, 1500 episodes")
    assert b"CPUs without an answer in the log are left out" in outcome.stdout
    assert outcome.peak_mib < 100


def test_request_before_the_cut_is_pending() -> None:
    """The answers that were left out must not look like silence, however long the log goes on."""
    texts = [*lines(FLOODS["soft lockups"], 10), *lines("Sending NMI from CPU 0 to CPUs 1-4095:", 40)]
    found = find_episodes(parse_log("".join(texts).encode()).records, limit=40_000)
    last = found.episodes[-1]
    assert isinstance(last, Backtrace)
    assert {cpu.state for cpu in last.cpus} == {CpuState.SELF, CpuState.PENDING}


def test_long_record_is_cut() -> None:
    (panic,) = analyze(b"[    1.000000] Kernel panic - not syncing: " + b"p" * 100_000 + b"\n").episodes
    assert isinstance(panic, Panic)
    assert len(panic.message) < boot_reader.MAX_TEXT_CHARACTERS


SHAPES: dict[str, Callable[[], bytes]] = {
    "line ends": lambda: b"\n" * MIB,
    "blanks": lambda: b" \n\t" * (MIB // 3),
    "one line": lambda: b"x" * MIB,
    "zeros": lambda: bytes(MIB),
    "short lines": lambda: b"a\n" * (MIB // 2),
    "prose": lambda: b"Some prose about nothing, one line after the other.\n" * (MIB // 51),
    "times that fall": lambda: b"[    5.000000] ab\n[    4.100000] xs\n" * (MIB // 36),
    "records of many boots": lambda: b"[    5.000000] ab\n[    0.100000] Booting Linux\n" * (MIB // 46),
    "open objects": lambda: b"{\n" + b'"a": [\n' * (MIB // 7),
    "long objects": lambda: b"{" + b'"a": 1, ' * (MIB // 8) + b"}\n",
    "fields": lambda: b"_TRANSPORT=kernel\n" + b"FIELD=value\n" * (MIB // 12),
    "marks of a mail": lambda: b"> " * (MIB // 4) + b"\n" + b"=" * 70 + b"=\n" * (MIB // 8),
    "records on one line": lambda: b"[    1.000000] a " * (MIB // 16) + b"\n",
}


@pytest.mark.parametrize("name", SHAPES)
def test_long_log_ends(name: str) -> None:
    """Of a log that never ends, so much is read as the budget allows."""
    read = 0

    def endless() -> Iterator[bytes]:
        nonlocal read
        piece = SHAPES[name]()
        while True:
            read += len(piece)
            yield piece

    file = LogFile(endless(), LineBudget(MAX_LINES // 1000))
    for _record in file.read(Boots()):
        pass
    assert LONG in file.notes()
    assert read <= 16 * MIB, "so 1,000 times the budget is read in less than 16 GiB"


def test_files_share_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sdeictl.klog.analysis.LineBudget", lambda: LineBudget(1000))
    many = "".join(lines("usb: {at}", 2000, 0.001)).encode()
    found = analyze(many, BEGIN + many, BEGIN)
    assert [LONG in file.notes for file in found.files] == [False, True, True]


def test_end_of_the_budget_is_no_cut_line() -> None:
    file = LogFile([BEGIN * 9, BEGIN[:-1]], LineBudget(1))
    assert list(file.read(Boots()))
    assert file.notes() == (LONG,)


@pytest.mark.parametrize("name", ["line ends", "one line"])
def test_large_log_of_a_probe(name: str, tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("wb") as file:
        file.writelines([SHAPES[name]()] * 200)
    tree = load_host("dt-sdei").root
    outcome = run("probe", "--root", tree, "--kernel-log", path, "--format", "json")
    assert json.loads(outcome.stdout)["verdict"]["nmi_path"] == "unknown"
    assert outcome.peak_mib < 100


def test_last_boot_is_all_that_is_kept(host: CapturedHost) -> None:
    console = host.console.replace(b"\r", b"")
    kept = read_last_boot([console[at : at + 999] for at in range(0, len(console), 999)])
    whole = parse_log(console)
    assert (kept.records, kept.lost, kept.notes) == (whole.last_boot(), whole.lost, whole.notes)


def test_boot_that_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """A part of the last boot is no evidence; of an earlier one, nothing needs to be kept."""
    monkeypatch.setattr(log, "MAX_BOOT_BYTES", 50_000)
    large, small = ("".join(lines("usb: {at}", count, 0.001)).encode() for count in (500, 50))
    after = b"[    2.000000] usb\n[    2.100000] usb\n"
    assert read_last_boot([small + large]).records == ()
    assert read_last_boot([small + large]).unread
    assert len(read_last_boot([large + after]).records) == 2
    monkeypatch.setattr("sdeictl.klog.log.LineBudget", lambda: LineBudget(10))
    assert read_last_boot([small, after]).unread


@pytest.mark.parametrize("line", [b"6,1,1,-;usb: a\n", BEGIN])
def test_capture_of_endless_log_is_broken(monkeypatch: pytest.MonkeyPatch, line: bytes) -> None:
    """A log that ends early would look complete in the capture."""
    assert public_log(line * 99) != LEFT_OUT.encode()
    for module in ("public", "log"):
        monkeypatch.setattr(f"sdeictl.klog.{module}.LineBudget", lambda: LineBudget(10))
    assert public_log(line * 20_000) == LEFT_OUT.encode()


def test_probe_says_that_a_log_is_too_large(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"".join(b"6,%d,%d,-;a\n" % (at, at) for at in range(300_000)))
    tree = load_host("dt-sdei").root
    outcome = run("probe", "--root", tree, "--kernel-log", tmp_path / "log", "--format", "json")
    report = json.loads(outcome.stdout)
    assert report["verdict"]["nmi_path"] == "unknown"
    assert any("needs more than 64 MiB" in gap["detail"] for gap in report["gaps"])


def test_probe_says_that_requests_are_left_out(tmp_path: Path) -> None:
    kmsg = "".join(f"6,{at},{at}000000,-;{FLOODS['requests']}\n" for at in range(3000))
    (tmp_path / "log").write_text(kmsg)
    tree = load_host("dt-sdei").root
    outcome = run("probe", "--root", tree, "--kernel-log", tmp_path / "log", "--format", "json")
    assert any("too many requests" in gap["detail"] for gap in json.loads(outcome.stdout)["gaps"])
