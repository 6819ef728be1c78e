"""What the log slice of a drill may prove: stored slices judged again, damaged ones, and one of 256 CPUs."""

from __future__ import annotations

import json
import random
import re
import threading
import time
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdeictl.drill import mask
from sdeictl.drill.judge import Observed, Predicted, judge_backtrace
from sdeictl.drill.mask import LockupMarks
from sdeictl.drill.plan import Plan, make_plan
from sdeictl.drill.result import DrillResult, WindowEvidence
from sdeictl.host.kmsg import KmsgFollower
from sdeictl.interlock.bpf import CLOSED, NOT_OPENED, OPEN
from sdeictl.interlock.results import DrillDocument
from sdeictl.interlock.window import PROVIDERS, WindowRequest
from sdeictl.klog.analysis import analyze
from sdeictl.klog.log import parse_log
from sdeictl.klog.records import Record
from sdeictl.klog.words import CpuState, NmiPath
from sdeictl.probe.drills import DrillOutcome
from sdeictl.probe.words import Outcome
from tests.conftest import HOST_NAMES, TESTS
from tests.support.drill_story import SURVEY, check_drill, refuses_test_lockup
from tests.test_analysis_properties import EXAMPLES

STATUS = {"pass": 0, "fail": 1}


class StoredDrill(NamedTuple):
    """A result that a guest stored, and its log slice."""

    host: str
    name: str
    result: DrillDocument
    log: bytes

    @property
    def outcome(self) -> DrillOutcome:
        return DrillOutcome(self.result["outcome"])


def load(host: str, name: str) -> StoredDrill:
    base = TESTS / "hosts" / host / "drills" / name
    result: DrillDocument = json.loads(base.with_suffix(".json").read_text())
    return StoredDrill(host, name, result, base.with_suffix(".log").read_bytes())


DRILLS = [
    load(host, path.stem)
    for host in HOST_NAMES
    for path in sorted((TESTS / "hosts" / host / "drills").glob("*.json"))
]
any_drill = st.sampled_from(DRILLS)
any_drill_by_nmi = st.sampled_from([drill for drill in DRILLS if b"Sending NMI" in drill.log])


@pytest.fixture(params=DRILLS, ids=lambda drill: f"{drill.host}-{drill.name}")
def drill(request: pytest.FixtureRequest) -> StoredDrill:
    found: StoredDrill = request.param
    return found


def plan_of(drill: StoredDrill) -> Plan:
    window, target = drill.result["window"], drill.result["target"]
    online = tuple(cpu["cpu"] for cpu in drill.result["cpus"])
    return Plan(
        WindowRequest(masked=bool(window)),
        online,
        trigger=1,
        watcher=0,
        target=target["cpu"] if target else None,
        provider=next((each for each in PROVIDERS if window and each.name == window["provider"]), None),
    )


def observed_in(drill: StoredDrill) -> Observed:
    """Return what the drill observed when its result was stored."""
    window = drill.result["window"]
    return Observed(
        log=drill.log,
        triggered=True,
        returned=True,
        window=WindowEvidence(window["opened"], window["held"], window["closed"]) if window else None,
        row_moved=drill.result["path_evidence"]["ipi_row_moved"],
    )


def judge(drill: StoredDrill, observed: Observed) -> DrillResult:
    """Judge the drill as if it had observed this."""
    pseudo_nmi = Outcome(drill.result["path_evidence"]["pseudo_nmi"])
    predicted = Predicted(NmiPath(drill.result["path"]), pseudo_nmi, None)
    return judge_backtrace(plan_of(drill), predicted, observed)


def judge_log(drill: StoredDrill, log: bytes) -> DrillResult:
    """Judge the drill as if it had read this log; everything else is as it was."""
    return judge(drill, observed_in(drill)._replace(log=log))


def conclusions(result: DrillResult) -> tuple[object, ...]:
    return (
        result.outcome, result.path, result.in_window,
        [(cpu.cpu, cpu.state, cpu.masked, cpu.pc) for cpu in result.cpus],
    )  # fmt: skip


def test_every_provider_was_drilled() -> None:
    names = {(drill.host, drill.name) for drill in DRILLS}
    for host in HOST_NAMES:
        assert {(host, "plain"), (host, "bpf")} <= names
        assert ((host, "test_lockup") in names) is not refuses_test_lockup(host)


def test_stored_log_gives_stored_result(drill: StoredDrill) -> None:
    result = judge_log(drill, drill.log)
    check_drill(drill.host, STATUS[drill.outcome], drill.result)
    assert (result.outcome, list(result.reasons)) == (drill.outcome, drill.result["reasons"])
    assert [cpu.pc for cpu in result.cpus] == [cpu["pc"] for cpu in drill.result["cpus"]]
    assert result.path == drill.result["path"]


def test_missing_evidence_is_unknown(drill: StoredDrill) -> None:
    seen = observed_in(drill)
    for observed in (
        seen._replace(triggered=False), seen._replace(returned=False), seen._replace(overruns=1),
        seen._replace(changed=True), seen._replace(trouble=("Interrupted.",)), seen._replace(log=b""),
    ):  # fmt: skip
        result = judge(drill, observed)
        assert result.outcome is DrillOutcome.UNKNOWN
        assert result.reasons
    if drill.result["window"]:
        unseen = judge(drill, seen._replace(window=WindowEvidence()))
        assert (unseen.outcome, unseen.in_window) == (DrillOutcome.UNKNOWN, False)


def test_lost_cpu_is_the_loudest(drill: StoredDrill) -> None:
    seen = observed_in(drill)
    result = judge(drill, seen._replace(stuck=(2,), overruns=3, trouble=("Interrupted.",)))
    assert (result.outcome, result.lost_cpus) == (DrillOutcome.LOST, (2,))
    assert "CPU 2 did not come back" in result.reasons[0]


def test_window_not_held_never_fails(drill: StoredDrill) -> None:
    """If a CPU answered late, the request may have come after the window, which proves nothing."""
    if not drill.result["window"]:
        return
    window = WindowEvidence(opened=True, held=False, closed=True)
    result = judge(drill, observed_in(drill)._replace(window=window))
    passed = drill.outcome is DrillOutcome.PASS
    assert result.outcome is (DrillOutcome.PASS if passed else DrillOutcome.UNKNOWN)


def test_marks_agree_with_the_window(drill: StoredDrill) -> None:
    if drill.name != "test_lockup":
        return
    window = WindowEvidence(opened=True, held=True, closed=True)
    at_once, one_by_one = (LockupMarks(plan_of(drill).target or 0) for _ in range(2))
    assert at_once.see(parse_log(drill.log).records) == window
    for record in re.findall(rb"(?m)^\S.*\n(?: .*\n)*", drill.log):
        one_by_one.see(parse_log(record).records)
    assert one_by_one.seen == window


SENT = parse_log(b"6,1,1000000,-;Sending NMI from CPU 1 to CPUs 0,2-3:\n").records
SHOWN = parse_log(
    b"6,1,1000000,-;sysrq: CPU1:\n6,2,1009000,-;sysrq: CPU0: backtrace skipped as idling\n"
).records
"""Before Linux 6.7: the CPU that asks shows itself, and one that was asked answers."""


@pytest.mark.parametrize(
    ("looks", "expected"),
    [
        ([(NOT_OPENED, ()), (OPEN, ()), (OPEN, SENT), (CLOSED, ())], WindowEvidence(True, True, True)),
        ([(OPEN, ()), (OPEN, SENT)], WindowEvidence(True, True, False)),
        ([(OPEN, ()), (CLOSED, SENT)], WindowEvidence(True, False, True)),
        ([(OPEN, SENT), (CLOSED, ())], WindowEvidence(False, True, True)),
        ([(NOT_OPENED, ()), (NOT_OPENED, SENT), (OPEN, ())], WindowEvidence(False, True, False)),
        ([(OPEN, ()), (OPEN, SHOWN[:1]), (OPEN, SHOWN[1:])], WindowEvidence(True, True, False)),
        ([(OPEN, ()), (OPEN, SHOWN[:1]), (CLOSED, SHOWN[1:])], WindowEvidence(True, False, True)),
    ],
)
def test_bpf_window_is_seen_by_looking(
    monkeypatch: pytest.MonkeyPatch, looks: list[tuple[int, tuple[Record, ...]]], expected: WindowEvidence
) -> None:
    """Each look has the state of the program at that moment, and the new records of the log."""
    states = iter([state for state, _records in looks])
    monkeypatch.setattr(mask, "BpfWindow", lambda _seconds: SimpleNamespace(state=lambda: next(states)))
    window = mask.make_mask(make_plan(WindowRequest(masked=True), SURVEY), SURVEY)
    assert window is not None
    assert [window.see(records) for _state, records in looks][-1] == expected


@settings(max_examples=EXAMPLES)
@given(drill=any_drill, where=st.floats(0, 1), head=st.booleans())
def test_cut_log_never_turns_the_outcome(drill: StoredDrill, where: float, head: bool) -> None:
    cut = round(where * len(drill.log))
    result = judge_log(drill, drill.log[cut:] if head else drill.log[:cut])
    assert result.outcome in (drill.outcome, DrillOutcome.UNKNOWN)


@settings(max_examples=EXAMPLES)
@given(drill=any_drill, data=st.data())
def test_lost_record_is_unknown(drill: StoredDrill, data: st.DataObject) -> None:
    lines = drill.log.splitlines(keepends=True)
    gone = data.draw(st.integers(1, len(lines) - 2))
    result = judge_log(drill, b"".join(lines[:gone] + lines[gone + 1 :]))
    assert result.outcome is DrillOutcome.UNKNOWN


FOREIGN = (
    (6, "usb 1-1: new high-speed USB device"),
    (6, "audit: type=1400 audit(1.2:3): apparmor=x"),
    (14, "Sending NMI from CPU 9 to CPUs 0-8:"),
    (14, "test_lockup: Start on CPU3"),
    (14, "test_lockup: Finish on CPU3 in 5 ns"),
    (14, "NMI backtrace for cpu 3"),
    (14, "pstate: 000000c5 (nzcv daIF"),
)


def renumber(lines: Sequence[bytes]) -> bytes:
    """Give records the sequence numbers and ascending times that the kernel gives them."""
    times = sorted(int(line.split(b",")[2]) for line in lines)
    out = []
    for sequence, (line, micros) in enumerate(zip(lines, times)):
        prefix, rest = line.split(b",", 1)
        _sequence, _micros, rest = rest.split(b",", 2)
        out.append(b"%b,%d,%d,%b" % (prefix, sequence, micros, rest))
    return b"".join(out)


@settings(max_examples=EXAMPLES)
@given(drill=any_drill, spots=st.lists(st.tuples(st.floats(0, 1), st.sampled_from(FOREIGN)), max_size=20))
def test_other_records_change_nothing(
    drill: StoredDrill, spots: Sequence[tuple[float, tuple[int, str]]]
) -> None:
    lines = drill.log.splitlines(keepends=True)
    for where, (priority, text) in spots:
        at = round(where * (len(lines) - 1))
        micros = lines[at].split(b",")[2]
        lines.insert(at, b"%d,0,%b,-;%b\n" % (priority, micros, text.encode()))
    result = judge_log(drill, renumber(lines))
    assert conclusions(result) == conclusions(judge_log(drill, drill.log))


def blocks_of(drill: StoredDrill) -> tuple[list[bytes], list[list[bytes]], list[bytes]]:
    """Split a log into the lines before the answers, the lines of each CPU, and the lines after."""
    lines = drill.log.splitlines(keepends=True)
    first = next(index for index, line in enumerate(lines) if b";Sending NMI from" in line) + 1
    blocks: list[list[bytes]] = []
    after: list[bytes] = []
    for line in lines[first:]:
        if match := re.search(rb";NMI backtrace for cpu (\d+)", line):
            blocks.append([])
            caller = match[1]
        if b"test_lockup: " in line or not blocks:
            after.append(line)
        else:
            blocks[-1].append(line.replace(b",-;", b",-,caller=C%b;" % caller, 1))
    return lines[:first], blocks, after


@settings(max_examples=EXAMPLES)
@given(drill=any_drill_by_nmi, seed=st.integers(0, 10**9))
def test_answers_of_cpus_may_interleave(drill: StoredDrill, seed: int) -> None:
    before, blocks, after = blocks_of(drill)
    order = [index for index, block in enumerate(blocks) for _line in block]
    random.Random(seed).shuffle(order)
    queues = [iter(block) for block in blocks]
    mixed = [next(queues[index]) for index in order]
    result = judge_log(drill, renumber([*before, *mixed, *after]))
    assert conclusions(result) == conclusions(judge_log(drill, drill.log))


def as_console(log: bytes) -> list[bytes]:
    lines = []
    for line in log.splitlines():
        micros, text = int(line.split(b",")[2]), line.split(b";", 1)[1].replace(rb"\x09", b"\t")
        if not line.startswith(b" "):
            lines.append(b"[%5d.%06d] %b\r\n" % (micros // 10**6, micros % 10**6, text))
    return lines


@settings(max_examples=EXAMPLES)
@given(drill=any_drill, where=st.floats(0, 1), since=st.floats(0, 1))
def test_dmesg_on_console_changes_nothing(drill: StoredDrill, where: float, since: float) -> None:
    lines = as_console(drill.log)
    at = round(where * len(lines))
    quoted = lines[:at] + lines[round(since * at) : at] + lines[at:]
    plain = analyze(parse_log(b"".join(lines))).episodes
    assert plain == analyze(parse_log(drill.log)).episodes
    assert analyze(parse_log(b"".join(quoted))).episodes == plain


CONSOLE_BYTES_A_SECOND = 11_520
"""A console of 115200 baud."""
MANY = 256


def answers_of_many() -> bytes:
    """Return the answers of 256 CPUs, each with the block that a real CPU printed from inside its window."""
    drill = load("dt-sdei", "bpf")
    before, blocks, _after = blocks_of(drill)
    block = next(block for block in blocks if b"_sdeictl_win+" in b"".join(block))
    own = int(re.findall(rb"backtrace for cpu (\d+)", block[0])[0])
    lines = [re.sub(rb"(Sending NMI from CPU \d+ to CPUs ).*:", rb"\g<1>0,2-255:", line) for line in before]
    for cpu in range(MANY):
        if cpu == asking_cpu(drill):
            continue
        for line in block:
            renamed = re.sub(rb"(for cpu |;CPU: )%d\b" % own, rb"\g<1>%d" % cpu, line)
            lines.append(re.sub(rb"caller=C\d+", b"caller=C%d" % cpu, renamed))
    return renumber(lines)


def asking_cpu(drill: StoredDrill) -> int:
    return next(cpu["cpu"] for cpu in drill.result["cpus"] if cpu["state"] == "self")


class Ring:
    """A stand-in for /dev/kmsg: its producer has its own speed, and it keeps a limited number of records."""

    def __init__(self, records: Sequence[bytes], kept: int, bytes_a_second: float) -> None:
        self._records = records
        self._kept = kept
        self._speed = bytes_a_second
        self._written = 0
        self._read = 0
        self.producer = threading.Thread(target=self._produce)

    def _produce(self) -> None:
        begun, sent = time.monotonic(), 0
        for record in self._records:
            sent += len(record)
            while time.monotonic() - begun < sent / self._speed:
                time.sleep(0.0001)
            self._written += 1

    def read(self, _descriptor: int, _size: int) -> bytes:
        oldest = self._written - self._kept
        if self._read < oldest:
            self._read = oldest
            raise BrokenPipeError
        if self._read == self._written:
            raise BlockingIOError
        record = self._records[self._read]
        self._read += 1
        return record


def follow(ring: Ring, pause: Callable[[], None]) -> KmsgFollower:
    follower = KmsgFollower(-1, ring.read)
    ring.producer.start()
    while ring.producer.is_alive():
        follower.drain()
        pause()
    follower.drain()
    return follower


def judge_many(follower: KmsgFollower) -> DrillResult:
    drill = load("dt-sdei", "plain")
    plan = plan_of(drill)._replace(online=tuple(range(MANY)))
    observed = Observed(
        log=follower.data(), overruns=follower.overruns, triggered=True, returned=True, row_moved=False
    )
    return judge_backtrace(plan, Predicted(NmiPath.SDEI, Outcome.FAIL, None), observed)


def test_256_cpus_are_read_in_time() -> None:
    """The kernel logs a hundred times as fast as a console prints."""
    records = answers_of_many().splitlines(keepends=True)
    assert len(records) > 8000
    ring = Ring(records, kept=10_000, bytes_a_second=100 * CONSOLE_BYTES_A_SECOND)
    result = judge_many(follow(ring, lambda: time.sleep(0.01)))
    assert (result.outcome, result.path, result.records_lost) == (DrillOutcome.PASS, NmiPath.SDEI, 0)
    assert len(result.cpus) == MANY
    masked = [cpu for cpu in result.cpus if cpu.state is CpuState.BACKTRACE and cpu.masked is True]
    assert len(masked) == MANY - 1


def test_overrun_is_counted_and_unknown() -> None:
    records = answers_of_many().splitlines(keepends=True)
    ring = Ring(records, kept=500, bytes_a_second=1e9)
    result = judge_many(follow(ring, ring.producer.join))
    assert result.outcome is DrillOutcome.UNKNOWN
    assert result.records_lost > 0
    text = f"The kernel overwrote {result.records_lost} log records before they were read."
    assert result.reasons[0] == text


def test_cpus_that_print_themselves_got_no_nmi() -> None:
    """As Debian's kernels 5.10 and 6.1 answer sysrq-l: the path is none, whatever the row says."""
    idle = tuple(f"sysrq: CPU{cpu}: backtrace skipped as idling" for cpu in (3, 0, 2))
    texts = ("sysrq: Show backtrace of all active CPUs", "sysrq: CPU1:", *idle)
    log = "".join(f"6,{at},{1000 * at},-;{text}\n" for at, text in enumerate(texts)).encode()
    drill = load("dt-none", "plain")
    plan = plan_of(drill)._replace(trigger=1)
    observed = Observed(log=log, triggered=True, returned=True, row_moved=None)
    result = judge_backtrace(plan, Predicted(NmiPath.NONE, Outcome.FAIL, None), observed)
    assert (result.outcome, result.path) == ("fail", "none")
