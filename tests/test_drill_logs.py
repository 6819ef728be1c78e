"""What a drill's log slice may prove: stored ones judged anew, damaged ones, and one of 256 CPUs."""

import json
import random
import re
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdeictl.drill.mask import WindowEvidence, read_marks
from sdeictl.drill.plan import PROVIDERS, Plan, Request
from sdeictl.drill.result import DrillResult, Observed, Predicted, judge
from sdeictl.host.kmsg import KmsgFollower
from sdeictl.klog.analysis import analyze
from sdeictl.klog.log import parse_log
from tests.conftest import HOST_NAMES, TESTS
from tests.support.drill_story import MODULE_REFUSED, check_drill
from tests.test_analysis_properties import EXAMPLES

STATUS = {"pass": 0, "fail": 1}


class StoredDrill(NamedTuple):
    """A result that a guest stored, and its log slice."""

    host: str
    name: str
    result: dict[str, Any]
    log: bytes


def load(host: str, name: str) -> StoredDrill:
    base = TESTS / "hosts" / host / "drills" / name
    result = json.loads(base.with_suffix(".json").read_text())
    return StoredDrill(host, name, result, base.with_suffix(".log").read_bytes())


DRILLS = [
    load(host, path.stem)
    for host in HOST_NAMES
    for path in sorted((TESTS / "hosts" / host / "drills").glob("*.json"))
]
any_drill = st.sampled_from(DRILLS)


@pytest.fixture(params=DRILLS, ids=lambda drill: f"{drill.host}-{drill.name}")
def drill(request: pytest.FixtureRequest) -> StoredDrill:
    found: StoredDrill = request.param
    return found


def plan_of(drill: StoredDrill) -> Plan:
    result = drill.result
    window, target = result["window"], result["target"]
    online = tuple(cpu["cpu"] for cpu in result["cpus"])
    provider = next((p for p in PROVIDERS if window and p.name == window["provider"]), None)
    return Plan(
        Request(masked=bool(window)), online, 1, 0, target["cpu"] if target else None, provider=provider
    )  # fmt: skip


def judge_log(drill: StoredDrill, log: bytes, **changed: Any) -> DrillResult:
    """Judge a log as if it had come from this drill, everything else as it was then."""
    result = drill.result
    window = result["window"]
    evidence = WindowEvidence(window["opened"], window["held"], window["closed"]) if window else None
    observed = Observed(
        log=log, triggered=True, returned=True, window=evidence,
        row_moved=result["path_evidence"]["ipi_row_moved"],
    )._replace(**changed)  # fmt: skip
    return judge(
        plan_of(drill), Predicted(result["path"], result["path_evidence"]["pseudo_nmi"], None), observed
    )


def essence(result: DrillResult) -> Any:
    return (
        result.outcome, result.path, result.in_window,
        [(cpu.cpu, cpu.state, cpu.masked, cpu.pc) for cpu in result.cpus],
    )  # fmt: skip


def test_every_way_to_mask_a_cpu_was_drilled() -> None:
    names = {(drill.host, drill.name) for drill in DRILLS}
    for host in HOST_NAMES:
        assert {(host, "plain"), (host, "bpf")} <= names
        assert ((host, "test_lockup") in names) is not bool(MODULE_REFUSED.search(host))


def test_a_stored_log_gives_the_stored_result(drill: StoredDrill) -> None:
    result = judge_log(drill, drill.log)
    check_drill(drill.host, STATUS[drill.result["outcome"]], drill.result)
    assert (result.outcome, list(result.reasons)) == (drill.result["outcome"], drill.result["reasons"])
    assert [cpu.pc for cpu in result.cpus] == [cpu["pc"] for cpu in drill.result["cpus"]]
    assert result.path == drill.result["path"]


def test_what_was_not_seen_is_unknown(drill: StoredDrill) -> None:
    for changed in (
        {"triggered": False}, {"returned": False}, {"overruns": 1}, {"changed": True},
        {"trouble": ("Interrupted.",)}, {"log": b""},
    ):  # fmt: skip
        log = changed.pop("log", drill.log)
        result = judge_log(drill, log, **changed)  # type: ignore[arg-type]
        assert result.outcome == "unknown"
        assert result.reasons
    if drill.result["window"]:
        unseen = judge_log(drill, drill.log, window=WindowEvidence())
        assert (unseen.outcome, unseen.in_window) == ("unknown", False)


def test_a_lost_cpu_is_the_loudest(drill: StoredDrill) -> None:
    result = judge_log(drill, drill.log, stuck=(2,), overruns=3, trouble=("Interrupted.",))
    assert (result.outcome, result.lost_cpus) == ("lost", (2,))
    assert "CPU 2 did not come back" in result.reasons[0]


def test_an_answer_without_the_window_held_fails_only_if_it_was(drill: StoredDrill) -> None:
    """A CPU that answered late may have been asked after the window: that proves nothing."""
    if not drill.result["window"]:
        return
    result = judge_log(drill, drill.log, window=WindowEvidence(opened=True, held=False, closed=True))
    assert result.outcome == ("pass" if drill.result["outcome"] == "pass" else "unknown")


def test_the_marks_of_the_module_agree_with_what_was_seen(drill: StoredDrill) -> None:
    if drill.name == "test_lockup":
        marks = read_marks(parse_log(drill.log).records, drill.result["target"]["cpu"])
        assert marks == WindowEvidence(opened=True, held=True, closed=True)


@settings(max_examples=EXAMPLES, deadline=None)
@given(drill=any_drill, where=st.floats(0, 1), head=st.booleans())
def test_a_cut_log_never_turns_the_outcome(drill: StoredDrill, where: float, head: bool) -> None:
    cut = round(where * len(drill.log))
    result = judge_log(drill, drill.log[cut:] if head else drill.log[:cut])
    assert result.outcome in (drill.result["outcome"], "unknown")


@settings(max_examples=EXAMPLES, deadline=None)
@given(drill=any_drill, data=st.data())
def test_a_lost_record_is_unknown(drill: StoredDrill, data: st.DataObject) -> None:
    lines = drill.log.splitlines(keepends=True)
    gone = data.draw(st.integers(1, len(lines) - 2))
    assert judge_log(drill, b"".join(lines[:gone] + lines[gone + 1 :])).outcome == "unknown"


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
    """Give records the sequence numbers and ascending times that the kernel would have given them."""
    times = sorted(int(line.split(b",")[2]) for line in lines)
    out = []
    for sequence, (line, micros) in enumerate(zip(lines, times, strict=True)):
        prefix, rest = line.split(b",", 1)
        _sequence, _micros, rest = rest.split(b",", 2)
        out.append(b"%b,%d,%d,%b" % (prefix, sequence, micros, rest))
    return b"".join(out)


@settings(max_examples=EXAMPLES, deadline=None)
@given(drill=any_drill, spots=st.lists(st.tuples(st.floats(0, 1), st.sampled_from(FOREIGN)), max_size=20))
def test_other_records_in_between_change_nothing(
    drill: StoredDrill, spots: Sequence[tuple[float, tuple[int, str]]]
) -> None:
    lines = drill.log.splitlines(keepends=True)
    for where, (priority, text) in spots:
        at = round(where * (len(lines) - 1))
        micros = lines[at].split(b",")[2]
        lines.insert(at, b"%d,0,%b,-;%b\n" % (priority, micros, text.encode()))
    assert essence(judge_log(drill, renumber(lines))) == essence(judge_log(drill, drill.log))


def blocks_of(drill: StoredDrill) -> tuple[list[bytes], list[list[bytes]], list[bytes]]:
    """Split a log into what stands before the answers, each CPU's own lines, and what stands after."""
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


@settings(max_examples=EXAMPLES, deadline=None)
@given(drill=any_drill, seed=st.integers(0, 10**9))
def test_the_answers_of_cpus_may_interleave(drill: StoredDrill, seed: int) -> None:
    before, blocks, after = blocks_of(drill)
    order = [index for index, block in enumerate(blocks) for _line in block]
    random.Random(seed).shuffle(order)
    queues = [iter(block) for block in blocks]
    mixed = [next(queues[index]) for index in order]
    assert essence(judge_log(drill, renumber([*before, *mixed, *after]))) == essence(
        judge_log(drill, drill.log)
    )


def as_console(log: bytes) -> list[bytes]:
    lines = []
    for line in log.splitlines():
        micros, text = int(line.split(b",")[2]), line.split(b";", 1)[1].replace(rb"\x09", b"\t")
        if not line.startswith(b" "):
            lines.append(b"[%5d.%06d] %b\r\n" % (micros // 10**6, micros % 10**6, text))
    return lines


@settings(max_examples=EXAMPLES, deadline=None)
@given(drill=any_drill, where=st.floats(0, 1), since=st.floats(0, 1))
def test_dmesg_quoted_into_the_console_changes_nothing(
    drill: StoredDrill, where: float, since: float
) -> None:
    lines = as_console(drill.log)
    at = round(where * len(lines))
    quoted = lines[:at] + lines[round(since * at) : at] + lines[at:]
    plain = analyze(parse_log(b"".join(lines))).episodes
    assert plain == analyze(parse_log(drill.log)).episodes
    assert analyze(parse_log(b"".join(quoted))).episodes == plain


CONSOLE_BYTES_A_SECOND = 11_520
"""A console of 115200 baud."""
MANY = 256


def answer_of_many() -> bytes:
    """The answer of 256 CPUs, each with the block that a real one printed from inside its window."""
    drill = load("dt-sdei", "bpf")
    before, blocks, _after = blocks_of(drill)
    block = next(block for block in blocks if b"_sdeictl_win+" in b"".join(block))
    own = int(re.search(rb"backtrace for cpu (\d+)", block[0])[1])  # type: ignore[index]
    lines = [re.sub(rb"(Sending NMI from CPU \d+ to CPUs ).*:", rb"\g<1>0,2-255:", line) for line in before]
    for cpu in range(MANY):
        if cpu == drill_initiator(drill):
            continue
        for line in block:
            renamed = re.sub(rb"(for cpu |;CPU: )%d\b" % own, rb"\g<1>%d" % cpu, line)
            lines.append(re.sub(rb"caller=C\d+", b"caller=C%d" % cpu, renamed))
    return renumber(lines)


def drill_initiator(drill: StoredDrill) -> int:
    return next(int(cpu["cpu"]) for cpu in drill.result["cpus"] if cpu["state"] == "self")


class Ring:
    """A stand-in for /dev/kmsg: a producer at its own speed, a limited number of records kept."""

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
    return judge(plan, Predicted("sdei", "fail", None), observed)


def test_256_cpus_at_a_hundred_times_the_speed_of_a_console() -> None:
    records = answer_of_many().splitlines(keepends=True)
    assert len(records) > 8000
    ring = Ring(records, kept=10_000, bytes_a_second=100 * CONSOLE_BYTES_A_SECOND)
    result = judge_many(follow(ring, lambda: time.sleep(0.01)))
    assert (result.outcome, result.path, result.records_lost) == ("pass", "sdei", 0)
    assert len(result.cpus) == MANY
    assert sum(cpu.state == "backtrace" and cpu.masked is True for cpu in result.cpus) == MANY - 1


def test_an_overrun_is_counted_and_unknown() -> None:
    records = answer_of_many().splitlines(keepends=True)
    ring = Ring(records, kept=500, bytes_a_second=1e9)
    result = judge_many(follow(ring, ring.producer.join))
    assert result.outcome == "unknown"
    assert result.records_lost > 0
    assert "was overwritten before it was read" in result.reasons[0]
