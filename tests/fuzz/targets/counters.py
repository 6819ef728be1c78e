"""The counts of the watcher: the same however the records arrive, and they never fall."""

from __future__ import annotations

from collections.abc import Iterator

from sdeictl_agent.counters import LogCounter

from tests.fuzz import logs
from tests.fuzz.harness import Target
from tests.fuzz.shapes import with_long_numbers
from tests.test_agent_counters import lockup, talk
from tests.test_analysis_properties import as_kmsg

WHOLE_SECONDS = 50


def seeds() -> Iterator[bytes]:
    yield b"".join(lockup(0, 1.0) + talk(10, 2.0, 4, 30.0) + lockup(14, 200.0))
    yield from with_long_numbers(piece for piece in map(as_kmsg, logs.logs()) if piece)


def check(data: bytes) -> None:
    records = data.splitlines(keepends=True)
    counter, before = LogCounter(), LogCounter().counters
    for record in records:
        counter.feed([record])
        now = counter.counters
        assert min(now) >= 0
        assert now.records_lost >= before.records_lost
        before = now
    again = LogCounter(counter.progress)
    again.feed(records)
    assert again.counters.records_lost == counter.counters.records_lost
    assert min(again.counters) >= 0


TARGET = Target(check, seeds, (), logs.WORDS, 3000)
