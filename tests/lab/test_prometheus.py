"""Prometheus 2 and 3 accept all of prometheus/: rules, configuration, dashboard and queries."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from prometheus_client import generate_latest
from prometheus_client.exposition import choose_encoder
from sdeictl_agent.config import DEFAULT_PORT
from sdeictl_agent.families import registry_of

from sdeictl.cli import cli
from sdeictl.probe.checks.table import CHECKS
from tests.conftest import HOST_NAMES, PROJECT
from tests.lab.build import Lab
from tests.test_agent_families import NOW, Agent

HERE = PROJECT / "prometheus"
ALERTS = (HERE / "alerts.yml").read_text()
RECORDING = (HERE / "recording.yml").read_text()
SCRAPE = (HERE / "scrape.yml").read_text()
README = (HERE / "README.md").read_text()
DASHBOARD = (HERE / "dashboard.json").read_text()
CASES = sorted((HERE / "tests").glob("*.yml"))

EXPORTED = set(re.findall(r"^\| `(\w+)` \|", (PROJECT / "docs/metrics.md").read_text(), re.MULTILINE))
RECORDED = set(re.findall(r"- record: (\S+)", RECORDING + ALERTS))
OF_PROMETHEUS = {"up", "ALERTS"}

KEYWORDS = {"and", "bool", "or", "unless"}
LABEL_LISTS = r"\b(?:by|group_left|group_right|ignoring|on|without)\s*\([^()]*\)"

TOOLS = ("prometheus", "prometheus-unstable")
"""The parts of the lab with a promtool: of Debian trixie, and of unstable."""


class Promtool:
    """The tool of one part of the lab."""

    def __init__(self, lab: Lab, part: str = TOOLS[0]) -> None:
        self._command = lab.command(part, "promtool")

    def run(self, *arguments: str | Path, data: bytes = b"") -> str:
        """Return what it prints; it must find nothing wrong."""
        done = subprocess.run(
            [*self._command, *arguments],
            input=data, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, timeout=120,
        )  # fmt: skip
        output = done.stdout.decode()
        assert done.returncode == 0, output
        return output


@pytest.fixture(params=TOOLS)
def promtool(lab: Lab, request: pytest.FixtureRequest) -> Promtool:
    return Promtool(lab, request.param)


def rule_queries(text: str) -> list[str]:
    """Return the queries of a rule file, which stand on one line or in a folded block."""
    found = re.findall(r"^( *)expr: (?:>-\n((?:\1 +.*\n)+)|(.*)\n)", text, re.MULTILINE)
    return [" ".join((block or line).split()) for _indent, block, line in found]


def dashboard_queries() -> Iterator[str]:
    document = json.loads(DASHBOARD)
    for panel in document["panels"]:
        for target in panel.get("targets", []):
            yield target["expr"].replace("$__rate_interval", "5m")
    for variable in document["templating"]["list"]:
        if variable["type"] == "query":
            (selector,) = re.findall(r"label_values\((.*), \w+\)", variable["query"]["query"])
            yield selector


QUERIES = {
    "alerts": rule_queries(ALERTS),
    "recording": rule_queries(RECORDING),
    "dashboard": list(dashboard_queries()),
    "README": re.findall(r"^\| [^|`]+ \| `([^`]+)` \|$", README, re.MULTILINE),
}


def metrics_of(query: str) -> set[str]:
    """Return the names of metrics in a query, also those that are a pattern's alternatives."""
    names = {
        name for names in re.findall(r'__name__=~?"([^"]*)"', query) for name in names.split("|")
    }  # fmt: skip
    rest = re.sub(r'"[^"]*"', '""', query)
    for pattern in (r"\{[^{}]*\}", r"\[[^\[\]]*\]", LABEL_LISTS, r"\boffset \w+", r"\b[a-z_]+\s*(?=\()"):
        rest = re.sub(pattern, lambda found: f"{found[0]} " if found[0] in KEYWORDS else " ", rest)
    return names | set(re.findall(r"\b[a-zA-Z_][\w:]*", rest)) - KEYWORDS


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(DASHBOARD)["panels"]
    return found


def test_names_in_query_are_found() -> None:
    query = 'sum by (a) (rate(b_total{c="d"}[5m])) / on (e) group_left (f) (g:h:i offset 1h > bool 2) or (j)'
    assert metrics_of(query) == {"b_total", "g:h:i", "j"}
    assert metrics_of('{__name__=~"a|b", c="d"} and (up unless on () k) or absent(l)') == {
        "a", "b", "up", "k", "l",
    }  # fmt: skip


def test_both_versions_are_tried(lab: Lab) -> None:
    said = "".join(Promtool(lab, part).run("--version") for part in TOOLS)
    trixie, unstable = map(int, re.findall(r"(?m)^promtool, version (\d+)\.", said))
    assert (trixie, unstable >= 3) == (2, True)


def test_the_rules_are_sound(promtool: Promtool) -> None:
    output = promtool.run("check", "rules", "--lint-fatal", HERE / "alerts.yml", HERE / "recording.yml")
    counts = [int(count) for count in re.findall(r"(\d+) rules found", output)]
    assert counts == [len(QUERIES["alerts"]), len(QUERIES["recording"])]
    assert re.findall(r"(?m)^  - name: (.*)", ALERTS) == ["sdeictl"]


def test_alerts_have_severity_and_text() -> None:
    for rule in re.split(r"(?m)^      - alert: ", ALERTS)[1:]:
        name = rule.split("\n", 1)[0]
        assert re.fullmatch(r"Sdeictl[A-Z]\w+", name)
        assert re.search(r"(?m)^          severity: (?:critical|warning|info)$", rule), name
        summary, description = rule.split(" description: ")
        assert " summary: " in summary, name
        assert re.search(r"`[^`]*sdeictl[^`]*`", description), name


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_the_cases(path: Path, promtool: Promtool) -> None:
    assert "SUCCESS" in promtool.run("test", "rules", path)


def test_every_rule_has_its_cases() -> None:
    """Of each alert one where it fires and one where it does not; of each record what it is."""
    text = "\n".join(path.read_text() for path in CASES)
    cases = re.findall(r"alertname: (\w+)\n( +exp_alerts:)?", text)
    for name in re.findall(r"- alert: (\w+)", ALERTS):
        assert {bool(fires) for alert, fires in cases if alert == name} == {True, False}, name
    for name in RECORDED:
        assert re.search(rf"expr: .*\b{name}\b.*\n +exp_samples:", text), name


def test_the_configuration(promtool: Promtool) -> None:
    assert "SUCCESS: 2 rule files found" in promtool.run("check", "config", HERE / "scrape.yml")
    assert set(re.findall(r":(\d+)", SCRAPE)) == {str(DEFAULT_PORT)}


def test_the_configuration_with_tls(promtool: Promtool, tmp_path: Path) -> None:
    """What is a comment in the file is as good as the rest, once the files are there."""
    plain, tls = SCRAPE.split("  # - job_name: sdeictl-tls\n")
    text = f"{plain}  - job_name: sdeictl-tls\n{re.sub(r'(?m)^  # ', '  ', tls)}"
    (tmp_path / "prometheus.yml").write_text(text)
    for name in ("alerts.yml", "recording.yml"):
        shutil.copy(HERE / name, tmp_path)
    (tmp_path / "targets").mkdir()
    (tmp_path / "targets" / "sdeictl-hosts.json").write_text(
        next(line for line in SCRAPE.splitlines() if '"rack"' in line).strip(" #")
    )
    (tmp_path / "tls").mkdir()
    make = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=lab")
    files = ("-keyout", "tls/prometheus.key", "-out", "tls/prometheus.pem")
    subprocess.run([*make, *files], cwd=tmp_path, capture_output=True, check=True)
    shutil.copy(tmp_path / "tls/prometheus.pem", tmp_path / "tls/ca.pem")
    output = promtool.run("check", "config", tmp_path / "prometheus.yml")
    assert "SUCCESS" in output
    assert "WARNING" not in output
    # That the block was read at all:
    (tmp_path / "tls/prometheus.key").unlink()
    with pytest.raises(AssertionError, match=r"prometheus\.key"):
        promtool.run("check", "config", tmp_path / "prometheus.yml")


@pytest.mark.parametrize("where", QUERIES)
def test_every_query_can_be_parsed(where: str, promtool: Promtool, tmp_path: Path) -> None:
    assert len(QUERIES[where]) >= 8
    rules = [
        {"record": f"query:number:{number}", "expr": query} for number, query in enumerate(QUERIES[where])
    ]
    path = tmp_path / "rules.yml"
    path.write_text(json.dumps({"groups": [{"name": "queries", "rules": rules}]}))
    assert f"{len(rules)} rules found" in promtool.run("check", "rules", path)


@pytest.mark.parametrize("where", QUERIES)
def test_every_metric_exists(where: str) -> None:
    assert len(EXPORTED) > 30
    for query in QUERIES[where]:
        assert metrics_of(query), query
        assert metrics_of(query) <= EXPORTED | RECORDED | OF_PROMETHEUS, query


def test_named_checks_and_commands_exist() -> None:
    text = ALERTS + README + DASHBOARD.replace(r"\"", '"')
    checks = {check.id for check in CHECKS}
    assert set(re.findall(r'\bcheck="([^"]+)"', text)) <= checks
    assert set(re.findall(r"sdeictl explain ([a-z-]+)", text)) <= checks
    calls = re.findall(r"(?:`|\| )sdeictl ((?:[a-z]+ ?)+)", " ".join(text.split()))
    assert len(calls) > 20
    for call in calls:
        command: click.Command | None = cli
        for word in call.split():
            if isinstance(command, click.Group):
                command = command.get_command(click.Context(command), word)
                assert command, call


def test_dashboard_can_be_kept() -> None:
    document = json.loads(DASHBOARD)
    assert json.dumps(document, indent=2) + "\n" == DASHBOARD
    assert (document["uid"], document["schemaVersion"], document["id"]) == ("sdeictl", 39, None)
    assert [variable["name"] for variable in document["templating"]["list"]] == [
        "datasource", "job", "instance",
    ]  # fmt: skip
    identifiers = [panel["id"] for panel in panels()]
    assert len(set(identifiers)) == len(identifiers)
    for panel in panels():
        if panel["type"] != "row":
            assert panel["description"].endswith("."), panel["title"]
            sources = [panel["datasource"], *(target["datasource"] for target in panel["targets"])]
            assert all(source["uid"] == "${datasource}" for source in sources), panel["title"]
            references = [target["refId"] for target in panel["targets"]]
            assert len(set(references)) == len(references), panel["title"]


def test_no_two_panels_overlap() -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in panels():
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24, panel["title"]
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert taken.setdefault((x, y), panel["title"]) == panel["title"]


@pytest.mark.parametrize("name", HOST_NAMES)
def test_what_is_exported_of_each_host(name: str, promtool: Promtool, tmp_path: Path) -> None:
    """Clean in the text format; promtool lints no OpenMetrics, but the server's parser reads it there."""
    agent = Agent(tmp_path, name)
    agent.add_drills()
    agent.add_bench()
    registry = registry_of(agent.snapshot())
    assert not promtool.run("check", "metrics", data=generate_latest(registry))
    encode, content_type = choose_encoder("application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    lines = encode(registry).decode().splitlines()
    samples = sum(not line.startswith("#") for line in lines)
    stamped = [line if line.startswith("#") else f"{line} {NOW:.0f}" for line in lines]
    (tmp_path / "metrics").write_text("\n".join(stamped) + "\n")
    output = promtool.run(
        "tsdb", "create-blocks-from", "openmetrics", tmp_path / "metrics", tmp_path / "tsdb"
    )
    assert re.search(rf" {samples} +{samples} +{samples} ", output), output
