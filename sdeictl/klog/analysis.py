"""Finds the episodes in the records of a kernel log, boot by boot, and what limits the answer. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from operator import attrgetter

from sdeictl.klog.boot_reader import BEGINNINGS, BootReader
from sdeictl.klog.bootlog import BootLog
from sdeictl.klog.boots import Boots
from sdeictl.klog.budget import MAX_KEPT_BYTES, KeepBudget
from sdeictl.klog.episodes import (
    Analysis,
    Backtrace,
    Episode,
    LogFileSummary,
    Stop,
)
from sdeictl.klog.lines import LineBudget
from sdeictl.klog.log import LogFile
from sdeictl.klog.records import KernelLog, Record
from sdeictl.klog.seen import SURE_LINES
from sdeictl.text import NamedTuple

MAX_CPU_ENTRIES = 100_000
"""With more CPUs in all requests, some of those whose answer the log lacks are left out."""
NO_TIMES = "The log has no times since the boot, so how long the kernel waited for a CPU is unknown."
INEXACT_STOP = (
    "A list of CPUs that did not stop may name others too: this kernel lists every CPU that it asked, or the"
    " one that stops them."
)
NO_RECORD = "It has no kernel record that was not read before."
LOST = "Records are missing: one of them may have been an answer."
RESTARTS = "The time falls back in {} places without the first line of a boot; each counts as a new boot."
FORGOTTEN = "A line that repeats one more than {:,} lines before it counts twice."
OTHER_ARCHITECTURE = "The log is of {}, not arm64: masking and paths are not judged."
FULL = (
    "The requests, answers and reports need too much memory: only the first {:,} records were searched for"
    " them."
)
OMITTED = "{:,} CPUs without an answer in the log are left out: all requests together name more than {:,}."


def analyze(log: KernelLog, bootlog: BootLog | None = None) -> Analysis:
    """Return every episode of a log, in log order; never raises.

    `bootlog` has the facts of the boot if the log is only a part of it.
    """
    found = find_episodes(log.records, bootlog)
    return Analysis(
        len(log.records), log.lost, found.architecture, found.episodes, (*log.notes, *found.notes)
    )


class Source(NamedTuple):
    """One file of a log."""

    name: str
    pieces: Iterable[bytes]
    """Its content. It is read once, piece by piece."""
    notes: Callable[[], Sequence[str]]
    """Returns what limits the content, as sentences, after it was read."""


def analyze_files(sources: Sequence[Source]) -> Analysis:
    """Return every episode of a log in one or more files, in the order given, in bounded memory."""
    boots = Boots(BEGINNINGS, several_files=len(sources) > 1)
    budget = LineBudget(files=len(sources))
    files = [LogFile(source.pieces, budget) for source in sources]
    counts: list[int] = []
    found = find_episodes(_records(files, boots, counts, budget))
    summaries = tuple(map(_summary, sources, files, counts))
    lost = sum(file.lost for file in files)
    several = len(sources) > 1
    notes = [f"{file.name}: {note}" if several else note for file in summaries for note in file.notes]
    notes += (LOST,) * (lost > 0) + (RESTARTS.format(boots.restarts),) * (boots.restarts > 0)
    notes += (FORGOTTEN.format(SURE_LINES),) * boots.forgot_lines
    return Analysis(boots.count, lost, found.architecture, found.episodes, (*notes, *found.notes), summaries)


def _summary(source: Source, file: LogFile, count: int) -> LogFileSummary:
    notes = (*source.notes(), *file.notes(), *([] if count else [NO_RECORD]))
    return LogFileSummary(source.name, count, file.lost, notes)


def _records(
    files: Sequence[LogFile], boots: Boots, counts: list[int], budget: LineBudget
) -> Iterator[Record]:
    """Yield the records of every file, and append to `counts` how many each has."""
    for number, file in enumerate(files):
        before, boots.file = boots.count, number
        for record in file.read(boots):
            budget.search()
            yield record
        yield from boots.read((), last=True)
        counts.append(boots.count - before)


class Found(NamedTuple):
    """What the records of a log show."""

    episodes: tuple[Episode, ...]
    architecture: str | None
    notes: tuple[str, ...]
    ended_early: bool = False
    """The limit was reached, and later records were not searched."""


def find_episodes(
    records: Iterable[Record], bootlog: BootLog | None = None, limit: int = MAX_KEPT_BYTES
) -> Found:
    """Return every episode in these records, as far as they fit in `limit` bytes of memory.

    Records with other beginnings than BEGINNINGS may be missing.
    """
    episodes: list[Episode] = []
    architectures: set[str] = set()
    budget = KeepBudget(limit)
    room = MAX_CPU_ENTRIES
    has_times = False
    for _boot, of_boot in groupby(records, key=attrgetter("boot")):
        boot = BootReader(bootlog, budget)
        for record in of_boot:
            boot.read(record)
        for episode in boot.episodes(room):
            episodes.append(episode)
            room -= len(episode.cpus) if isinstance(episode, Backtrace) else 0
        architectures |= boot.kernel.all_architectures()
        has_times = has_times or boot.last_at is not None
    only = architectures.pop() if len(architectures) == 1 else None
    notes = [*_notes(episodes, only, has_times=has_times)]
    notes += [] if budget.ended_at is None else [FULL.format(budget.ended_at)]
    return Found(tuple(episodes), only, tuple(notes), budget.ended_at is not None)


def _notes(episodes: Sequence[Episode], architecture: str | None, *, has_times: bool) -> Iterator[str]:
    """Yield what limits an analysis, as sentences."""
    if architecture not in (None, "arm64"):
        yield OTHER_ARCHITECTURE.format(architecture)
    if episodes and not has_times:
        yield NO_TIMES
    if any(isinstance(episode, Stop) and not episode.failed_exact and episode.failed for episode in episodes):
        yield INEXACT_STOP
    omitted = sum(episode.cpus_omitted for episode in episodes if isinstance(episode, Backtrace))
    if omitted:
        yield OMITTED.format(omitted, MAX_CPU_ENTRIES)
