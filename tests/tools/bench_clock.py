"""Is the benchmark's clock honest, and its statistics: `make bench`. Not a test; ratios within one run.

python -m tests.tools.bench_clock [clock|equal|different]...
"""

import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from sdeictl.bench.estimate import Interval, differs, effect, estimate
from sdeictl.bench.loop import LIBRARY, C, load_loops
from sdeictl.bench.measure import Samples, measure
from tests.conftest import PROJECT

ROUNDS = 51
SHORT, LONG = 6_000, 1_000_000
BARE = PROJECT / "tests/lab/guest/reference.c"
SAMPLES = 40
PAIRS, PAIR_SECONDS, ALLOWED = 40, 5.0, 5
RUNS, RUN_SECONDS, NEEDED = 20, 28.0, 18
PART = 0.02
MAX_TURNS = 24
OPS = re.compile(r"^\s*([\d,]+) ops/sec", re.MULTILINE)


def least(timer: Callable[[int], int], count: int, samples: int) -> float:
    return min(timer(count) for _ in range(samples)) / count


def show(what: str, ratios: list[float], limit: float) -> bool:
    """Print the median ratio with its 95 % interval; tell whether it is near enough to 1."""
    found = estimate_of(ratios)
    good = abs(found.value - 1) <= limit
    print(
        f"{what}: {found.value:.4f} ({found.low:.4f} to {found.high:.4f}), {len(ratios)} paired rounds;"
        f" wanted: within {limit:.0%}{'' if good else '  MISSED'}"
    )
    return good


def estimate_of(ratios: list[float]) -> Interval:
    # Each round is its own block.
    ordered = sorted(ratios)
    rank = int(len(ordered) / 2 - 0.98 * len(ordered) ** 0.5)
    return Interval(statistics.median(ordered), ordered[rank], ordered[-1 - rank])


def clock() -> bool:
    """The library's getppid against a bare C loop, and against perf bench."""
    timer = load_loops().timers["getppid"]
    good = True
    with tempfile.TemporaryDirectory() as directory:
        bare = Path(directory) / "bare"
        subprocess.run(["cc", "-O2", "-o", bare, BARE], check=True)

        def run_bare() -> float:
            words = [str(bare), str(SHORT), str(SAMPLES)]
            return float(subprocess.run(words, capture_output=True, text=True, check=True).stdout)

        ratios = [least(timer, SHORT, SAMPLES) / run_bare() for _ in range(ROUNDS)]
        good &= show("getppid, sdeictl / a bare C loop", ratios, 0.01)
    if not shutil.which("perf"):
        print("perf is not installed: apt-get install linux-perf")
        return False
    ratios = [least(timer, LONG, 1) / run_perf() for _ in range(ROUNDS)]
    return good & show("getppid, sdeictl / perf bench syscall basic", ratios, 0.03)


def run_perf() -> float:
    """Return nanoseconds a call, by perf's own loop."""
    words = ["perf", "bench", "syscall", "basic", "--loop", str(LONG)]
    found = OPS.search(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
    assert found
    return 1e9 / int(found[1].replace(",", ""))


def equal() -> bool:
    """Runs of the very same thing, one after the other: how many pairs are called different?"""
    timers = {"getppid": load_loops().timers["getppid"]}
    found = []
    for _pair in range(PAIRS):
        one, other = (measure(timers, PAIR_SECONDS)["getppid"] for _ in range(2))
        found.append(effect([one], [other]))
    wrong = [value for value in found if value and differs(value)]
    worst = max((abs(value.value) for value in found if value), default=0.0)
    good = len(wrong) <= ALLOWED
    print(
        f"A/A: {len(wrong)} of {PAIRS} pairs of {PAIR_SECONDS:g} s called different, the largest effect of"
        f" nothing {worst:.1%}; allowed: {ALLOWED}{'' if good else '  MISSED'}"
    )
    return good


def different() -> bool:
    """A known amount of work in the call, in turns with the call without it: is it found?"""
    spin = busy_timer()
    turns = calibrate_busy(spin)
    found = []
    for _run in range(RUNS):
        samples: Samples = measure(
            {"plain": lambda count: spin(count, 0), "busy": lambda count: spin(count, turns)}, RUN_SECONDS / 2
        )
        found.append(effect([samples["plain"]], [samples["busy"]]))
    seen = [value for value in found if value and value.low > 0]
    middle = statistics.median(value.value for value in found if value)
    good = len(seen) >= NEEDED
    print(
        f"synthetic {PART:+.0%} ({turns} turns of an empty loop): found in {len(seen)} of {RUNS} runs of"
        f" {RUN_SECONDS:g} s, median {middle:+.1%}; wanted: {NEEDED}{'' if good else '  MISSED'}"
    )
    return good


def calibrate_busy(spin: Callable[[int, int], int]) -> int:
    """Return how many turns of an empty loop cost a call PART more."""
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
    if load_loops().kind != C:
        print("sdeictl was installed without a C compiler: there is no clock to judge")
        return 1
    parts = {"clock": clock, "equal": equal, "different": different}
    started = time.monotonic()
    good = [parts[name]() for name in (sys.argv[1:] or parts)]
    print(f"took {time.monotonic() - started:.0f} s")
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
