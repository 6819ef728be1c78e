"""What a report on a fleet costs its user: `make bench`. Not a test.

python -m tests.tools.bench_fleet

The fleet is planted in Debian's Prometheus on the loopback, which shares this machine with the client.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple

from sdeictl.host.open import open_root
from sdeictl.probe.collect import collect
from sdeictl.probe.report import build_report
from tests.conftest import load_host
from tests.lab.build import Lab
from tests.lab.prometheus import prometheus_with
from tests.support.planted_fleet import HOUR, make_fleet, openmetrics, write_reports
from tests.tools.bench_probe import COMMAND, peak_mib

SMALL, LARGE = 10_000, 30_000
ROUNDS = 7
SECONDS, MEMORY_MIB, GROWTH, FILE_SECONDS = 3.0, 150.0, 3.3, 5.0
"""At most: the small fleet; the client's memory; the large fleet as a ratio; as many report files."""


class Cost(NamedTuple):
    """What a report costs."""

    seconds: float
    """Wall time, the median of some rounds."""
    mib: float
    """Peak resident memory of the client."""


def cost(*arguments: str) -> Cost:
    """Return what `fleet report` costs."""
    command = [COMMAND, "fleet", "report", *arguments]
    return Cost(statistics.median(seconds_of(command) for _ in range(ROUNDS)), peak_mib(*command))


def seconds_of(command: Sequence[str]) -> float:
    began = time.perf_counter()
    done = subprocess.run([sys.executable, *command], stdout=subprocess.DEVNULL, check=False)
    if done.returncode != 1:
        raise SystemExit(f"{command} ended with status {done.returncode}")
    return time.perf_counter() - began


def asked(lab: Lab, hosts: int) -> Cost:
    """Return what a report by queries costs."""
    now = int(time.time()) // HOUR * HOUR
    with tempfile.TemporaryDirectory(prefix="sdeictl-bench-") as name:
        samples = Path(name) / "samples"
        with samples.open("w") as file:
            file.writelines(openmetrics(make_fleet(hosts), now, step=6 * HOUR))
        with prometheus_with(lab, "prometheus", Path(name), samples) as server:
            series = server.value(f'count({{job="sdeictl"}} @ {now})') or 0
            print(f"{hosts:,} hosts in Prometheus, {series:,.0f} series")
            at = datetime.fromtimestamp(now, timezone.utc).isoformat()
            return cost("--prometheus", server.url, "--time", at)


def read(hosts: int) -> Cost:
    """Return what a report from files costs: each as large as a real one."""
    with tempfile.TemporaryDirectory(prefix="sdeictl-bench-") as name:
        model = build_report(collect(open_root(str(load_host("acpi-sdei").root))))
        write_reports(make_fleet(hosts), Path(name), model)
        return cost("--reports", name)


def show(what: str, found: float, limit: float, unit: str) -> bool:
    """Print a figure beside its limit; tell whether it keeps it."""
    good = found <= limit
    print(f"{'good  ' if good else 'MISSED'} {what}: {found:.2f} {unit} (goal {limit:g})")
    return good


def main() -> int:
    """Print each figure with its goal; return 1 if one is missed."""
    lab = Lab()
    lab.build(("prometheus",))
    small, large, files = asked(lab, SMALL), asked(lab, LARGE), read(SMALL)
    good = [
        show(f"fleet report, {SMALL:,} hosts in Prometheus", small.seconds, SECONDS, "s"),
        show("  memory of the client", max(small.mib, large.mib), MEMORY_MIB, "MiB"),
        show(f"  {LARGE:,} hosts, beside {SMALL:,}", large.seconds / small.seconds, GROWTH, "times"),
        show(f"fleet report, {SMALL:,} files", files.seconds, FILE_SECONDS, "s"),
        show("  memory", files.mib, MEMORY_MIB, "MiB"),
    ]
    return 0 if all(good) else 1


if __name__ == "__main__":
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.exit(main())
