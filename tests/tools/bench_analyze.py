"""What `analyze` needs for a large log, as ratios within one run: `make bench`. Not a test.

python -m tests.tools.bench_analyze [MIB]

The yardstick is a Python loop that matches one regular expression with each line.
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
from pathlib import Path

LOOP = """
import re, sys
line_of_kernel = re.compile(r"\\[ *(\\d+\\.\\d+)\\] (.*)")
with open(sys.argv[1], errors="replace") as log:
    print(sum(bool(line_of_kernel.match(line)) for line in log))
"""
ANALYZE = ("-m", "sdeictl", "analyze")
TIME_LIMIT, MEMORY_LIMIT_MIB = 5.0, 64
HOSTILE_SECONDS, HOSTILE_MIB = 30.0, 300
BOOT_LINES, REQUEST_LINES = 50_000, 20_000
WORDS = (
    "usb", "device", "driver", "link", "is", "up", "eth0", "nvme0n1", "sector", "module", "firmware", "pci",
    "enabling", "scsi", "host", "audit",
)  # fmt: skip
REQUEST = (
    "Sending NMI from CPU 1 to CPUs 0:", "NMI backtrace for cpu 0",
    "CPU: 0 PID: 9 Comm: sh Not tainted 6.12.3 #1", "pstate: 604000c9 (nZCv daIF +PAN)",
    "pc : cpu_do_idle+0x10/0x20", "x29: ffff800080000000 x28: 0",
)  # fmt: skip
START = ("Booting Linux on physical CPU 0x0000000000 [0x410fd0c1]", "Linux version 6.12.3 (a@b) #1")


def write_log(path: Path, size: int, *, many_boots: bool) -> None:
    """Write a log of so many bytes: one boot with distinct times, or a boot every BOOT_LINES lines."""
    made = random.Random(7)
    texts = [" ".join(made.choices(WORDS, k=made.randint(4, 12))) for _ in range(5000)]
    at, number, written = 0.0, 0, 0
    with path.open("w") as log:
        while written < size:
            lines = []
            for text in made.choices(texts, k=1000):
                at += made.random() / 50 + 1e-6
                lines.append(f"[{at:12.6f}] {text}\n")
            number += len(lines)
            if number % REQUEST_LINES == 0:
                lines += [f"[{at:12.6f}] {text}\n" for text in REQUEST]
            if many_boots and number % BOOT_LINES == 0:
                at = 0.0
                lines += [f"[{at:12.6f}] {text}\n" for text in START]
            written += log.write("".join(lines))


def measure(*arguments: str) -> tuple[float, float, int]:
    """Run Python; return CPU seconds, peak MiB and the exit status."""
    command = [sys.executable, "-c", MEASURE, sys.executable, *arguments]
    output = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    seconds, memory, status = output.split()
    return float(seconds), float(memory), int(status)


MEASURE = """
import resource, subprocess, sys
done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, done.returncode)
"""


def report(name: str, good: bool, text: str) -> bool:
    """Print one result; return whether its goal is missed."""
    print(f"{'good  ' if good else 'MISSED'} analyze, {name}: {text}", flush=True)
    return not good


def compare(directory: Path, mib: int) -> int:
    """Compare with the loop on both kinds of log; return how many goals are missed."""
    missed = 0
    for name, many_boots in (("one boot", False), ("many boots", True)):
        log = directory / "log"
        write_log(log, mib << 20, many_boots=many_boots)
        plain, _memory, _status = measure("-c", LOOP, str(log))
        seconds, memory, status = measure(*ANALYZE, str(log))
        good = status == 0 and seconds <= TIME_LIMIT * plain and memory <= MEMORY_LIMIT_MIB
        missed += report(
            f"{mib} MiB of {name}", good,
            f"{seconds / plain:.2f} times a loop with one regular expression (goal {TIME_LIMIT}),"
            f" peak {memory:.0f} MiB (goal {MEMORY_LIMIT_MIB})",
        )  # fmt: skip
    return missed


def hostile(directory: Path) -> int:
    """Measure logs that were made to use up time or memory; return how many goals are missed."""
    request = "".join(
        f"[{100 + 11 * at:12.6f}] Sending NMI from CPU 0 to CPUs 1-4095:\n" for at in range(3000)
    )
    cases = (
        ("200 MiB of newlines", b"\n" * (1 << 20), 200), ("one line of 1 GiB", b"x" * (1 << 20), 1024),
        ("one line of 1 GiB with times", b"[    1.000000] word " * (1 << 16), 820),
        ("3,000 requests to CPUs 1-4095", request.encode(), 1),
        ("2 GiB of quotations", b"".join(b"[%12.6f] watchdog: x\n" % at for at in range(1, 90_000)), 750),
    )  # fmt: skip
    missed = 0
    for name, piece, count in cases:
        with (directory / "log").open("wb") as log:
            for _ in range(count):
                log.write(piece)
            log.write(b"\n")
        seconds, memory, status = measure(*ANALYZE, "--format", "json", str(directory / "log"))
        good = status in (0, 3) and seconds <= HOSTILE_SECONDS and memory <= HOSTILE_MIB
        text = (
            f"{seconds:.1f} s of CPU (goal {HOSTILE_SECONDS:.0f}), peak {memory:.0f} MiB (goal {HOSTILE_MIB})"
        )
        missed += report(name, good, text)
    return missed


def main() -> int:
    """Print each figure with its goal; return 1 if one is missed."""
    mib = int(sys.argv[1]) if sys.argv[1:] else 1024
    with tempfile.TemporaryDirectory(prefix="sdeictl-bench-") as base:
        return bool(compare(Path(base), mib) + hostile(Path(base)))


if __name__ == "__main__":
    sys.exit(main())
