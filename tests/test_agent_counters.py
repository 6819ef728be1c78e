"""The counters: a log that comes in pieces, is read again after a restart, or has holes, is counted once."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sdeictl_agent import counters
from sdeictl_agent.counters import LogCounter, add, count
from sdeictl_agent.watch_file import Counters, Progress

from sdeictl.klog.log import parse_log
from tests.conftest import HOST_NAMES, load_host
from tests.test_analysis_properties import EXAMPLES

LOCKUP = """\
watchdog: CPU1: Watchdog detected hard LOCKUP on cpu 0
Sending NMI from CPU 1 to CPUs 0:
NMI backtrace for cpu 0
CPU: 0 UID: 0 PID: 1 Comm: init Not tainted 7.3.4 #1
pstate: 600000c5 (nZCv daIF -PAN -UAO -TCO -DIT -SSBS BTYPE=--)
pc : __delay+0x4/0x8
lr : test_wait+0x10/0x20 [test_lockup]
sp : ffff800080000000
Call trace:
 __delay+0x4/0x8 (P)
"""


def records_of(name: str, start: int = 0, at: float = 0.0) -> list[bytes]:
    """The console of a stored host as records of /dev/kmsg."""
    lines = parse_log(load_host(name).console).last_boot()
    return [
        f"6,{number + start},{int(((line.at or 0.0) + at) * 1e6)},-;{line.text}\n".encode()
        for number, line in enumerate(lines)
    ]


def lockup(start: int, at: float) -> list[bytes]:
    lines = LOCKUP.splitlines()
    return [
        f"4,{start + number},{int((at + number / 1000) * 1e6)},-;{line}\n".encode()
        for number, line in enumerate(lines)
    ]


def talk(start: int, at: float, number: int, every: float = 1.0) -> list[bytes]:
    return [
        f"6,{start + n},{int((at + n * every) * 1e6)},-;eth0: link is up\n".encode() for n in range(number)
    ]


def whole(records: list[bytes]) -> Counters:
    counter = LogCounter()
    counter.feed(records)
    return counter.counters


@pytest.mark.parametrize("name", HOST_NAMES[::3])
def test_single_records_give_same_counts(name: str) -> None:
    records = records_of(name)
    counter = LogCounter()
    for record in records:
        counter.feed([record])
    assert counter.counters == whole(records) == count(records)


def long_log() -> list[bytes]:
    """Ten hard lockups in half an hour, with other records between them."""
    records: list[bytes] = []
    for turn in range(10):
        at = 10.0 + turn * 180
        records += lockup(len(records), at)
        records += talk(len(records), at + 1, 100, 1.7)
    return records


LONG = long_log()
TOTAL = Counters(hard_lockups=10, backtrace_requests=10, backtrace_answers=10)


@settings(max_examples=EXAMPLES // 3)
@example([(0, 112, True)], 1)
@given(
    st.lists(st.tuples(st.integers(0, len(LONG)), st.integers(0, len(LONG)), st.booleans()), max_size=12),
    st.integers(1, 300),
)
def test_wrapping_log_counted_across_restarts(turns: list[tuple[int, int, bool]], piece: int) -> None:
    """At each turn the kernel keeps a range of the records, and a reader that opens the log gets them all."""
    counter, before, seen, lost, cut = LogCounter(), Counters(), 0, 0, False
    restarted = False
    starts, ends = (sorted(turn[side] for turn in turns) for side in (0, 1))
    for start, end, restarts in zip(starts, ends, (turn[2] for turn in turns)):
        cut = cut or (start < end and restarted and start > counter.progress.open_from)
        for at in range(start, end, piece):
            counter.feed(LONG[at : min(at + piece, end)])
            assert all(now >= then for now, then in zip(counter.counters, before))
            before = counter.counters
        if start < end:
            lost += max(start - seen, 0)
            seen = max(seen, end)
        assert counter.counters.records_lost == lost
        restarted = restarted and start >= end
        if restarts:
            counter, restarted = LogCounter(counter.progress), True
    cut = cut or (restarted and seen > counter.progress.open_from)
    counter.feed(LONG[seen:])
    assert counter.counters.records_lost == lost
    # An episode of which the kernel overwrote records while no reader ran is counted in part.
    if not lost and not cut:
        assert counter.counters == TOTAL


def test_old_records_closed_and_counted() -> None:
    counter = LogCounter()
    counter.feed(LONG)
    assert counter.progress.open_from > len(LONG) - 200
    assert counter.progress.closed.hard_lockups >= 9
    assert counter.counters == TOTAL


def test_repeated_reports_are_closed() -> None:
    text = "watchdog: BUG: soft lockup - CPU#3 stuck for 22s! [x:101]"
    storm = [f"0,{n},{22_000_000 * n},-;{text}\n".encode() for n in range(400)]
    counter = LogCounter()
    for record in storm:
        counter.feed([record])
    assert counter.counters == Counters(soft_lockups=400)
    assert counter.progress.open_from > 390


def test_overwritten_records_count_as_lost() -> None:
    for hole in (slice(0, 30), slice(100, 140), slice(150, 155)):
        kept = LONG[: hole.start] + LONG[hole.stop :]
        counter = LogCounter()
        for at in range(0, len(kept), 7):
            counter.feed(kept[: at + 7])
        counter.feed(kept)
        assert counter.counters.records_lost == hole.stop - hole.start


def test_restart_counts_records_it_missed() -> None:
    counter = LogCounter()
    counter.feed(LONG[:300])
    back = LogCounter(counter.progress)
    back.feed(LONG[250:])
    assert back.counters.records_lost == 0
    assert back.counters.hard_lockups == TOTAL.hard_lockups
    back = LogCounter(counter.progress)
    back.feed(LONG[500:])
    assert back.counters.records_lost == 200
    assert back.counters.hard_lockups == TOTAL.hard_lockups - 2


def test_flood_counted_in_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counters, "MAX_OPEN_RECORDS", 500)
    flood = talk(0, 10.0, 5000, 0.0001)
    flood += lockup(5000, 11.0)
    counter = LogCounter()
    for at in range(0, len(flood), 100):
        counter.feed(flood[at : at + 100])
        assert counter.progress.open_from >= at - 600
    assert counter.counters == Counters(hard_lockups=1, backtrace_requests=1, backtrace_answers=1)


def test_user_space_records_not_counted() -> None:
    forged = [record.replace(b"4,", b"12,", 1) for record in lockup(0, 10.0)]
    assert whole(forged) == Counters()


@settings(max_examples=EXAMPLES)
@given(st.lists(st.binary(max_size=60), max_size=30))
def test_junk_is_not_a_record(junk: list[bytes]) -> None:
    counter = LogCounter()
    counter.feed(junk)
    assert counter.counters._replace(records_lost=0, soft_lockups=0) == Counters()


def test_progress_begins_empty() -> None:
    assert LogCounter().progress == Progress(0, Counters())
    assert add(Counters(1), Counters(2)) == Counters(3)
