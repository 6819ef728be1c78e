"""Turns a snapshot into metric families. Pure. Names, labels and units are a contract (docs/metrics.md)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from sdeictl import __version__
from sdeictl.probe.drills import DRILL_OUTCOMES
from sdeictl.probe.metrics import ReportCollector
from sdeictl_agent.documents import Bench, Drill, Postmortem, Watch
from sdeictl_agent.sources import Snapshot, Source
from sdeictl_agent.watch_file import Counters, Events

COUNTER_TEXTS = {
    "hard_lockups": "Hard lockups that the kernel reported since boot.",
    "secondary_hard_lockups": "Hard lockups of CPUs that were only waiting for the answer of another CPU.",
    "soft_lockups": "Soft lockups that the kernel reported since boot.",
    "rcu_stalls": "RCU stalls that the kernel reported since boot.",
    "hung_tasks": "Hung tasks that the kernel reported since boot.",
    "backtrace_requests": "Backtrace requests that the kernel sent to CPUs since boot.",
    "backtrace_answers": "CPUs that answered a backtrace request in time.",
    "backtrace_timeouts": "CPUs that answered a backtrace request too late or not at all.",
    "stop_rungs": "Rungs of stop ladders that the kernel climbed since boot.",
    "records_lost": "Records of the kernel log that were overwritten before the watcher read them.",
}
"""The HELP text of each field of Counters."""


class SnapshotCollector(Collector):
    """The families of one snapshot."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        """Yield the families, made anew at every call."""
        snapshot = self._snapshot
        yield from _agent(snapshot)
        if snapshot.report:
            yield from ReportCollector(snapshot.report.document).collect()
        if snapshot.watch:
            yield from _watch(snapshot.watch)
        yield from _drills(snapshot)
        if snapshot.bench:
            yield from _bench(snapshot.bench)
        if snapshot.postmortem:
            yield from _postmortem(snapshot.postmortem)


def registry_of(snapshot: Snapshot) -> CollectorRegistry:
    """Return a registry with the families of one snapshot."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(SnapshotCollector(snapshot))
    return registry


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"sdeictl_{name}", text, value)


def _agent(snapshot: Snapshot) -> Iterator[Metric]:
    text = "Version of the agent that exported these metrics."
    yield InfoMetricFamily("sdeictl_agent_build", text, {"version": __version__})
    text = "When these metrics were exported, in seconds since 1970; in a textfile this may be long ago."
    yield _gauge("agent_timestamp_seconds", text, snapshot.taken_at)
    text = "Whether the agent could read a source and use its content."
    up = GaugeMetricFamily("sdeictl_source_up", text, labels=["source"])
    for source in Source:
        up.add_metric([source.value], float(source not in snapshot.problems))
    yield up


def _watch(watch: Watch) -> Iterator[Metric]:
    for name, count in zip(Counters._fields, watch.counters):
        yield CounterMetricFamily(f"sdeictl_{name}", COUNTER_TEXTS[name], count)
    yield from _events(watch.events)
    text = "When the watcher last wrote its counts, in seconds since 1970."
    yield _gauge("watch_timestamp_seconds", text, watch.at)


def _events(events: Events) -> Iterator[Metric]:
    changes = CounterMetricFamily(
        "sdeictl_cpu_hotplug", "How often a CPU went online or offline.", labels=["action"]
    )
    changes.add_metric(["online"], events.cpu_online)
    changes.add_metric(["offline"], events.cpu_offline)
    yield changes
    text = "How often the watcher requested a new probe because a CPU or a device came or went."
    yield CounterMetricFamily("sdeictl_probe_requests", text, events.requests)


def _drills(snapshot: Snapshot) -> Iterator[Metric]:
    drills, report = snapshot.drills, snapshot.report
    text = "When the last drill of this name began, in seconds since 1970."
    yield _per_drill("timestamp_seconds", text, ((drill, drill.at) for drill in drills))
    text = "1 pass, 0 fail, -1 unknown, -2 a CPU was lost."
    yield _per_drill("outcome", text, ((drill, DRILL_OUTCOMES[drill.outcome].metric) for drill in drills))
    text = "Whether the kernel or the firmware has changed since the drill."
    stale = ((drill, float(drill.build.is_stale(report.build)) if report else None) for drill in drills)
    yield _per_drill("stale", text, stale)
    yield _drill_cpus(drills)
    yield from _masked_cpus(drills)
    text = "Whether a drill has begun and not ended: it runs, was killed, or waits to be judged."
    if snapshot.drill_pending is not None:
        yield _gauge("drill_pending", text, float(snapshot.drill_pending))


def _per_drill(name: str, text: str, values: Iterable[tuple[Drill, float | None]]) -> Metric:
    """Return a family with one series for each drill that has a value."""
    family = GaugeMetricFamily(f"sdeictl_drill_{name}", text, labels=["drill"])
    for drill, value in values:
        if value is not None:
            family.add_metric([drill.name], value)
    return family


def _drill_cpus(drills: Iterable[Drill]) -> Metric:
    text = "CPUs that the drill expected to answer, that answered in time, and that stayed silent."
    cpus = GaugeMetricFamily("sdeictl_drill_cpus", text, labels=["drill", "state"])
    for drill in drills:
        if drill.in_time:
            cpus.add_metric([drill.name, "expected"], len(drill.in_time))
            cpus.add_metric([drill.name, "answered"], drill.in_time.count(True))
            cpus.add_metric([drill.name, "silent"], drill.in_time.count(False))
    return cpus


def _masked_cpus(drills: Iterable[Drill]) -> Iterator[Metric]:
    masked = [(drill, drill.masked) for drill in drills if drill.masked]
    text = "Whether the masked CPU answered from inside its masked window."
    yield _per_drill("masked_delivery", text, ((drill, float(cpu.in_window)) for drill, cpu in masked))
    text = "Seconds from the request to the answer of the masked CPU."
    yield _per_drill(
        "delivery_latency_seconds", text, ((drill, cpu.latency_seconds) for drill, cpu in masked)
    )


def _bench(run: Bench) -> Iterator[Metric]:
    text = "Seconds that an undisturbed call took in the last benchmark run."
    seconds = GaugeMetricFamily("sdeictl_bench_call_seconds", text, labels=["call"])
    for call, undisturbed in run.calls:
        seconds.add_metric([call], undisturbed)
    yield seconds
    text = "Conditions of the last benchmark run."
    yield InfoMetricFamily("sdeictl_bench_conditions", text, run.conditions._asdict())
    text = "How many conditions of the last benchmark run were bad for its results."
    yield _gauge("bench_notes", text, run.notes)
    text = "When the last benchmark run ended, in seconds since 1970."
    yield _gauge("bench_timestamp_seconds", text, run.at)


def _postmortem(found: Postmortem) -> Iterator[Metric]:
    text = "How many of the earlier boots that were examined ended in each way."
    ends = GaugeMetricFamily("sdeictl_earlier_boots", text, labels=["end"])
    for end, count in found.ends.items():
        ends.add_metric([end], count)
    yield ends
    if found.crashed_at is not None:
        text = (
            "The time of the last panic, or of the last boot whose log simply stops, in seconds since 1970."
        )
        yield _gauge("last_crash_timestamp_seconds", text, found.crashed_at)
    text = "Whether the kernel reached the CPU that was stuck in the last crash."
    yield from _known("last_crash_culprit_reached", text, found.reached)
    text = "Whether the dump of the last crash has the registers of the CPU that was stuck."
    yield from _known("last_crash_culprit_in_dump", text, found.in_dump)
    text = "How many crash dumps of the earlier boots were not written to their end."
    yield _gauge("incomplete_dumps", text, found.incomplete_dumps)
    text = "When earlier boots were last examined, in seconds since 1970."
    yield _gauge("postmortem_timestamp_seconds", text, found.at)


def _known(name: str, text: str, value: bool | None) -> Iterator[Metric]:
    if value is not None:
        yield _gauge(name, text, float(value))
