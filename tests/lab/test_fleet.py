"""A report on a planted fleet equals what was planted: by real servers that speak the API of Prometheus."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from sdeictl.fleet.host_states import read_states
from sdeictl.fleet.plan import HostState
from sdeictl.fleet.prometheus import Client, Server
from sdeictl.fleet.prometheus_source import PrometheusSource
from sdeictl.fleet.tallies import BY
from tests.conftest import validate
from tests.lab.build import EXTRA, Lab
from tests.lab.prometheus import Prometheus, free_port, prometheus_with, serving
from tests.support.planted_fleet import (
    COHORTS,
    DAY,
    HOUR,
    Host,
    earlier,
    expect,
    make_fleet,
    openmetrics,
    states_of,
)

HOSTS = 10_000 if EXTRA else 1_000
SERVERS = ("prometheus", "prometheus-unstable", "victoriametrics") if EXTRA else ("prometheus",)
NOW = int(time.time()) // HOUR * HOUR


class Planted:
    """A fleet in a server."""

    def __init__(self, server: Prometheus, fleet: list[Host]) -> None:
        self.server = server
        self.fleet = fleet

    def ask(self, command: str, *arguments: str) -> tuple[int, str]:
        """Run `fleet report` or `fleet diff`; return its status and what it prints."""
        done = subprocess.run(
            [sys.executable, "-m", "sdeictl", "fleet", command, "--prometheus", self.server.url, *arguments],
            capture_output=True, text=True, timeout=120, env=os.environ | {"no_proxy": "*"}, check=False,
        )  # fmt: skip
        assert not done.stderr
        return done.returncode, done.stdout

    def document(self, *arguments: str) -> Any:
        """Return the report as JSON."""
        status, text = self.ask("report", "--time", stamp(NOW), "--format", "json", *arguments)
        assert status == 1
        return json.loads(text)


def stamp(at: int) -> str:
    return datetime.fromtimestamp(at, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.fixture(scope="module", params=SERVERS)
def planted(
    request: pytest.FixtureRequest, lab: Lab, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Planted]:
    fleet = make_fleet(HOSTS)
    directory = tmp_path_factory.mktemp(request.param)
    samples = directory / "samples"
    with samples.open("w") as file:
        file.writelines(openmetrics(fleet, NOW, step=6 * HOUR))
    run = victoria if request.param == "victoriametrics" else prometheus_with
    with run(lab, request.param, directory, samples) as server:
        yield Planted(server, fleet)


@contextmanager
def victoria(lab: Lab, part: str, directory: Path, samples: Path) -> Iterator[Prometheus]:
    """Run a VictoriaMetrics and send it the samples, with times in milliseconds as it wants them."""
    port = free_port()
    command = [
        *lab.command(part, "victoria-metrics"), f"-storageDataPath={directory}/data",
        f"-httpListenAddr=127.0.0.1:{port}", "-search.latencyOffset=0s", "-retentionPeriod=100y",
    ]  # fmt: skip
    with serving(command, directory / "log", "/health", port) as server, samples.open() as file:
        rows = [f"{row.rstrip()}000\n" for row in file if not row.startswith("#")]
        for start in range(0, len(rows), 200_000):
            body = "".join(rows[start : start + 200_000]).encode()
            urllib.request.urlopen(f"{server.url}/api/v1/import/prometheus", body, timeout=60).close()
        urllib.request.urlopen(f"{server.url}/internal/force_flush", timeout=60).close()
        yield server


def test_report_equals_planted_truth(planted: Planted) -> None:
    document = planted.document()
    validate("fleet-1", document)
    expect(document, planted.fleet, with_server=True)
    assert document["gaps"] == []


def test_report_without_recording_rules(planted: Planted) -> None:
    """The rules have the label `job` and no other, so that they cannot serve these matchers."""
    document = planted.document("--match", 'job="sdeictl",instance=~".+"')
    expect(document, planted.fleet, with_server=True, recorded=False)
    assert document["events"][0]["week"] < planted.document()["events"][0]["week"]


def test_inventory_adds_what_is_missing(planted: Planted, tmp_path: Path) -> None:
    inventory = tmp_path / "inventory"
    inventory.write_text(
        f"{planted.fleet[0].name}\n{planted.fleet[1].name.partition(':')[0]}\nlost.example\n"
    )
    document = planted.document("--inventory", str(inventory))
    assert document["absent"] == ["lost.example"]
    assert document["hosts"]["total"] == len(planted.fleet) + 1


def test_cohorts_by_any_label(planted: Planted) -> None:
    document = planted.document("--by", "rack,kernel")
    racks = {host.rack for host in planted.fleet if host.up and host.reported}
    assert {cohort["rack"] for cohort in document["cohorts"]} == racks
    assert sum(cohort["hosts"] for cohort in document["cohorts"]) == sum(document["paths"].values())


def test_matchers_choose_hosts(planted: Planted) -> None:
    rack = next(host.rack for host in planted.fleet if host.cohort == COHORTS[2])
    document = planted.document("--match", f'job="sdeictl",rack="{rack}"')
    assert document["hosts"]["total"] == sum(host.rack == rack for host in planted.fleet)


def test_list_of_hosts(planted: Planted) -> None:
    status, text = planted.ask(
        "report", "--time", stamp(NOW), "--hosts", "kdump-makedumpfile", "--format", "csv"
    )
    names = [row.partition(",")[0] for row in text.splitlines()[1:]]
    failing = (
        host for host in planted.fleet if host.up and host.reported and "kdump-makedumpfile" in host.failing
    )
    assert (status, names) == (0, sorted(host.name for host in failing))


def test_plan_knows_each_host(planted: Planted) -> None:
    server = Server(planted.server.url, (), 60.0, None, None, None)
    source = PrometheusSource(Client(server, NOW), 'job="sdeictl"', BY, DAY)
    found = read_states(source, "rack", ["lost.example"])
    assert found.pop() == HostState("lost.example", "", answers=False)
    assert sorted(found, key=lambda state: state.instance) == states_of(planted.fleet)


def test_diff_names_hosts_that_became_unready(planted: Planted) -> None:
    status, text = planted.ask("diff", "--at", stamp(NOW - DAY), "--at", stamp(NOW), "--format", "json")
    assert status == 0
    document = json.loads(text)
    validate("fleet-diff-1", document)
    became = {
        now.name
        for then, now in zip(earlier(planted.fleet), planted.fleet)
        if then != now and now.up and now.reported
    }
    assert document["newly_not_ready"]["hosts"] == len(became) > 0
    assert became.issuperset(document["newly_not_ready"]["names"])
    old = next(cohort for cohort in document["cohorts"] if cohort["kernel"] == "7.3.3")
    assert (old["before"]["ready"], old["after"]["hosts"]) == (len(became), 0)
    broken = {link["check"]: link["after"] - link["before"] for link in document["broken_links"]}
    assert broken["sdei-advertised"] == len(became)
    assert COHORTS[2].failing[0] == "sdei-advertised"
