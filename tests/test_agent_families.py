"""The exported metrics: a source that is missing, damaged, old or huge is down, and no other source is."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from sdeictl_agent.families import registry_of
from sdeictl_agent.sources import MAX_BYTES, Places, Snapshot, Source, Sources
from sdeictl_agent.watch_file import Counters, Events, Progress, State, encode_state

from sdeictl.host.open import open_root
from sdeictl.probe.collect import collect
from sdeictl.probe.document import ReportDocument
from sdeictl.probe.report import build_report
from tests.conftest import HOST_NAMES, PROJECT, TESTS, Golden, load_host, validate

NOW = 1_795_630_000.0
UPTIME = 3600.0
MAX_SERIES = 150


def down(snapshot: Snapshot) -> dict[str, str]:
    return {source.value: problem for source, problem in snapshot.problems.items()}


class Agent:
    """The files of one host, and the metrics exported from them."""

    def __init__(self, directory: Path, name: str = "dt-sdei") -> None:
        self.run, self.state, self.watch = directory / "run", directory / "state", directory / "watch"
        self.run.mkdir()
        self.watch.mkdir()
        (self.state / "drills").mkdir(parents=True)
        (self.state / "bench").mkdir()
        self.host = load_host(name)
        self.report: ReportDocument = build_report(collect(open_root(str(self.host.root))))
        self.report["generated_at"] = "2026-11-25T18:00:00+00:00"
        self.write_report(self.report)
        watched = State("boot", Progress(counters=Counters(3, 1, backtrace_timeouts=2)), Events(1, 1, 2))
        (self.watch / "watch.json").write_bytes(encode_state(watched, NOW - 10))
        self.write_postmortem()
        self.places = Places(str(self.run), str(self.state), str(self.watch))
        self.sources = Sources(self.places, lambda: NOW, lambda: UPTIME)

    def write_report(self, report: Mapping[str, object]) -> None:
        (self.run / "report.json").write_text(json.dumps(report))

    def write_postmortem(self, **last: object) -> None:
        """Write the accounts of two boots; `last` has values of the later one."""
        stuck = {
            "cpu": 1, "since": 26.3, "waits_for": None, "masked": True, "path": "sdei", "answered": True,
            "stack": True, "registers_in_dump": True,
        }  # fmt: skip
        boot = {
            "boot_id": "0" * 32, "kernel": "7.3.4", "began_at": "2026-11-24T18:00:00+00:00",
            "ended_at": "2026-11-25T17:00:00+00:00", "end": "hard-lockup", "drill": None,
            "panic": "Hard LOCKUP",
            "stuck": [stuck], "stop": None, "dump": {"path": "/var/crash/x", "state": "complete"},
            "evidence": [], "missing": [], "summary": "x",
        }  # fmt: skip
        document = {
            "schema": "sdeictl.postmortem/1", "generated_at": "2026-11-25T18:00:00+00:00",
            "boots": [boot | {"end": "clean", "stuck": []}, boot | last], "gaps": [], "advice": [],
            "verdict": {"evidence_lost": False, "summary": "x"},
        }  # fmt: skip
        validate("postmortem-1", document)
        (self.run / "postmortem.json").write_text(json.dumps(document))

    def add_drills(self, directory: Path | None = None) -> None:
        for path in (directory or TESTS / "hosts" / self.host.name / "drills").glob("*.json"):
            result = json.loads(path.read_text())
            shutil.copy(path, self.state / "drills" / f"{result['id']}.json")

    def add_bench(self) -> None:
        name = "20261125T175900.000000Z-bench"
        document = {
            "id": name,
            "results": [
                {"call": "getppid", "unit": "seconds", "undisturbed": 1.5e-7, "samples": [1.5e-7] * 40},
                {"call": "futex", "unit": "seconds", "undisturbed": None, "samples": [1e-6]},
            ],
            "conditions": {"pseudo_nmi": "off", "pmr_sync": None, "kernel": "7.3.4", "loop": "c"},
            "labels": ["noisy"],
        }
        (self.state / "bench" / f"{name}.json").write_text(json.dumps(document))

    def snapshot(self) -> Snapshot:
        return self.sources.read()

    def text(self) -> str:
        return generate_latest(registry_of(self.snapshot())).decode()

    def samples(self) -> dict[str, float]:
        return {
            sample.name + "".join(f",{value}" for _, value in sorted(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(self.text())
            for sample in family.samples
        }


@pytest.fixture
def agent(tmp_path: Path) -> Agent:
    return Agent(tmp_path)


@pytest.mark.parametrize("name", HOST_NAMES)
def test_each_host_is_exported(name: str, tmp_path: Path, golden: Golden) -> None:
    agent = Agent(tmp_path, name)
    agent.add_drills()
    agent.add_bench()
    samples = agent.samples()
    assert [samples[f"sdeictl_source_up,{source}"] for source in tuple(Source)] == [1] * 5
    assert samples[f"sdeictl_nmi_path,{agent.report['verdict']['nmi_path']}"] == 1
    assert samples["sdeictl_hard_lockups_total"] == 3
    assert samples["sdeictl_secondary_hard_lockups_total"] == 1
    assert samples["sdeictl_bench_call_seconds,getppid"] == pytest.approx(1.5e-7)
    assert len(samples) <= MAX_SERIES
    golden.check(f"{name}.metrics.prom", agent.text())


def test_all_drills_stay_below_limit(agent: Agent) -> None:
    agent.add_drills()
    agent.add_bench()
    (path,) = [path for path in (agent.state / "drills").glob("*.json") if b"masked" in path.read_bytes()][:1]
    result = json.loads(path.read_text())
    kinds = [("lockup", None), ("lockup", "permanent"), ("stop", None)]
    kinds += [("crash", variant) for variant in ("wedged", "all-masked", "hardlockup-panic")]
    for number, (drill, variant) in enumerate(kinds):
        name = f"20261125T1800{number:02}.000000Z-{drill}"
        kind = result | {"drill": drill, "variant": variant, "id": name}
        (agent.state / "drills" / f"{kind['id']}.json").write_text(json.dumps(kind))
    assert len(agent.samples()) <= MAX_SERIES


def test_masked_drill_is_exported(agent: Agent) -> None:
    agent.add_drills()
    samples = agent.samples()
    name = "backtrace-masked"
    assert samples[f"sdeictl_drill_outcome,{name}"] == 1
    assert samples[f"sdeictl_drill_masked_delivery,{name}"] == 1
    assert 0 < samples[f"sdeictl_drill_delivery_latency_seconds,{name}"] < 60
    assert samples[f"sdeictl_drill_stale,{name}"] == 0
    for state, count in (("expected", 4), ("answered", 4), ("silent", 0)):
        assert samples[f"sdeictl_drill_cpus,{name},{state}"] == count
    agent.write_report({**agent.report, "host": {**agent.report["host"], "kernel": "7.3.5"}})
    assert agent.samples()[f"sdeictl_drill_stale,{name}"] == 1


def test_unknown_cpu_state_is_not_counted(agent: Agent) -> None:
    result = json.loads((TESTS / "hosts/dt-sdei/drills/plain.json").read_text())
    result["cpus"][0]["state"] = "a word of a newer sdeictl"
    (agent.state / "drills" / f"{result['id']}.json").write_text(json.dumps(result))
    samples = agent.samples()
    for state, count in (("expected", 4), ("answered", 3), ("silent", 0)):
        assert samples[f"sdeictl_drill_cpus,backtrace,{state}"] == count


def test_empty_host_is_served(tmp_path: Path) -> None:
    places = Places(*(str(tmp_path / name) for name in Places._fields))
    sources = Sources(places, lambda: NOW, lambda: UPTIME)
    assert down(sources.read()) == {
        "report": "No such file or directory.", "watch": "No such file or directory.",
        "postmortem": "No such file or directory.",
    }  # fmt: skip
    assert b'sdeictl_source_up{source="report"} 0.0' in generate_latest(registry_of(sources.read()))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "It is damaged."),
        (b'{"schema": "sdeictl.report/1", "gener', "It is damaged."),
        (b"[]", "It is damaged."),
        (b"[" * 100_000, "It is damaged."),
        (b"null", "It is damaged."),
        (b'{"schema": "sdeictl.report/2"}', "It is damaged."),
        (b" " * (MAX_BYTES + 1), f"It has {MAX_BYTES + 1} bytes."),
    ],
)  # fmt: skip
def test_only_damaged_report_is_down(content: bytes, problem: str, agent: Agent) -> None:
    (agent.run / "report.json").write_bytes(content)
    assert down(agent.snapshot()) == {"report": problem}
    samples = agent.samples()
    assert samples["sdeictl_source_up,report"] == 0
    assert samples["sdeictl_hard_lockups_total"] == 3


@pytest.mark.parametrize(
    ("at", "problem"),
    [
        ("2026-11-25T19:00:00+00:00", "It is from the future."),
        ("2026-11-24T18:00:00+00:00", "It is of another boot."),
    ],
)
def test_report_of_another_time_is_down(at: str, problem: str, agent: Agent) -> None:
    agent.write_report({**agent.report, "generated_at": at})
    assert down(agent.snapshot()) == {"report": problem}


@pytest.mark.parametrize("value", [None, "soon", "5", float("nan"), float("inf"), 10**400, {}])
def test_watcher_without_time_is_down(value: object, agent: Agent) -> None:
    content = json.loads((agent.watch / "watch.json").read_text())
    (agent.watch / "watch.json").write_text(json.dumps(content | {"updated_at": value}))
    assert down(agent.snapshot()) == {"watch": "It is damaged."}
    assert "sdeictl_hard_lockups_total" not in agent.samples()


@pytest.mark.parametrize(
    ("source", "damage"),
    [
        ("report", {"host": {"kernel": 7}}),
        ("report", {"host": {"cpus_online": "many"}}),
        ("report", {"findings": 5}),
        ("report", {"verdict": {"nmi_path": "bogus"}}),
        ("watch", {"counters": {"hard_lockups": True}}),
        ("watch", {"counters": {"hard_lockups": 10**400}}),
        ("report", {"host": {"kernel": "\ud800"}}),
        ("drills", {"drill": 5}),
        ("drills", {"drill": "\ud800"}),
        ("drills", {"variant": "\ud800"}),
        ("drills", {"id": "yesterday-backtrace"}),
        ("drills", {"outcome": "splendid"}),
        ("drills", {"target": {"latency_seconds": "x"}}),
        ("bench", {"results": [{"call": 7, "undisturbed": 1.0}]}),
        ("bench", {"results": [{"call": "\ud800", "undisturbed": 1.0}]}),
        ("bench", {"conditions": {"kernel": "\ud800"}}),
        ("bench", {"id": "20261399T000000.000000Z-bench"}),
    ],
)
def test_wrong_value_takes_source_down(source: str, damage: Mapping[str, object], agent: Agent) -> None:
    agent.add_drills()
    agent.add_bench()
    paths = {
        "report": agent.run / "report.json", "watch": agent.watch / "watch.json",
        "drills": max((agent.state / "drills").iterdir()), "bench": max((agent.state / "bench").iterdir()),
    }  # fmt: skip
    content = json.loads(paths[source].read_text())
    for name, value in damage.items():
        whole = isinstance(value, dict) and isinstance(content[name], dict)
        content[name] = content[name] | value if whole else value
    paths[source].write_text(json.dumps(content))
    samples = agent.samples()
    assert {name: samples[f"sdeictl_source_up,{name}"] for name in paths} == {
        name: float(name != source) for name in paths
    }
    assert set(down(agent.snapshot())) == {source}


def test_clock_step_is_survived(tmp_path: Path) -> None:
    agent = Agent(tmp_path)
    now = [NOW + 7200]
    agent.sources = Sources(agent.places, lambda: now[0], lambda: UPTIME)
    assert "report" in down(agent.snapshot())
    now[0] = NOW
    assert down(agent.snapshot()) == {}


def test_unopened_file_is_read_later(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_descriptor(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as patch:
        patch.setattr("builtins.open", no_descriptor)
        assert down(agent.snapshot()) == dict.fromkeys(
            ("report", "watch", "postmortem"), "Too many open files."
        )
    assert down(agent.snapshot()) == {}


def test_pending_drill_is_exported(agent: Agent) -> None:
    assert agent.samples()["sdeictl_drill_pending"] == 0
    (agent.state / "drills" / "journal.json").write_text("{}")
    (agent.state / "drills" / "journal.json").chmod(0o600)
    assert agent.samples()["sdeictl_drill_pending"] == 1


def test_removed_result_is_not_exported(agent: Agent) -> None:
    agent.add_drills()
    assert any("drill_outcome" in name for name in agent.samples())
    for path in (agent.state / "drills").iterdir():
        path.unlink()
    assert not any("drill_outcome" in name for name in agent.samples())


def test_incomplete_report_is_down(agent: Agent) -> None:
    agent.write_report({name: value for name, value in agent.report.items() if name != "verdict"})
    samples = agent.samples()
    assert (samples["sdeictl_source_up,report"], samples["sdeictl_source_up,watch"]) == (0, 1)


def test_only_changed_file_is_read_again(agent: Agent) -> None:
    before = agent.snapshot().report
    assert agent.snapshot().report is before
    agent.write_report({**agent.report, "generated_at": "2026-11-25T18:01:00+00:00"})
    os.utime(agent.run / "report.json", (NOW, NOW + 1))
    assert agent.snapshot().report is not before


@pytest.mark.parametrize("content", ["{", "null", '{"drill": "stop"}'])
def test_damaged_drill_is_named(content: str, agent: Agent) -> None:
    agent.add_drills()
    (agent.state / "drills" / "20270101T000000.000000Z-stop.json").write_text(content)
    assert down(agent.snapshot()) == {"drills": "20270101T000000.000000Z-stop.json cannot be read."}
    samples = agent.samples()
    assert samples["sdeictl_source_up,drills"] == 0
    assert samples["sdeictl_drill_outcome,backtrace-masked"] == 1


PAGE = """\
# The metrics

The tests write this page from the metrics that `sdeictl-agent` exports on a host with results of all kinds.
No metric has a label for the host, which Prometheus adds, or for free text. Times are in seconds since 1970.
A metric is absent when its value is unknown. `sdeictl probe --format prometheus` prints the metrics of the
report.

| metric | type | labels | meaning |
| --- | --- | --- | --- |
"""


def test_metrics_page_is_current(agent: Agent, golden: Golden) -> None:
    agent.add_drills()
    agent.add_bench()
    page = PAGE
    for family in registry_of(agent.snapshot()).collect():
        assert family.documentation.endswith("."), family.name
        names = sorted({sample.name for sample in family.samples})
        labels = sorted({label for sample in family.samples for label in sample.labels})
        shown = ", ".join(f"`{name}`" for name in names)
        page += f"| {shown} | {family.type} | {', '.join(labels)} | {family.documentation} |\n"
    golden.check(str(PROJECT / "docs/metrics.md"), page)


@pytest.mark.parametrize(
    ("end", "stack", "in_dump", "reached"),
    [
        ("hard-lockup", True, True, 1), ("panic", False, False, 0), ("panic", None, None, 1),
        ("hard-lockup", True, False, 1),
    ],
)  # fmt: skip
def test_last_crash(agent: Agent, end: str, stack: bool | None, in_dump: bool | None, reached: int) -> None:
    stuck = {
        "cpu": 1, "since": None, "waits_for": None, "masked": None, "path": "sdei", "answered": True,
        "stack": stack, "registers_in_dump": in_dump,
    }  # fmt: skip
    waiting = stuck | {"cpu": 0, "waits_for": 1, "stack": False, "registers_in_dump": False}
    agent.write_postmortem(end=end, stuck=[stuck, waiting], dump={"path": "x", "state": "incomplete"})
    samples = agent.samples()
    assert samples["sdeictl_last_crash_culprit_reached"] == reached
    assert samples.get("sdeictl_last_crash_culprit_in_dump") == (None if in_dump is None else int(in_dump))
    assert (samples[f"sdeictl_earlier_boots,{end}"], samples["sdeictl_earlier_boots,clean"]) == (1, 1)
    assert samples["sdeictl_incomplete_dumps"] == 1
    assert samples["sdeictl_last_crash_timestamp_seconds"] == pytest.approx(NOW, abs=86400)


def test_host_without_a_crash(agent: Agent) -> None:
    agent.write_postmortem(end="running", ended_at=None, stuck=[])
    samples = agent.samples()
    assert not [name for name in samples if "last_crash" in name]
    assert samples["sdeictl_earlier_boots,clean"] == 1
