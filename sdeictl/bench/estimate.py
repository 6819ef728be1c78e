"""Estimates from samples, and whether two sets of samples differ. Pure.

Interference only adds time, and it comes in bursts. The samples are therefore cut into blocks, in the order
in which they were taken, and each block contributes its floor, the 1 % quantile: the time of an undisturbed
call. The estimate is the median of the floors. Its 95 % interval lies between two order statistics of the
floors (the sign test), which assumes nothing about their distribution. A burst over several blocks widens it.

Some influences stay the same for a whole run, such as the pages of its memory and the clock frequency. That
spread does not contain them: two runs of the same thing differ by some tenths of a percent. From two runs no
effect below RESOLUTION is therefore claimed.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from sdeictl.text import NamedTuple

BLOCKS = 20
FLOOR = 0.01
MIN_BLOCKS = 6
"""With fewer blocks no interval between order statistics reaches 95 %."""
RESOLUTION = 0.005
CONFIDENCE = 0.95
# Two-sided 95 % quantiles of Student's t, for 1, 2, ... degrees of freedom.
_T95 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip


class Interval(NamedTuple):
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float


def floors(samples: Sequence[float], blocks: int = BLOCKS) -> list[float]:
    """Return the floor of each block of samples."""
    count = min(blocks, len(samples))
    edges = [len(samples) * number // count for number in range(count + 1)]
    return [_floor(samples[start:end]) for start, end in zip(edges, edges[1:])]


def _floor(block: Sequence[float]) -> float:
    return sorted(block)[int(FLOOR * len(block))]


def estimate(samples: Sequence[float]) -> Interval | None:
    """Return the time of an undisturbed call; None if there are too few samples for an interval."""
    found = sorted(floors(samples)) if samples else []
    if len(found) < MIN_BLOCKS:
        return None
    rank = _rank(len(found))
    return Interval(statistics.median(found), found[rank], found[-1 - rank])


def _rank(count: int) -> int:
    """Return the rank, from 0, of the interval's lower end: the median is lower with at most 2.5 %."""
    rank, below = -1, 0.0
    while True:
        below += math.comb(count, rank + 1) / 2**count
        if below > (1 - CONFIDENCE) / 2:
            return max(rank, 0)
        rank += 1


def effect(first: Sequence[Sequence[float]], second: Sequence[Sequence[float]]) -> Interval | None:
    """Return how much longer the second side takes, as a fraction (0.02: 2 %).

    Each side has the samples of one or more runs. With two or more runs on each side, the interval comes
    from the spread between the runs, which also contains what stays the same within a run; else it comes
    from the spread within the runs. None if a run has too few samples for an interval.
    """
    sides = [[estimate(samples) for samples in runs] for runs in (first, second)]
    known = [[value for value in side if value] for side in sides]
    if [len(side) for side in known] != [len(first), len(second)] or not all(known):
        return None
    ours, theirs = known
    if len(ours) > 1 and len(theirs) > 1:
        return _between_runs([math.log(run.value) for run in ours], [math.log(run.value) for run in theirs])
    return _within_runs(_whole_side(ours), _whole_side(theirs))


def _whole_side(runs: list[Interval]) -> Interval:
    """Return one interval for a side; it covers the intervals of all its runs."""
    value = statistics.median(run.value for run in runs)
    return Interval(value, min(run.low for run in runs), max(run.high for run in runs))


def _within_runs(first: Interval, second: Interval) -> Interval:
    # The intervals are not symmetric, so each end of the difference combines its own two distances
    # (MOVER, the method of variance estimates recovery: Zou and Donner 2008).
    value = math.log(second.value / first.value)
    below = math.hypot(math.log(second.value / second.low), math.log(first.high / first.value))
    above = math.hypot(math.log(second.high / second.value), math.log(first.value / first.low))
    return _as_fraction(value, below + RESOLUTION, above + RESOLUTION)


def _between_runs(first: list[float], second: list[float]) -> Interval:
    """Return Welch's interval of the difference of two means."""
    spreads = [statistics.variance(side) / len(side) for side in (first, second)]
    total = sum(spreads)
    parts = [spread**2 / (len(side) - 1) for spread, side in zip(spreads, (first, second))]
    freedom = int(total**2 / sum(parts)) if sum(parts) else len(first) + len(second) - 2
    t = _T95[min(max(freedom, 1), len(_T95)) - 1]
    # An influence that stays the same within a run still differs between runs. More runs average it out,
    # but it is never zero, even if these few runs happen to agree.
    half = max(t * math.sqrt(total), RESOLUTION / math.sqrt(min(len(first), len(second))))
    return _as_fraction(statistics.fmean(second) - statistics.fmean(first), half, half)


def _as_fraction(value: float, below: float, above: float) -> Interval:
    """Return a difference of logarithms, and its distances to both ends, as fractions."""
    return Interval(math.expm1(value), math.expm1(value - below), math.expm1(value + above))


def differs(found: Interval) -> bool:
    """Report whether the interval of an effect excludes zero."""
    return found.low > 0 or found.high < 0


def mad(samples: Sequence[float]) -> float:
    """Return the median absolute deviation."""
    middle = statistics.median(samples)
    return statistics.median(abs(sample - middle) for sample in samples)
