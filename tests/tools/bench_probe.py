"""What a probe costs, as ratios within one run: `make bench`. Not a test; the machine's load cancels.

python -m tests.tools.bench_probe [ROUNDS]
"""

from __future__ import annotations

import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.conftest import load_host

YARDSTICK = ("-c", "import click, json, gzip")
MEMORY_LIMIT_MIB = 40.0
STOCK_SYMBOLS, STOCK_OPTIONS = 240_018, 13_000
"""What the archive's kernel shows in /proc/kallsyms and its config; tests/hosts keeps those that matter."""
COMMAND = str(Path(sys.executable).parent / "sdeictl")
"""The installed command, as users run it."""
SERVER_CPUS, SERVER_SYMBOLS = 288, 250_000
SEED = 7
# As an installed package has it: compiled once.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def run_seconds(*arguments: str) -> float:
    """Run Python with these arguments; return wall time in seconds."""
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *arguments], stdout=subprocess.DEVNULL, env=ENVIRONMENT, check=False
    )
    if done.returncode not in (0, 1):
        raise SystemExit(f"{arguments} ended with status {done.returncode}")
    return time.perf_counter() - started


PEAK_OF = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def peak_mib(*arguments: str) -> float:
    """Run Python with these arguments; return its peak resident memory in MiB.

    From a small process: one that is forked from here would begin with this one's own peak.
    """
    command = [sys.executable, "-c", PEAK_OF, sys.executable, *arguments]
    return int(subprocess.run(command, capture_output=True, check=True, env=ENVIRONMENT).stdout) / 1024


def stock_host(directory: Path) -> Path:
    """Return the captured stock-debian host with as many kernel symbols and options as it has."""
    shutil.copytree(load_host("stock-debian").root, directory, symlinks=True)
    add_symbols(directory / "proc/kallsyms", STOCK_SYMBOLS)
    (config,) = directory.glob("lib/modules/*/config")
    made = random.Random(SEED)
    with config.open("a") as file:
        for number in range(STOCK_OPTIONS):
            name = f"CONFIG_{made.getrandbits(60):X}_{number}"
            file.write(f"{name}={made.choice('ym')}\n" if number % 2 else f"# {name} is not set\n")
    return directory


def server_host(directory: Path) -> Path:
    """Return a host like acpi-vhe, but with the CPUs of a large server."""
    shutil.copytree(load_host("acpi-vhe").root, directory, symlinks=True)
    add_symbols(directory / "proc/kallsyms", SERVER_SYMBOLS)
    cpuinfo = directory / "proc/cpuinfo"
    first = cpuinfo.read_text().split("\n\n")[0].removeprefix("processor\t: 0")
    cpuinfo.write_text("".join(f"processor\t: {cpu}{first}\n\n" for cpu in range(SERVER_CPUS)))
    interrupts = directory / "proc/interrupts"
    _header, *rows = interrupts.read_text().splitlines()
    header = "     " + "".join(f" {f'CPU{cpu}':>10}" for cpu in range(SERVER_CPUS))
    wide = []
    for row in rows * 20:
        label, *words = row.split()
        text = " ".join(word for word in words if not word.isdigit())
        wide.append(f"{label:>5}" + " " * 10 + "1" + " 123456789" * (SERVER_CPUS - 1) + f"  {text}")
    interrupts.write_text("\n".join([header, *wide]) + "\n")
    for cpu in range(SERVER_CPUS):
        for state in range(3):
            idle = directory / f"sys/devices/system/cpu/cpu{cpu}/cpuidle/state{state}"
            idle.mkdir(parents=True, exist_ok=True)
            (idle / "usage").write_text("12345\n")
            (idle / "name").write_text(f"LPI-{state}\n")
    (directory / "sys/devices/system/cpu/cpuidle").mkdir(exist_ok=True)
    (directory / "sys/devices/system/cpu/cpuidle/current_driver").write_text("acpi_idle\n")
    (directory / "sdeictl-capture.json").unlink()
    return directory


def add_symbols(path: Path, total: int) -> None:
    """Add made-up symbols, shuffled among the real ones, up to the total."""
    lines = path.read_text().splitlines()
    made = random.Random(SEED)
    names = (f"{made.getrandbits(90):x}_fn_{made.getrandbits(16):x}" for _ in range(total - len(lines)))
    mixed = [*lines[:-1], *(f"0000000000000000 t {name}" for name in names)]
    made.shuffle(mixed)
    path.write_text("\n".join([*mixed, lines[-1]]) + "\n")


def main() -> int:
    """Print each ratio with its goal; return 1 if one is missed."""
    rounds = int(sys.argv[1]) if sys.argv[1:] else 25
    missed = 0
    with tempfile.TemporaryDirectory(prefix="sdeictl-bench-") as base:
        hosts = (
            ("stock-debian, 240,018 symbols", stock_host(Path(base) / "stock"), 1.5),
            ("288 CPUs, 250,000 symbols", server_host(Path(base) / "server"), 3.0),
        )
        for name, root, goal in hosts:
            probe = (COMMAND, "probe", "--root", str(root))
            run_seconds(*YARDSTICK), run_seconds(*probe)
            pairs = [(run_seconds(*probe), run_seconds(*YARDSTICK)) for _ in range(rounds)]
            ratio = statistics.median(probed / plain for probed, plain in pairs)
            memory = peak_mib(*probe)
            good = ratio <= goal and memory <= MEMORY_LIMIT_MIB
            missed += not good
            print(
                f"{'good  ' if good else 'MISSED'} probe --root, {name}: {ratio:.2f} times"
                f" `python {' '.join(YARDSTICK)}` (goal {goal}), peak {memory:.0f} MiB"
                f" (goal {MEMORY_LIMIT_MIB:.0f}); median of {rounds} pairs"
            )
    return bool(missed)


if __name__ == "__main__":
    sys.exit(main())
