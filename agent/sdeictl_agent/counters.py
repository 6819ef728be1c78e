"""Counts the events in the kernel log of one boot while the log grows, across restarts of the watcher. Pure.

An episode spans several records: the answers to a backtrace request follow up to 10 s after it. So the
counter keeps the latest records *open*, and analyzes all open records again when new ones arrive. When no
running episode can include a record any more, the counter *closes* it: it adds the record's events to the
counts of the closed records, and drops the record.

watch.json holds the sequence number of the first open record and the counts of the closed ones. After a
restart the watcher reads /dev/kmsg from its oldest record, skips the closed records and opens the others
again. So it counts no event twice. If the kernel overwrote open records while no watcher ran, the counts in
watch.json stay as they are, and counting continues after the last record that was read.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence

from sdeictl.klog.analysis import analyze
from sdeictl.klog.episodes import Backtrace, Episode, HardLockup, HungTask, RcuStall, SoftLockup, Stop
from sdeictl.klog.kmsg import parse_head
from sdeictl.klog.log import parse_log
from sdeictl.klog.words import IN_TIME, CpuState
from sdeictl_agent.watch_file import Counters, Progress

EPISODE_SECONDS = 60.0
"""Longer than any episode. The longest is a backtrace request: the kernel polls 10,000 times with a delay of
1 ms (lib/nmi_backtrace.c, nmi_trigger_cpumask_backtrace()), which takes 16 s on an emulated host."""
LASTING = (Backtrace, HardLockup, Stop)
"""Episodes that span some time. The others are reports that the kernel prints at once."""
MAX_OPEN_RECORDS = 20_000
"""In a flood of records the older half is closed, even if that cuts an episode in two."""
NOTHING_READ = Progress()
_REPORTS: dict[type, Counters] = {
    SoftLockup: Counters(soft_lockups=1),
    RcuStall: Counters(rcu_stalls=1),
    HungTask: Counters(hung_tasks=1),
}


class LogCounter:
    """Counts the log of one boot. `progress` is consistent after every call."""

    def __init__(self, progress: Progress = NOTHING_READ) -> None:
        self.progress = progress
        self._open: list[bytes] = []
        self._next = progress.open_from
        """Sequence number of the next record to take. After a restart the open records are taken again."""

    @property
    def counters(self) -> Counters:
        """Return the counts since boot."""
        return self.progress.counters

    def feed(self, records: Iterable[bytes]) -> None:
        """Take records of /dev/kmsg in the order of the log; skip the records that were taken before."""
        already_open = len(self._open)
        read_to, lost = self.progress.read_to, self.counters.records_lost
        for record in records:
            sequence = self._sequence_to_take(record)
            if sequence is None:
                continue
            lost += max(sequence - read_to, 0)
            read_to = max(read_to, sequence + 1)
            self._next = sequence + 1
            self._open.append(record)
        if len(self._open) > already_open:
            total = add(self.progress.closed, count(self._open))
            self._close(total)
            self.progress = self.progress._replace(read_to=read_to)
            # After a restart the counts already include the records that are taken again.
            if self._next >= read_to:
                self.progress = self.progress._replace(counters=total._replace(records_lost=lost))

    def _sequence_to_take(self, record: bytes) -> int | None:
        """Return the sequence number of a record to take; None for a record to skip."""
        sequence = sequence_of(record)
        if sequence is None or sequence < self._next:
            return None
        read_to = self.progress.read_to
        if not self._open and self._next < min(sequence, read_to):
            # The kernel has overwritten open records since the last run: keep their counts.
            self._next = read_to
            self.progress = self.progress._replace(open_from=read_to, closed=self.counters)
            if sequence < read_to:
                return None
        return sequence

    def _close(self, total: Counters) -> None:
        """Close the records that no running episode can include. `total` counts all records so far."""
        closing = self._closable()
        if len(self._open) - closing > MAX_OPEN_RECORDS:
            closing = len(self._open) - MAX_OPEN_RECORDS // 2
        closed = self.progress.closed
        if closing:
            # What a record means may depend on later ones: keep what the open records no longer show.
            self._open = self._open[closing:]
            closed = Counters(*map(operator.sub, total, count(self._open)))
        self.progress = self.progress._replace(open_from=sequence_of(self._open[0]) or 0, closed=closed)

    def _closable(self) -> int:
        """Return how many of the open records, from the oldest on, no running episode can include."""
        times = [_time_of(record) for record in self._open]
        boundary = times[-1] - EPISODE_SECONDS
        if times[0] >= boundary:
            return 0
        # Move the boundary back to the start of each episode that may still run across it.
        for start in sorted(_starts(self._open), reverse=True):
            if boundary - EPISODE_SECONDS < start < boundary:
                boundary = start
        return next(number for number, time in enumerate(times) if time >= boundary)


def sequence_of(record: bytes) -> int | None:
    """Return the sequence number of a record of /dev/kmsg; None for anything else."""
    head = parse_head(record)
    return head.sequence if head else None


def _time_of(record: bytes) -> float:
    """Return the time of a record of /dev/kmsg, in seconds since boot."""
    head = parse_head(record)
    return head.micros / 1e6 if head else 0.0


def _starts(records: Sequence[bytes]) -> list[float]:
    """Return when the episodes that span some time began, in seconds since boot."""
    return [
        episode.at
        for episode in _episodes(records)
        if isinstance(episode, LASTING) and episode.at is not None
    ]


def _episodes(records: Sequence[bytes]) -> tuple[Episode, ...]:
    return analyze(parse_log(b"".join(records))).episodes if records else ()


def count(records: Sequence[bytes]) -> Counters:
    """Return the events in these records. `records_lost` stays 0: only LogCounter can see a gap."""
    total = Counters()
    for episode in _episodes(records):
        total = add(total, _count_episode(episode))
    return total


def _count_episode(episode: Episode) -> Counters:
    if isinstance(episode, HardLockup):
        return Counters(hard_lockups=1, secondary_hard_lockups=int(episode.secondary_to is not None))
    if isinstance(episode, Backtrace):
        return _count_request(episode)
    if isinstance(episode, Stop):
        return Counters(stop_rungs=len(episode.rungs))
    return _REPORTS.get(type(episode), Counters())


def _count_request(request: Backtrace) -> Counters:
    in_time = [IN_TIME[cpu.state] for cpu in request.cpus if cpu.state != CpuState.SELF]
    return Counters(
        backtrace_requests=1,
        backtrace_answers=in_time.count(True),
        backtrace_timeouts=in_time.count(False),
    )


def add(one: Counters, other: Counters) -> Counters:
    """Return the sums."""
    return Counters(*map(operator.add, one, other))
