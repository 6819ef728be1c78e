"""Which logs are of the same boot, and what they say together. No I/O.

Two logs of one boot share records: the same text at the same microsecond. The names of their files prove
nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from itertools import groupby

from sdeictl.klog.records import KernelLog, Record

Key = tuple[int, str]
"""Microseconds since the boot, and the text."""

SURE_RECORDS = 3
"""Logs with so many common records are of the same boot."""
SURE_TIMES = 2
"""Logs with so many common times are of the same boot, if next to none are expected to be equal by chance."""
MAX_BY_CHANCE = 0.01
EARLY_SECONDS = 0.1
"""Records before this time do not count: firmware and kernel can take equally long in two boots."""
MAX_RECORDS = 20_000
"""So many of the last records of a log are compared."""


def keys_of(records: Sequence[Record]) -> frozenset[Key]:
    """Return what tells the last records of a log from those of other boots."""
    return frozenset(
        _key(record)
        for record in records[-MAX_RECORDS:]
        if record.at is not None and record.at > EARLY_SECONDS
    )


def _key(record: Record) -> Key:
    return round((record.at or 0.0) * 1e6), record.text


def are_same_boot(one: Collection[Key], other: Collection[Key]) -> bool:
    """Tell whether two logs are surely of the same boot."""
    return len(frozenset(one) & frozenset(other)) >= SURE_RECORDS


def share_times(one: Collection[int], other: Collection[int]) -> bool:
    """Tell whether two logs are of the same boot by the times of their records alone, in microseconds.

    The journal and a console write the lines of systemd differently, but with the same times.
    """
    if not one or not other:
        return False
    first, last = max(min(one), min(other)), min(max(one), max(other))
    ours, theirs = (sum(first <= time <= last for time in times) for times in (one, other))
    shared = len(frozenset(one) & frozenset(other))
    by_chance = ours * theirs / max(last - first, 1)
    return shared >= SURE_TIMES and by_chance <= MAX_BY_CHANCE


def can_be_same_boot(one: Collection[Key], other: Collection[Key]) -> bool:
    """Tell whether two logs can be of the same boot: where both have records, these must be the same."""
    if not one or not other:
        return True
    first = max(min(one), min(other))
    last = min(max(one), max(other))
    both = [sum(first <= key <= last for key in keys) for keys in (one, other)]
    return min(both) < SURE_RECORDS or are_same_boot(one, other)


def merge_logs(logs: Sequence[KernelLog]) -> KernelLog:
    """Return one log with every record of logs of the same boot once, in the order of their times.

    The first log that has the start of the boot decides whether a missing line proves something. A log
    without times cannot be merged; it is used only if no other one exists.
    """
    logs = [log for log in logs if log.records]
    timed = [log for log in logs if all(record.at is not None for record in log.records)] or logs[:1]
    if len(timed) == 1:
        return timed[0]._replace(records=tuple(_same_boot(timed[0].records)))
    if not timed:
        return KernelLog((), 0)
    records: list[Record] = []
    known: set[tuple[Key, int]] = set()
    for log in timed:
        numbers: dict[Key, int] = {}
        for record in log.records:
            # The kernel can print the same line twice within a microsecond.
            key = _key(record)
            numbers[key] = numbers.get(key, 0) + 1
            if (key, numbers[key]) not in known:
                known.add((key, numbers[key]))
                records.append(record)
    records.sort(key=lambda record: record.at or 0.0)
    first = min(timed, key=lambda log: log.records[0].at or 0.0)
    return KernelLog(tuple(_same_boot(records)), min(log.lost for log in timed), first.relayed)


def _same_boot(records: Iterable[Record]) -> Iterable[Record]:
    return (record._replace(boot=0) for record in records)


def group_by_boot(keys: Sequence[frozenset[Key]]) -> list[list[int]]:
    """Return the places of logs in groups: those of a group are of the same boot."""
    group = list(range(len(keys)))
    for place, one in enumerate(keys):
        for other in range(place):
            if group[other] != group[place] and are_same_boot(one, keys[other]):
                old, new = group[place], group[other]
                group = [new if number == old else number for number in group]
    ordered = sorted(range(len(keys)), key=group.__getitem__)
    return [list(places) for _number, places in groupby(ordered, key=group.__getitem__)]
