"""Checks the clock and the statistics of `sdeictl bench`, by ratios within one run; part of `make bench`.

python -m tests.tools.bench_clock [clock|equal|different]...
"""

from __future__ import annotations

import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sdeictl.bench.estimate import Interval, differs, effect, estimate
from sdeictl.bench.loop import LIBRARY, Timer, load_loops
from sdeictl.bench.measure import Samples, current_cpu, measure
from sdeictl.bench.words import LoopKind
from tests.conftest import PROJECT

ROUNDS = 51
SHORT, LONG = 6_000, 1_000_000
BARE = PROJECT / "tests/lab/guest/reference.c"
FLAGS = ("-O2", "-fPIC", "-fno-plt")
"""As in setup.py, which builds the library: with a procedure linkage table (PLT) the bare loop would execute
one more jump in each call, and would read about 1 % slower than the library."""
SAMPLES = 40
PAIRS, PAIR_SECONDS, ALLOWED = 40, 2.0, 5
TURNS = "ABBABAAB"
"""Which side each run of a pair belongs to: a machine that becomes slower meets both."""
RUNS, RUN_SECONDS, NEEDED, MAX_RUNS = 20, 10.0, 18, 60
PART = 0.02
MAX_TURNS = 24
OPS = re.compile(r"^\s*([\d,]+) ops/sec", re.MULTILINE)


def least(timer: Timer, count: int, samples: int) -> float:
    """Return the nanoseconds of one call, the least of some samples of `count` calls."""
    return min(timer(count) for _ in range(samples)) / count


def show(what: str, ratios: list[float], limit: float) -> bool:
    """Print the median ratio with its 95 % interval; report whether it is close enough to 1."""
    found = estimate_of(ratios)
    good = abs(found.value - 1) <= limit
    print(
        f"{what}: {found.value:.4f} ({found.low:.4f} to {found.high:.4f}), {len(ratios)} paired rounds;"
        f" wanted: within {100 * limit:.0f} % of 1{'' if good else '  MISSED'}"
    )
    return good


def estimate_of(ratios: list[float]) -> Interval:
    # Each round is a block of its own.
    ordered = sorted(ratios)
    rank = int(len(ordered) / 2 - 0.98 * len(ordered) ** 0.5)
    return Interval(statistics.median(ordered), ordered[rank], ordered[-1 - rank])


def clock() -> bool:
    """Compare getppid of the library with a bare C loop, and with perf bench, all on one CPU."""
    timer = load_loops().timers["getppid"]
    with on_one_cpu(), bare_loop() as bare:
        return compare_with_bare(timer, bare) & compare_with_perf(timer)


@contextmanager
def on_one_cpu() -> Iterator[None]:
    """Keep this process on one CPU, and the loops in its children, which inherit that."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {current_cpu(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def bare_loop() -> Iterator[Path]:
    """Build the bare C loop."""
    with tempfile.TemporaryDirectory() as directory:
        bare = Path(directory) / "bare"
        subprocess.run(["cc", *FLAGS, "-o", bare, BARE], check=True)
        yield bare


def compare_with_bare(timer: Timer, bare: Path) -> bool:
    ratios = [least(timer, SHORT, SAMPLES) / run_bare(bare) for _ in range(ROUNDS)]
    return show("getppid, sdeictl / a bare C loop", ratios, 0.01)


def run_bare(bare: Path) -> float:
    """Return the nanoseconds of one call in the bare C loop, the least of its samples."""
    words = [str(bare), str(SHORT), str(SAMPLES)]
    return float(subprocess.run(words, capture_output=True, text=True, check=True).stdout)


def compare_with_perf(timer: Timer) -> bool:
    if not shutil.which("perf"):
        print("perf is not installed: apt-get install linux-perf")
        return False
    ratios = [least(timer, LONG, 1) / run_perf() for _ in range(ROUNDS)]
    return show("getppid, sdeictl / perf bench syscall basic", ratios, 0.03)


def run_perf() -> float:
    """Return the nanoseconds of one call in perf's own loop."""
    words = ["perf", "bench", "syscall", "basic", "--loop", str(LONG)]
    found = OPS.search(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
    assert found
    return 1e9 / int(found[1].replace(",", ""))


def equal() -> bool:
    """Compare equal sides of some runs each, in turns; count how often they are called different.

    `bench ab` compares so. A single pair of runs would show how steady this machine is: its speed changes for
    seconds, and nothing within a run shows that.
    """
    with on_one_cpu():
        found = [compare_equal_runs() for _pair in range(PAIRS)]
    wrong = [value for value in found if differs(value)]
    good = len(wrong) <= ALLOWED
    print(
        f"A/A: {len(wrong)} of {PAIRS} pairs of equal sides, {len(TURNS) // 2} runs of {PAIR_SECONDS:g} s"
        f" each, were called different;"
        f" largest difference: {100 * max(abs(value.value) for value in found):.1f} %;"
        f" allowed: {ALLOWED}{'' if good else '  MISSED'}"
    )
    return good


def compare_equal_runs() -> Interval:
    """Return the effect between two equal sides."""
    timers = {"getppid": load_loops().timers["getppid"]}
    sides: dict[str, list[list[float]]] = {"A": [], "B": []}
    for side in TURNS:
        sides[side].append(list(measure(timers, PAIR_SECONDS)["getppid"]))
    found = effect(sides["A"], sides["B"])
    assert found
    return found


def different() -> bool:
    """Time a call with a known amount of extra work, in turns with the plain call: is the effect found?

    The plain call is timed twice, under two names. What lies between these two is the noise of this machine.
    A run in which it is as large as the effect cannot find the effect, and does not count.
    """
    spin = busy_timer()
    turns = calibrate_busy(spin)
    found: list[Interval] = []
    tried = 0
    while len(found) < RUNS and tried < MAX_RUNS:
        tried += 1
        samples: Samples = measure(
            {
                "plain": lambda count: spin(count, 0),
                "same": lambda count: spin(count, 0),
                "busy": lambda count: spin(count, turns),
            },
            RUN_SECONDS,
        )
        noise, extra = (effect([samples["plain"]], [samples[name]]) for name in ("same", "busy"))
        if noise and extra and max(-noise.low, noise.high) < PART:
            found.append(extra)
    seen = [value for value in found if value.low > 0]
    middle = statistics.median(value.value for value in found) if found else 0.0
    good = len(seen) >= NEEDED
    print(
        f"synthetic {100 * PART:+.0f} %, {turns} turns of an empty loop: found in {len(seen)} runs,"
        f" median {100 * middle:+.1f} %; wanted: {NEEDED} of {RUNS} runs of {RUN_SECONDS:g} s for each call."
        f" {tried - len(found)} runs had as much noise.{'' if good else '  MISSED'}"
    )
    return good


def calibrate_busy(spin: Callable[[int, int], int]) -> int:
    """Return how many turns of an empty loop make a call longer by PART."""
    found: Samples = measure(
        {str(turns): lambda count, turns=turns: spin(count, turns) for turns in range(MAX_TURNS)},  # type: ignore[misc]
        1.0,
    )
    times = [estimate(found[str(turns)]) for turns in range(MAX_TURNS)]
    plain = times[0]
    assert plain
    return min(
        range(1, MAX_TURNS),
        key=lambda turns: abs((times[turns] or plain).value / plain.value - 1 - PART),
    )


def busy_timer() -> Callable[[int, int], int]:
    import ctypes  # noqa: PLC0415 - only here

    function = ctypes.CDLL(LIBRARY).sdeictl_bench_getppid_busy
    function.restype = ctypes.c_int64
    function.argtypes = (ctypes.c_uint64, ctypes.c_uint64)
    return lambda count, busy: int(function(count, busy))


def main() -> int:
    if load_loops().kind is not LoopKind.C:
        print("sdeictl was installed without a C compiler: the library that this checks is missing")
        return 1
    parts = {"clock": clock, "equal": equal, "different": different}
    started = time.monotonic()
    good = [parts[name]() for name in (sys.argv[1:] or parts)]
    print(f"took {time.monotonic() - started:.0f} s")
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
