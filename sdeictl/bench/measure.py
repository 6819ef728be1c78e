"""The loop that measures: samples of about a millisecond each, from interleaved rounds after a warm-up."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping

from sdeictl.bench.loop import Timer
from sdeictl.host.paths import OWN_STAT
from sdeictl.text import NamedTuple

SAMPLE_NS = 1_000_000
"""Short enough that some samples fall between two timer ticks, long enough for the clock's resolution."""
WARM_SECONDS = 0.3
MAX_COUNT = 1 << 30

Samples = dict[str, list[float]]
"""For each call the seconds that one call took, in the order in which the samples were taken."""


class Timing(NamedTuple):
    """What a run times, and how long."""

    calls: tuple[str, ...] = ()
    """Names of CALLS; without any, and without a workload, DEFAULT_CALLS."""
    seconds: float = 5.0
    """For each call."""
    workload: tuple[str, ...] = ()
    """The words of a program, () for none."""
    rounds: int = 10
    """How many times to time the program."""


def measure(timers: Mapping[str, Timer], seconds: float) -> Samples:
    """Time each of these for `seconds`, in turns; the process stays on one CPU until this returns."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {current_cpu(before)})
    try:
        counts = {name: calibrate(timer) for name, timer in timers.items()}
        _take_samples(timers, counts, WARM_SECONDS * len(timers))
        return _take_samples(timers, counts, seconds * len(timers))
    finally:
        os.sched_setaffinity(0, before)


def current_cpu(allowed: set[int]) -> int:
    """Return the CPU that runs this process, or an allowed one if that CPU is not allowed."""
    with open(OWN_STAT, "rb") as file:
        # proc_pid_stat(5): field 39. Count after the last bracket of the name, which may contain spaces.
        cpu = int(file.read().rpartition(b")")[2].split()[36])
    return cpu if cpu in allowed else max(allowed)


def calibrate(timer: Timer) -> int:
    """Return how many calls take about SAMPLE_NS."""
    count = 1
    while (spent := timer(count)) < SAMPLE_NS // 2 and count < MAX_COUNT:
        count = min(MAX_COUNT, count * 2 if spent < SAMPLE_NS // 16 else count * SAMPLE_NS // max(spent, 1))
    return count


def _take_samples(timers: Mapping[str, Timer], counts: Mapping[str, int], seconds: float) -> Samples:
    samples: Samples = {name: [] for name in timers}
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for name, timer in timers.items():
            samples[name].append(timer(counts[name]) / counts[name] * 1e-9)
    return samples


def time_workload(run: Callable[[], None], rounds: int) -> list[float]:
    """Return the seconds that each of `rounds` runs takes, after a first run that does not count."""
    run()
    samples = []
    for _round in range(rounds):
        started = time.perf_counter()
        run()
        samples.append(time.perf_counter() - started)
    return samples
