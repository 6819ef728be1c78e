"""What samples say, and whether two sets of them differ. Pure.

Interference only ever adds time, and comes in spells. So the samples are cut into blocks in the order
they were taken, and each block gives its floor, the 1 % quantile: what an undisturbed call takes. The
floors' median is the estimate; its 95 % interval is that of order statistics, without any assumption
about their distribution (the sign test). A spell that covers some blocks makes it wide.

What is the same for a whole run, the memory it got or the clock, is not in that spread: two runs of the
same thing differ by some tenths of a percent. So no effect below RESOLUTION is claimed of two runs.
"""

import itertools
import math
import statistics
from collections.abc import Sequence
from math import comb
from typing import NamedTuple

BLOCKS = 20
FLOOR = 0.01
MIN_BLOCKS = 6
"""With fewer no interval of order statistics has 95 %."""
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
    return [_floor(samples[start:end]) for start, end in itertools.pairwise(edges)]


def _floor(block: Sequence[float]) -> float:
    return sorted(block)[int(FLOOR * len(block))]


def estimate(samples: Sequence[float]) -> Interval | None:
    """Return what an undisturbed call takes; None where there are too few samples for an interval."""
    found = sorted(floors(samples)) if samples else []
    if len(found) < MIN_BLOCKS:
        return None
    rank = _rank(len(found))
    return Interval(statistics.median(found), found[rank], found[-1 - rank])


def _rank(count: int) -> int:
    """Return the rank (from 0) of the order statistics between which the median is, with 95 %."""
    rank, below = -1, 0.0
    while True:
        below += comb(count, rank + 1) / 2**count
        if below > (1 - CONFIDENCE) / 2:
            return max(rank, 0)
        rank += 1


def effect(first: Sequence[Sequence[float]], second: Sequence[Sequence[float]]) -> Interval | None:
    """Return by what part the second takes longer (0.02: by 2 %), of one or more runs' samples each.

    From two runs on each side the spread is that between the runs, which knows more than either;
    else that within them. None where it cannot be told how sure it is.
    """
    sides = [[estimate(samples) for samples in runs] for runs in (first, second)]
    known = [[value for value in side if value] for side in sides]
    if [len(side) for side in known] != [len(first), len(second)] or not all(known):
        return None
    ours, theirs = known
    if len(ours) > 1 and len(theirs) > 1:
        return _between([math.log(run.value) for run in ours], [math.log(run.value) for run in theirs])
    return _within(_typical(ours), _typical(theirs))


def _typical(runs: list[Interval]) -> Interval:
    """Return one interval for a side; of several runs the one that spans them all."""
    value = statistics.median(run.value for run in runs)
    return Interval(value, min(run.low for run in runs), max(run.high for run in runs))


def _within(first: Interval, second: Interval) -> Interval:
    # The intervals are not symmetric: each end of the difference has its own two distances (MOVER).
    value = math.log(second.value / first.value)
    below = math.hypot(math.log(second.value / second.low), math.log(first.high / first.value))
    above = math.hypot(math.log(second.high / second.value), math.log(first.value / first.low))
    return _as_part(value, below + RESOLUTION, above + RESOLUTION)


def _between(first: list[float], second: list[float]) -> Interval:
    """Welch's interval of the difference of two means."""
    spreads = [statistics.variance(side) / len(side) for side in (first, second)]
    total = sum(spreads)
    parts = [spread**2 / (len(side) - 1) for spread, side in zip(spreads, (first, second), strict=True)]
    freedom = int(total**2 / sum(parts)) if sum(parts) else len(first) + len(second) - 2
    t = _T95[min(max(freedom, 1), len(_T95)) - 1]
    # What is the same for a whole run differs from run to run: it averages out, and is never nothing.
    half = max(t * math.sqrt(total), RESOLUTION / math.sqrt(min(len(first), len(second))))
    return _as_part(statistics.fmean(second) - statistics.fmean(first), half, half)


def _as_part(value: float, below: float, above: float) -> Interval:
    return Interval(math.expm1(value), math.expm1(value - below), math.expm1(value + above))


def differs(found: Interval) -> bool:
    """Tell whether an effect is one: no effect at all lies outside its interval."""
    return found.low > 0 or found.high < 0


def mad(samples: Sequence[float]) -> float:
    """Return the median absolute deviation."""
    middle = statistics.median(samples)
    return statistics.median(abs(sample - middle) for sample in samples)
