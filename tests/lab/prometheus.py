"""Debian's Prometheus on this machine's loopback, for a story: scrapes one target and evaluates our rules."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.lab.build import PROJECT, Lab

RULES = PROJECT / "prometheus"
CONFIG = """
global: {{scrape_interval: 2s, scrape_timeout: 2s, evaluation_interval: 1s}}
rule_files: [{directory}/alerts.yml, {directory}/recording.yml]
scrape_configs:
  - job_name: sdeictl
    static_configs: [{{targets: ['127.0.0.1:{target}']}}]
"""
FASTER = {"m": "s", "h": "m", "d": "h"}
"""A minute of the rules is a second of the story: nobody waits for an hour to see an alert end."""
_DURATION = re.compile(r"\b(\d+)([mhd])\b")


class Prometheus:
    """A running server."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"

    def get(self, path: str, **parameters: str) -> Any:
        """Return the data of an answer of the HTTP API."""
        query = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(f"{self.url}{path}?{query}", timeout=30) as answer:
            document = json.loads(answer.read())
        assert document["status"] == "success", document
        return document["data"]

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """Return the labels and the value of each series of an instant query."""
        result = self.get("/api/v1/query", query=expression)["result"]
        return [(series["metric"], float(series["value"][1])) for series in result]

    def value(self, expression: str) -> float | None:
        """Return the value of the one series, None without one."""
        found = self.query(expression)
        assert len(found) <= 1, found
        return found[0][1] if found else None

    def firing(self) -> set[str]:
        """Return the names of the alerts that fire."""
        return {labels["alertname"] for labels, _ in self.query('ALERTS{alertstate="firing"}')}


def wait_until(what: str, condition: Callable[[], object], seconds: float = 120.0) -> None:
    """Wait until a condition holds, and fail with what it was when it does not."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.5)


def free_port() -> int:
    """Return a port of the loopback on which nobody listens now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def faster(rules: str) -> str:
    """Return rules with every duration divided by sixty; ages, which are numbers of seconds, stay."""
    return _DURATION.sub(lambda found: found[1] + FASTER[found[2]], rules)


@contextmanager
def serving(command: list[str], log: Path, ready: str, port: int) -> Iterator[Prometheus]:
    """Run a server on a port of the loopback; it ends with the context. `ready` is a path that it answers."""
    with log.open("wb") as file:
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *command], stdin=subprocess.DEVNULL, stdout=file, stderr=file
        )
    try:
        server = Prometheus(port)
        wait_until("the server is ready", lambda: _is_ready(server, ready))
        yield server
    finally:
        process.kill()
        process.wait()


@contextmanager
def running_prometheus(lab: Lab, directory: Path, target: int) -> Iterator[Prometheus]:
    """Run a server that scrapes a port of the loopback; it ends with the context."""
    directory.mkdir()
    for name in ("alerts.yml", "recording.yml"):
        (directory / name).write_text(faster((RULES / name).read_text()))
    with configured(
        lab, "prometheus", directory, CONFIG.format(directory=directory, target=target)
    ) as server:
        yield server


@contextmanager
def prometheus_with(lab: Lab, part: str, directory: Path, samples: Path) -> Iterator[Prometheus]:
    """Run a server on blocks made of samples in OpenMetrics; it ends with the context."""
    command = [*lab.command(part, "promtool"), "tsdb", "create-blocks-from", "openmetrics", "--quiet"]
    subprocess.run([*command, samples, directory / "data"], check=True, timeout=600)
    with configured(lab, part, directory, "global: {}\n") as server:
        yield server


@contextmanager
def configured(lab: Lab, part: str, directory: Path, config: str) -> Iterator[Prometheus]:
    """Run the Prometheus of a part of the lab with this configuration; it ends with the context."""
    (directory / "prometheus.yml").write_text(config)
    port = free_port()
    command = [
        *lab.command(part, "prometheus"), f"--config.file={directory}/prometheus.yml",
        f"--storage.tsdb.path={directory}/data", f"--web.listen-address=127.0.0.1:{port}",
    ]  # fmt: skip
    with serving(command, directory / "log", "/-/ready", port) as server:
        yield server


def _is_ready(server: Prometheus, path: str) -> bool:
    try:
        with urllib.request.urlopen(f"{server.url}{path}", timeout=30) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, ConnectionError):
        return False
