"""A snapshot as metric families. Pure; names, units and HELP are a contract (docs/metrics.md)."""

from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from sdeictl import __version__
from sdeictl.probe.metrics import ReportCollector
from sdeictl_agent.sources import BENCH, DRILLS, REPORT, SOURCES, WATCH, Snapshot

Json = dict[str, Any]
OUTCOMES = {"pass": 1.0, "fail": 0.0, "unknown": -1.0, "lost": -2.0}
COUNTERS = {
    "hard_lockups": "Hard lockups that the kernel reported since the boot.",
    "secondary_hard_lockups": "Those of CPUs that only waited for the answer of another one.",
    "soft_lockups": "Soft lockups that the kernel reported since the boot.",
    "rcu_stalls": "RCU stalls that the kernel reported since the boot.",
    "hung_tasks": "Hung tasks that the kernel reported since the boot.",
    "backtrace_requests": "Requests for backtraces of CPUs since the boot.",
    "backtrace_answers": "CPUs that answered such a request.",
    "backtrace_timeouts": "CPUs that did not answer one, or too late.",
    "stop_rungs": "Rungs of stop ladders that the kernel climbed since the boot.",
    "records_lost": "Records of the kernel log that were overwritten before they were read.",
}
_STATES = {"answered": ("self", "idle", "backtrace"), "silent": ("late", "silent")}


class SnapshotCollector(Collector):
    """The families of one snapshot."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        """Return the families, made anew; a source that turns out to be damaged is down."""
        families, problems = families_of(self._snapshot)
        yield InfoMetricFamily(
            "sdeictl_agent_build", "The agent that exports this.", {"version": __version__}
        )
        text = "When this was exported, in seconds since 1970; in a textfile it may be long ago."
        yield GaugeMetricFamily("sdeictl_agent_timestamp_seconds", text, self._snapshot.taken_at)
        up = GaugeMetricFamily(
            "sdeictl_source_up", "Whether what is exported of a source is of any use.", labels=["source"]
        )
        for source in SOURCES:
            up.add_metric([source], float(source not in problems))
        yield up
        yield from families


def families_of(snapshot: Snapshot) -> tuple[list[Metric], dict[str, str]]:
    """Return what the sources give, and of those that are down why."""
    problems = {source: problem for source, problem in snapshot.problems if problem}
    families: list[Metric] = []
    for source, build in ((REPORT, _report), (WATCH, _watch), (DRILLS, _drills), (BENCH, _bench)):
        try:
            families += [checked(family) for family in build(snapshot)]
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
            problems[source] = "It is damaged."
    return families, problems


def checked(family: Metric) -> Metric:
    """Return a family whose samples can be printed; raise TypeError, ValueError or OverflowError."""
    for sample in family.samples:
        float(sample.value)
        if not all(isinstance(value, str) for value in sample.labels.values()):
            raise TypeError(f"{family.name} has a label that is no text")
    return family


def registry_of(snapshot: Snapshot) -> CollectorRegistry:
    """Return a registry with one snapshot's families."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(SnapshotCollector(snapshot))
    return registry


def _report(snapshot: Snapshot) -> Iterator[Metric]:
    if snapshot.report.content is not None:
        yield from ReportCollector(snapshot.report.content).collect()


def _watch(snapshot: Snapshot) -> Iterator[Metric]:
    content = snapshot.watch.content
    if content is None:
        return
    for name, text in COUNTERS.items():
        yield CounterMetricFamily(f"sdeictl_{name}", text, content["counters"][name])
    changes = CounterMetricFamily("sdeictl_cpu_hotplug", "CPUs that came or went.", labels=["action"])
    for action in ("online", "offline"):
        changes.add_metric([action], content["events"][f"cpu_{action}"])
    yield changes
    text = "How often a new probe was asked for because a CPU or a device came or went."
    yield CounterMetricFamily("sdeictl_probe_requests", text, content["events"]["requests"])
    text = "When the watcher last wrote down what it saw, in seconds since 1970."
    yield GaugeMetricFamily("sdeictl_watch_timestamp_seconds", text, float(content["updated_at"]))


def _drills(snapshot: Snapshot) -> Iterator[Metric]:
    def family(name: str, text: str, *labels: str) -> GaugeMetricFamily:
        return GaugeMetricFamily(f"sdeictl_drill_{name}", text, labels=["drill", *labels])

    when = family("timestamp_seconds", "When a kind of drill last began, in seconds since 1970.")
    outcome = family("outcome", "1 pass, 0 fail, -1 unknown, -2 a CPU was lost.")
    stale = family("stale", "Whether the kernel or the firmware is another since.")
    cpus = family("cpus", "CPUs that were asked for a backtrace, by what they did.", "state")
    masked = family("masked_delivery", "Whether the masked CPU answered from inside its masked time.")
    latency = family("delivery_latency_seconds", "From the request to the masked CPU's answer.")
    for drill in snapshot.drills:
        name = [f"{drill['drill']}-{drill['variant']}" if drill["variant"] else drill["drill"]]
        when.add_metric(name, drill["at"])
        outcome.add_metric(name, OUTCOMES[drill["outcome"]])
        if snapshot.report.content is not None:
            stale.add_metric(name, float(_is_stale(drill["host"], snapshot.report.content["host"])))
        if drill["cpus"]:
            states = [cpu["state"] for cpu in drill["cpus"]]
            cpus.add_metric([*name, "expected"], len(states))
            for state, words in _STATES.items():
                cpus.add_metric([*name, state], sum(word in words for word in states))
        target = drill["target"]
        if target:
            masked.add_metric(name, float(bool(target["in_window"])))
            if target["latency_seconds"] is not None:
                latency.add_metric(name, target["latency_seconds"])
    yield from (when, outcome, stale, cpus, masked, latency)
    text = "Whether a drill has begun and not ended: it runs, was killed, or is still to be judged."
    yield GaugeMetricFamily("sdeictl_drill_pending", text, float(snapshot.pending))


def _is_stale(then: Json | None, now: Json) -> bool:
    return any((then or {}).get(name) != now[name] for name in ("kernel", "firmware"))


def _bench(snapshot: Snapshot) -> Iterator[Metric]:
    run = snapshot.bench
    if run is None:
        return
    seconds = GaugeMetricFamily(
        "sdeictl_bench_call_seconds", "What an undisturbed call took in the last run.", labels=["call"]
    )
    for result in run["results"]:
        seconds.add_metric([result["call"]], result["undisturbed"])
    yield seconds
    conditions = {name: str(value or "") for name, value in run["conditions"].items()}
    yield InfoMetricFamily("sdeictl_bench_conditions", "Under what conditions the last run was.", conditions)
    text = "How many conditions of the last run were bad."
    yield GaugeMetricFamily("sdeictl_bench_notes", text, run["labels"])
    text = "When the last run was, in seconds since 1970."
    yield GaugeMetricFamily("sdeictl_bench_timestamp_seconds", text, run["at"])
