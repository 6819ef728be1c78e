"""What a report on a fleet costs its user, and what rules cost the server: `make bench`. Not a test.

    python -m tests.tools.bench_fleet [-v]    -v: also each query, for docs/scale.md

The fleet is planted in Debian's Prometheus on the loopback, which shares this machine with the client.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple

from sdeictl.fleet.prometheus import Client, Series, Server
from sdeictl.fleet.prometheus_source import PrometheusSource
from sdeictl.fleet.report import build_fleet_report
from sdeictl.fleet.tallies import BY
from sdeictl.host.open import open_root
from sdeictl.probe.collect import collect
from sdeictl.probe.report import build_report
from tests.conftest import load_host
from tests.lab.build import Lab
from tests.lab.prometheus import Prometheus, prometheus_with
from tests.lab.test_prometheus import ALERTS, RECORDING, dashboard_queries, rule_queries
from tests.support.planted_fleet import DAY, HOUR, make_fleet, openmetrics, write_reports
from tests.tools.bench_probe import COMMAND, peak_mib

SMALL, LARGE = 10_000, 30_000
ROUNDS = 7
SECONDS, MEMORY_MIB, GROWTH, FILE_SECONDS = 3.0, 150.0, 3.3, 5.0
"""At most: the small fleet; the client's memory; the large fleet as a ratio; as many report files."""


RULE_SHARE = 0.1
"""At most: what all rules of the small fleet take of one core, each minute."""


class Cost(NamedTuple):
    """What a report costs."""

    seconds: float
    """Wall time, the median of some rounds."""
    mib: float
    """Peak resident memory of the client."""
    rules: float = 0.0
    """What the server needs to evaluate all rules once, in seconds."""


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
            found = cost("--prometheus", server.url, "--time", at)
            if hosts != SMALL:
                return found
            if "-v" in sys.argv:
                show_queries(server, now, hosts)
            rules = [
                query_seconds(server, query, now)
                for query in (*rule_queries(RECORDING), *rule_queries(ALERTS))
            ]
            return found._replace(rules=sum(rules))


def query_seconds(server: Prometheus, query: str, now: int) -> float:
    """Return how long a query takes, the median of some rounds."""
    seconds = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        server.get("/api/v1/query", query=query, time=str(now))
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def show_queries(server: Prometheus, now: int, hosts: int) -> None:
    """Print what each query costs: of a report, of the rules, and of the dashboard."""
    asked = Recorder(Server(server.url), now)
    build_fleet_report(PrometheusSource(asked, 'job="sdeictl"', BY, DAY), (), BY, "")
    kinds = {
        "report": asked.queries,
        "record": rule_queries(RECORDING),
        "alert": rule_queries(ALERTS),
        "dashboard": [re.sub(r"\$\w+", ".+", query) for query in dashboard_queries()],
    }
    for kind, queries in kinds.items():
        costs = sorted(((query_seconds(server, query, now), query) for query in set(queries)), reverse=True)
        total = sum(seconds for seconds, _query in costs)
        print(f"  {kind}: {len(costs)} queries, {total:.2f} s, {1e6 * total / hosts:.0f} us for each host")
        for seconds, query in costs:
            print(f"    {1e6 * seconds / hosts:8.2f} us  {query}")


class Recorder(Client):
    """A client that remembers what it has asked."""

    def __init__(self, server: Server, at: float) -> None:
        super().__init__(server, at)
        self.queries: list[str] = []

    def query(self, expression: str) -> list[Series]:
        """Remember a query, and return its answer."""
        self.queries.append(expression)
        return super().query(expression)


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
        show("  all rules, each minute, of one core", small.rules / 60, RULE_SHARE, "parts"),
        show(f"fleet report, {SMALL:,} files", files.seconds, FILE_SECONDS, "s"),
        show("  memory", files.mib, MEMORY_MIB, "MiB"),
    ]
    return 0 if all(good) else 1


if __name__ == "__main__":
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.exit(main())
