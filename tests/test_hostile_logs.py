"""Logs of any shape end in bounded time and memory, and say what was left out."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from itertools import chain, repeat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdeictl.host import named
from sdeictl.host.open import open_root
from sdeictl.klog import boot_reader, log
from sdeictl.klog.analysis import FULL, Source, analyze_files, find_episodes
from sdeictl.klog.bootlog import BootLogReader
from sdeictl.klog.boots import MAX_MARKED, Boots
from sdeictl.klog.episodes import Analysis, Backtrace, Panic
from sdeictl.klog.lines import MAX_WORK, LineBudget, LineReader
from sdeictl.klog.log import CUT_LINE, LONG, LogFile, parse_log, read_last_boot
from sdeictl.klog.public import LEFT_OUT, public_log
from sdeictl.klog.unwrap import Wrapping
from sdeictl.klog.words import CpuState, NmiPath
from sdeictl.probe.collect import collect
from tests.conftest import CapturedHost, load_host
from tests.support.limited import run
from tests.test_analysis_properties import EXAMPLES
from tests.test_log_files import PACKERS

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
    "stalls": "rcu: INFO: rcu_preempt detected expedited stalls on CPUs/tasks: {{ "
    + " ".join(f"P{pid}" for pid in range(1_000_000, 1_000_100)) + " }} 5 jiffies s: 1 root: 0x0/.",
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


def test_blocks_inside_a_block_are_counted() -> None:
    flood = lines("CPU: 2 PID: 5 Comm: x", 2000, step=0.0001)
    log = "[    1.000000] NMI backtrace for cpu 1\n" + "".join(flood)
    assert find_episodes(parse_log(log.encode()).records, limit=100_000).ended_early


def test_lines_in_a_record_are_work() -> None:
    """A record of /dev/kmsg can be a million lines."""
    log = "".join(f"6,{number},{number},-;{chr(92).join(['x', *['x0a'] * 10_000])}\n" for number in range(50))
    file = LogFile([log[at : at + 50_000].encode() for at in range(0, len(log), 50_000)], LineBudget(100_000))
    count = sum(1 for _ in file.read(Boots()))
    assert file.has_gap
    assert count < 400_000


def test_marks_of_boots_are_limited() -> None:
    boots = Boots()
    file = LogFile([b"".join(b"[    0.1%05d] x\n-- Reboot --\n" % number for number in range(60_000))])
    assert sum(1 for _ in file.read(boots)) == 60_000
    assert len(boots.marked) <= MAX_MARKED


def test_cpus_of_a_boot_are_limited() -> None:
    line = "[    0.000001] CPU1: Booted secondary processor 0x0000000100 [0x411fd070]\n"
    reader = BootLogReader()
    for record in parse_log((line * 30_000).encode()).records:
        reader.read(record)
    assert len(reader.bootlog().midrs) <= 20_000


def test_long_lines_are_not_held() -> None:
    """Only short lines can continue another one."""
    stamp = "[    1.000000] "
    sample = [*[f"{stamp}{'word ' * 12}word", "word word"] * 2, f"{stamp}x"]
    wrapping = Wrapping(sample)
    assert not wrapping.is_plain
    long = "x" * 5000
    assert len(wrapping.read([f"{stamp}x", *[long] * 5])) == 5


def test_floods_need_little_memory(tmp_path: Path) -> None:
    for name in ("other requests", "answers"):
        (tmp_path / name.replace(" ", "")).write_text("".join(lines(FLOODS[name], 10_000)))
    outcome = run("analyze", *sorted(tmp_path.iterdir()))
    assert b"\n20000 kernel records, " in outcome.stdout
    assert b"need too much memory" in outcome.stdout


@pytest.mark.parametrize("step", [1.0, 11.0])
def test_requests_of_a_large_machine_are_whole(tmp_path: Path, step: float) -> None:
    """1,500 requests to 4,095 CPUs fit, whether each was answered unseen or by nobody."""
    (tmp_path / "log").write_text("".join(lines(FLOODS["requests"], 1500, step)))
    outcome = run("analyze", tmp_path / "log")
    assert b"\n1500 kernel records, 1500 episodes\n" in outcome.stdout
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
    """Of a log of any shape, so much is parsed as the budget allows; the rest is only counted."""
    budget = LineBudget(MAX_WORK // 1000)
    budget.tail_lines //= 1000
    pieces = 0

    def pieces_until_spent() -> Iterator[bytes]:
        nonlocal pieces
        piece = SHAPES[name]()
        while not budget.is_spent():
            pieces += 1
            yield piece
        yield from [piece] * 3

    file = LogFile(pieces_until_spent(), budget)
    for _record in file.read(Boots()):
        pass
    assert pieces * MIB <= 16 * MIB, "so 1,000 times the budget is read in less than 16 GiB"
    (note,) = (note for note in file.notes() if note.startswith("The log is too long"))
    assert "lines " in note


def test_files_share_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sdeictl.klog.analysis.LineBudget", lambda files: LineBudget(1000, files))
    monkeypatch.setattr("sdeictl.klog.lines.TAIL_LINES", 30)
    monkeypatch.setattr("sdeictl.klog.lines.PIECE_CHARACTERS", 512)
    many = "".join(lines("usb: {at}", 2000, 0.001)).encode()
    found = analyze(many, BEGIN + many, BEGIN)
    gaps = [any(note.startswith(LONG[:20]) for note in file.notes) for file in found.files]
    assert gaps == [True, True, False], "of the last file, nothing is left out"
    assert found.files[2].records


REQUEST = "Sending NMI from CPU 0 to CPUs 1-3:"
ANSWER = "NMI backtrace for cpu 2"


def limited(data: bytes, monkeypatch: pytest.MonkeyPatch, tail_lines: int = 300) -> Analysis:
    """Analyze a log of which only the beginning and the end are read."""

    def budget(files: int = 1) -> LineBudget:
        made = LineBudget(1500, files)
        made.tail_lines = tail_lines
        return made

    monkeypatch.setattr("sdeictl.klog.analysis.LineBudget", budget)
    monkeypatch.setattr("sdeictl.klog.lines.PIECE_CHARACTERS", 4096)
    return analyze(data)


def long_log(middle: int = 5000) -> list[str]:
    """Return a log with a request at the beginning, and the crash at the end."""
    begin = ["[    0.000000] Booting Linux on physical CPU 0x0000000000 [0x410fd0c1]\n"]
    begin += [f"[{1 + at / 1000:12.6f}] usb {at}\n" for at in range(1200)]
    begin += [f"[   20.000000] {REQUEST}\n"]
    body = [f"[{21 + at / 1000:12.6f}] usb: {at}\n" for at in range(middle)]
    end = [f"[{30_000 + at:12.6f}] usb: {at}\n" for at in range(100)]
    end += [f"[31000.000000] {ANSWER}\n", "[31000.000001] Kernel panic - not syncing: hung\n"]
    return [*begin, *body, *end]


def test_end_of_a_long_log_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    text = long_log()
    found = limited("".join(text).encode(), monkeypatch)
    assert isinstance(found.episodes[-1], Panic)
    (note,) = (note for note in found.notes if note.startswith(LONG[:20]))
    first, last = (int(number.replace(",", "")) for number in re.findall(r"[\d,]*\d", note)[:2])
    assert 1000 < first < last < len(text)
    assert found.records == len(text) - (last - first + 1)


def test_silence_does_not_cross_the_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU may have answered in the lines that were left out; a later answer is not to this request."""
    data = "".join(long_log()).encode()
    whole, found = analyze(data), limited(data, monkeypatch)
    states = [
        {cpu.state for each in analysis.episodes if isinstance(each, Backtrace) for cpu in each.cpus}
        for analysis in (whole, found)
    ]
    assert states[0] == {CpuState.SELF, CpuState.SILENT, CpuState.LATE}
    assert states[1] == {CpuState.SELF, CpuState.PENDING}


def test_boot_facts_do_not_cross_the_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another boot may have begun in the lines that were left out."""
    text = long_log()
    text.insert(1, "[    0.500000] sdei: using SDEI cross-CPU NMI\n")
    text.insert(-1, f"[31000.000000] {REQUEST}\n")
    found = limited("".join(text).encode(), monkeypatch)
    last = [each for each in found.episodes if isinstance(each, Backtrace)][-1]
    assert last.path is NmiPath.UNKNOWN
    assert last.boot > 0


def test_long_kmsg_counts_lost_records(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "".join(f"6,{at},{at * 1000},-;usb: {at}\n" for at in range(9000))
    found = limited(text.encode(), monkeypatch)
    assert found.records + found.records_lost == 9000


@pytest.mark.parametrize("packer", PACKERS)
def test_end_of_a_long_packed_log(packer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = "".join(long_log()).encode()
    (tmp_path / "x").write_bytes(PACKERS[packer](data))
    pieces = b"".join(named.NamedFile(str(tmp_path / "x")).pieces())
    assert limited(pieces, monkeypatch) == limited(data, monkeypatch)
    assert isinstance(limited(pieces, monkeypatch).episodes[-1], Panic)


@settings(max_examples=EXAMPLES)
@given(st.data())
def test_lines_before_and_after_gap(data: st.DataObject) -> None:
    """The note has the numbers of the lines that were left out, whatever ends a line."""
    ends = data.draw(st.sampled_from([("\n",), ("\r\n",), ("\r",), ("\n", "\r", "\r\n")]))
    words = data.draw(st.lists(st.sampled_from(["a", "bé", "c" * 9]), max_size=60))
    text = "".join(f"{at}{word}{ends[at % len(ends)]}" for at, word in enumerate(words))
    budget = LineBudget(data.draw(st.integers(0, 50)))
    budget.tail_lines = data.draw(st.integers(1, 20))
    size = data.draw(st.integers(1, 30))
    encoded = text.encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sdeictl.klog.lines.PIECE_CHARACTERS", data.draw(st.integers(4, 40)))
        reader = LineReader([encoded[at : at + size] for at in range(0, len(encoded), size)], budget)
        read = [line for piece in reader for line in piece.split("\n") if line]
    wanted = [f"{at}{word}" for at, word in enumerate(words)]
    first, last = reader.gap or (1, 0)
    assert read == wanted[: first - 1] + wanted[last:]


def test_cut_line_after_a_gap() -> None:
    file = LogFile([BEGIN * 9000, BEGIN[:-1]], LineBudget(1))
    assert list(file.read(Boots()))
    assert CUT_LINE in file.notes()


LONG_LINES: dict[str, Callable[[], Iterator[str]]] = {
    "cursors": lambda: iter(("_TRANSPORT=kernel\nMon 2026-01-01 ", " [s=" * 400_000, "\n_X=y\n")),
    "repetitions": lambda: iter(
        ("[    1.000000] a\n", "message repeated 1 times: [" * 50_000, "\n[    2.000000] b\n")
    ),
    "blanks": lambda: (
        f"[    1.{at:06d}] CPU: 0 PID: 1 Comm: x Tainted: {' ' * 4_000_000}x\n" for at in range(4)
    ),
    "an object of long lines": lambda: chain(
        ['{\n"_TRANSPORT":"kernel",\n'], repeat(f'"{"x" * 2_000_000}\U0001f600"\n', 20), ["}\n"]
    ),
    "an entry of many fields": lambda: chain(
        ["_TRANSPORT=kernel\n\n"], (f"{'A' * 45}{at:X}={'v' * 9}\n" for at in range(600_000))
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LONG_LINES)
def test_long_lines_cost_little(name: str, tmp_path: Path) -> None:
    """The time of a line does not grow with the square of its length, nor does an entry need much memory."""
    with (tmp_path / "log").open("w") as file:
        file.writelines(LONG_LINES[name]())
    assert run("analyze", tmp_path / "log").peak_mib < 130
    assert run("capture", "--root", tmp_path / "log", tmp_path / "out.tgz").status in (0, 3)


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


def test_last_boot_begins_after_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was read before the gap may be of another boot."""
    monkeypatch.setattr("sdeictl.klog.log.LineBudget", lambda: LineBudget(10))
    monkeypatch.setattr("sdeictl.klog.lines.TAIL_LINES", 10)
    monkeypatch.setattr("sdeictl.klog.lines.PIECE_CHARACTERS", 4096)
    text = "".join(long_log()).encode()
    found = read_last_boot([text])
    assert found.records
    assert not any("Booting" in record.text for record in found.records)
    assert found.records[-1].text.startswith("Kernel panic")
    facts = collect(open_root(str(load_host("dt-sdei").root)), [text])
    assert facts.bootlog
    assert not facts.bootlog.complete


@pytest.mark.parametrize("line", [b"6,1,1,-;usb: a\n", BEGIN])
def test_capture_of_endless_log_is_broken(monkeypatch: pytest.MonkeyPatch, line: bytes) -> None:
    """A log that ends early would look complete in the capture."""
    assert public_log(line * 99) != LEFT_OUT.encode()
    for module in ("public", "log"):
        monkeypatch.setattr(f"sdeictl.klog.{module}.LineBudget", lambda: LineBudget(10))
    monkeypatch.setattr("sdeictl.klog.lines.TAIL_LINES", 10)
    monkeypatch.setattr("sdeictl.klog.lines.PIECE_CHARACTERS", 4096)
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


def test_pipe_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = os.pipe()
    with subprocess.Popen(["yes"], stdout=theirs) as endless:
        os.close(theirs)
        file = named.NamedFile(f"/dev/fd/{ours}")
        monkeypatch.setattr(named, "MAX_LOG_BYTES", 1000)
        assert sum(map(len, file.pieces())) <= 1000
        assert file.damage
        os.close(ours)
        endless.kill()


def clockless(count: int, at: str = "    0.000000") -> bytes:
    return b"".join(b"[%b] line %d\n" % (at.encode(), number) for number in range(count))


@pytest.mark.parametrize("at", ["    0.000000", "    5.000000"])
def test_log_of_one_time(tmp_path: Path, at: str) -> None:
    """The lines of the first 10 ms wait for a later one: not all of them, if it never comes."""
    (tmp_path / "log").write_bytes(clockless(300_000, at) + b"[    6.000000] usb: end\n")
    outcome = run("analyze", tmp_path / "log")
    assert b"\n300001 kernel records, " in outcome.stdout
    assert outcome.peak_mib < 100


@pytest.mark.parametrize("at", ["    0.000000", "    0.009999"])
def test_long_start_is_a_boot_of_its_own(at: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request before it is not silent, and the answers in it are not to this request."""
    monkeypatch.setattr("sdeictl.klog.boots.MAX_EARLY_LINES", 50)
    before = f"[    1.000000] {REQUEST}\n[    2.000000] usb: x\n".encode()
    (request,) = analyze(before + clockless(200, at) + b"[   20.000000] usb: end\n").episodes
    assert isinstance(request, Backtrace)
    assert {cpu.state for cpu in request.cpus} == {CpuState.SELF, CpuState.PENDING}


def test_long_quotation_of_a_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sdeictl.klog.boots.MAX_EARLY_LINES", 50)
    text = clockless(200) + b"[    1.000000] usb: x\n"
    assert analyze(text + text + b"[    2.000000] usb: y\n").records == 202


FOREIGN = {
    "old": "Nov 27 07:00:0{low} db7 sshd[{cpu}]: Accepted publickey for root from 10.0.0.{low}",
    "new": "2026-11-27T07:00:00.123456+00:00 db7 sshd[{cpu}]: Accepted publickey for root",
    "prose": "The quick brown fox {at} jumps over the lazy dog, again and again and again.",
}
KERNEL_LINES = {
    "old": "Nov 27 08:00:00 db7 kernel: [  500.000000] Kernel panic - not syncing: x",
    "old, without time": "Nov 27 08:00:00 db7 kernel: Kernel panic - not syncing: x",
    "new": "2026-11-27T08:00:00.123456+00:00 db7 kernel: [  500.000000] Kernel panic - not syncing: x",
    "console": "[  500.000000] Kernel panic - not syncing: x",
    "no time": "Kernel panic - not syncing: x",
    "unknown": "[  500.000000] usb 1-1: new high-speed device",
}


@pytest.mark.parametrize("kernel", KERNEL_LINES)
@pytest.mark.parametrize("foreign", FOREIGN)
def test_first_kernel_line_far_behind(foreign: str, kernel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other programs wrote 100 MiB before it: it is found, and none of their lines is a record.

    Here it is a hundredth of that, with a hundredth of the budget and of the sample.
    """
    monkeypatch.setattr(log, "SAMPLE_CHARACTERS", log.SAMPLE_CHARACTERS // 100)
    monkeypatch.setattr("sdeictl.klog.analysis.LineBudget", lambda files: LineBudget(MAX_WORK // 100, files))
    count = MIB // (len(FOREIGN[foreign]) * 3000)
    block = "".join(FOREIGN[foreign].format(at=at, cpu=at, low=at % 10) + "\n" for at in range(3000)).encode()
    last = f"{KERNEL_LINES[kernel]}\n".encode()
    found = analyze_files([Source("log", [*[block] * count, last], lambda: ())])
    # Without a time, nothing tells the kernel's lines from those near them.
    assert found.records == 1 or kernel == "no time"
    assert not any(note.startswith(LONG[:20]) for note in found.notes)
    assert len(found.episodes) == (kernel != "unknown")
