"""What a boot's kernel log has had, counted while it grows, over restarts of who counts. Pure.

An analysis needs an episode as a whole: who asked, and 10 s and more later who answered. So the last
records stay open and are analyzed anew when more come; what is older than any episode can last is
closed: its counts are added up, and the records let go. What is kept on disk is where the open records
begin, and the counts before them: whoever starts anew reads the open ones again, and counts nothing
twice. If the kernel has overwritten some of those meanwhile, the last counts stand.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from sdeictl.klog.analysis import analyze
from sdeictl.klog.episodes import Analysis, Backtrace, HardLockup, HungTask, RcuStall, SoftLockup, Stop
from sdeictl.klog.log import parse_log

EPISODE_SECONDS = 60.0
"""Longer than a request lasts: the kernel waits 10,000 times a millisecond, 16 s where emulated."""
LASTING = (Backtrace, HardLockup, Stop)
"""Episodes that go on for a while; the others are reports, made at once."""
MAX_OPEN_RECORDS = 20_000
"""In a flood of records the older half is closed although an episode may be cut in two by that."""


class Counters(NamedTuple):
    """How often it happened since the boot."""

    hard_lockups: int = 0
    secondary_hard_lockups: int = 0
    """Of CPUs that only waited for the answer of another one."""
    soft_lockups: int = 0
    rcu_stalls: int = 0
    hung_tasks: int = 0
    backtrace_requests: int = 0
    backtrace_answers: int = 0
    """CPUs that answered a request; not the one that asked."""
    backtrace_timeouts: int = 0
    """CPUs that did not, or too late."""
    stop_rungs: int = 0
    """Rungs of stop ladders that were climbed."""
    records_lost: int = 0


class Progress(NamedTuple):
    """How far a log was read and counted; kept on disk."""

    sequence: int = 0
    """Of the first open record."""
    closed: Counters = Counters()
    """Of the records before it."""
    read_to: int = 0
    """The number that the next record has, if none is lost."""
    counters: Counters = Counters()
    """Of all records so far."""


class LogCounter:
    """Counts one boot's log. `progress` is consistent after every call."""

    def __init__(self, progress: Progress = Progress()) -> None:  # noqa: B008 - it is frozen
        self.progress = progress
        self._open: list[bytes] = []
        self._next = progress.sequence
        """Of the next record to take: those that are open are taken again after a restart."""

    @property
    def counters(self) -> Counters:
        """Return what has happened since the boot."""
        return self.progress.counters

    def feed(self, records: Iterable[bytes]) -> None:
        """Take records of /dev/kmsg, in their order; those that were taken before are passed by."""
        read_to, lost = self.progress.read_to, self.progress.counters.records_lost
        taken = False
        for record in records:
            sequence = sequence_of(record)
            if sequence is None or sequence < self._next:
                continue
            if not self._open and self._next < min(sequence, read_to):
                # Of the open records some are there no more: what was counted of them has to stand.
                self._next = read_to
                self.progress = self.progress._replace(sequence=read_to, closed=self.counters)
                if sequence < read_to:
                    continue
            lost += max(sequence - read_to, 0)
            read_to = max(read_to, sequence + 1)
            self._next = sequence + 1
            self._open.append(record)
            taken = True
        if not taken:
            return
        self._close()
        self.progress = self.progress._replace(read_to=read_to)
        if self._next == read_to:  # before, it takes again what was counted already
            found = add(self.progress.closed, count(self._open))
            self.progress = self.progress._replace(counters=found._replace(records_lost=lost))

    def _close(self) -> None:
        """Let go of what no episode can reach any more."""
        at = self._boundary()
        if len(self._open) - at > MAX_OPEN_RECORDS:
            at = len(self._open) - MAX_OPEN_RECORDS // 2
        closed = add(self.progress.closed, count(self._open[:at]))
        self._open = self._open[at:]
        self.progress = self.progress._replace(sequence=sequence_of(self._open[0]) or 0, closed=closed)

    def _boundary(self) -> int:
        """Return the number of records that are older than any episode that may still go on."""
        times = [time_of(record) for record in self._open]
        boundary = times[-1] - EPISODE_SECONDS
        if times[0] >= boundary:
            return 0
        begun = sorted(
            (
                episode.at for episode in _analyze(self._open).episodes
                if isinstance(episode, LASTING) and episode.at is not None
            ),
            reverse=True,
        )  # fmt: skip
        for at in begun:
            if boundary - EPISODE_SECONDS < at < boundary:
                boundary = at
        return next(number for number, time in enumerate(times) if time >= boundary)


def sequence_of(record: bytes) -> int | None:
    """Return a record's number; None if it is no record."""
    fields = record.split(b",", 3)
    return int(fields[1]) if len(fields) == 4 and fields[1].isdigit() else None


def time_of(record: bytes) -> float:
    """Return a record's time in seconds since the boot."""
    field = record.split(b",", 3)[2]
    return int(field) / 1e6 if field.isdigit() else 0.0


def _analyze(records: Sequence[bytes]) -> Analysis:
    return analyze(parse_log(b"".join(records)))


def count(records: Sequence[bytes]) -> Counters:
    """Return what is in some records; which of them are missing is not told by that."""
    found = Counters()
    for episode in _analyze(records).episodes if records else ():
        if isinstance(episode, HardLockup):
            secondary = episode.secondary_to is not None
            found = add(found, Counters(hard_lockups=1, secondary_hard_lockups=int(secondary)))
        elif isinstance(episode, Backtrace):
            found = add(found, _of_request(episode))
        elif isinstance(episode, Stop):
            found = add(found, Counters(stop_rungs=len(episode.rungs)))
        elif isinstance(episode, SoftLockup | RcuStall | HungTask):
            name = {SoftLockup: "soft_lockups", RcuStall: "rcu_stalls", HungTask: "hung_tasks"}[type(episode)]
            found = add(found, Counters(**{name: 1}))
    return found


def _of_request(request: Backtrace) -> Counters:
    states = [cpu.state for cpu in request.cpus]
    return Counters(
        backtrace_requests=1,
        backtrace_answers=sum(state in ("idle", "backtrace") for state in states),
        backtrace_timeouts=sum(state in ("late", "silent") for state in states),
    )


def add(one: Counters, other: Counters) -> Counters:
    """Return the sums."""
    return Counters(*(mine + theirs for mine, theirs in zip(one, other, strict=True)))
