"""Warmed, interleaved rounds of samples, each of about a millisecond."""

import os
import time
from collections.abc import Callable, Mapping

from sdeictl.bench.loop import Timer

SAMPLE_NS = 1_000_000
"""Short enough to lie between two ticks and other interruptions now and then, long enough for the clock."""
WARM_SECONDS = 0.3
MAX_COUNT = 1 << 30

Samples = dict[str, list[float]]
"""Seconds a call, in the order they were taken."""


def measure(timers: Mapping[str, Timer], seconds: float) -> Samples:
    """Time each of these for so long, all of them in turn; the process stays on one CPU meanwhile."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {current_cpu(before)})
    try:
        counts = {name: calibrate(timer) for name, timer in timers.items()}
        _rounds(timers, counts, WARM_SECONDS * len(timers))
        return _rounds(timers, counts, seconds * len(timers))
    finally:
        os.sched_setaffinity(0, before)


def current_cpu(allowed: set[int]) -> int:
    """Return the CPU this process is on, of those it may use."""
    with open("/proc/self/stat", "rb") as file:
        # proc_pid_stat(5): field 39, counted behind the name's last bracket
        cpu = int(file.read().rpartition(b")")[2].split()[36])
    return cpu if cpu in allowed else max(allowed)


def calibrate(timer: Timer) -> int:
    """Return how often a call has to be done to take a sample's time."""
    count = 1
    while (spent := timer(count)) < SAMPLE_NS // 2 and count < MAX_COUNT:
        count = min(MAX_COUNT, count * 2 if spent < SAMPLE_NS // 16 else count * SAMPLE_NS // max(spent, 1))
    return count


def _rounds(timers: Mapping[str, Timer], counts: Mapping[str, int], seconds: float) -> Samples:
    samples: Samples = {name: [] for name in timers}
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for name, timer in timers.items():
            samples[name].append(timer(counts[name]) / counts[name] * 1e-9)
    return samples


def time_workload(run: Callable[[], None], rounds: int) -> list[float]:
    """Return the seconds a program takes, so often, after one run that does not count."""
    run()
    samples = []
    for _round in range(rounds):
        started = time.perf_counter()
        run()
        samples.append(time.perf_counter() - started)
    return samples
