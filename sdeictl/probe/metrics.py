"""A report as Prometheus metrics. Their names, labels and units are a contract."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric, StateSetMetricFamily
from prometheus_client.registry import Collector

from sdeictl.host.gap import GapKind
from sdeictl.klog.words import NmiPath
from sdeictl.probe.checks.idle import IDLE_CHECK
from sdeictl.probe.document import CrashDocument, HostDocument, ReportDocument, VerdictDocument
from sdeictl.probe.words import OUTCOMES, Outcome


class ReportCollector(Collector):
    """The metric families of one report."""

    def __init__(self, report: ReportDocument) -> None:
        self._report = report

    def collect(self) -> Iterator[Metric]:
        """Yield the families; every call makes new ones."""
        report = self._report
        yield _build(report)
        yield from _verdict(report["verdict"])
        yield from _findings(report)
        yield from _host(report["host"])
        yield from _kdump(report["verdict"]["consumers"]["crash"])
        generated = datetime.fromisoformat(report["generated_at"]).timestamp()
        yield _gauge(
            "report_timestamp_seconds", "When the host was probed, in seconds since 1970.", generated
        )


def exposition(report: ReportDocument) -> bytes:
    """Return a report in the text exposition format of Prometheus, for a textfile collector."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(ReportCollector(report))
    return generate_latest(registry)


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"sdeictl_{name}", text, value)


def _build(report: ReportDocument) -> Metric:
    version = {"version": report["tool"]["version"]}
    return InfoMetricFamily("sdeictl_build", "Version of the sdeictl that made the report.", version)


def _verdict(verdict: VerdictDocument) -> Iterator[Metric]:
    yield StateSetMetricFamily(
        "sdeictl_nmi_path",
        "The path by which this host reaches a CPU with its interrupts masked.",
        {path.value: path == verdict["nmi_path"] for path in NmiPath},
    )
    if verdict["ready"] is not None:
        text = "Whether this host can reach a CPU with its interrupts masked; absent if unknown."
        yield _gauge("ready", text, float(verdict["ready"]))
    yield _gauge("missing_links", "Links of the chain that are broken.", len(verdict["missing"]))
    yield _gauge(
        "hazards", "Known hazards of the path that this host uses or may use.", len(verdict["hazards"])
    )


def _findings(report: ReportDocument) -> Iterator[Metric]:
    checks = GaugeMetricFamily(
        "sdeictl_check_outcome",
        "Outcome of each check: 1 pass, 0 fail, -1 unknown, -2 not applicable.",
        labels=["check"],
    )
    for finding in report["findings"]:
        checks.add_metric([finding["id"]], OUTCOMES[Outcome(finding["outcome"])].metric)
    yield checks
    yield from _idle(report)
    gaps = GaugeMetricFamily("sdeictl_gaps", "Sources that could not be read.", labels=["kind"])
    count = Counter(gap["kind"] for gap in report["gaps"])
    for kind in GapKind:
        gaps.add_metric([kind.value], count[kind])
    yield gaps


def _idle(report: ReportDocument) -> Iterator[Metric]:
    values = {Outcome.PASS: 0.0, Outcome.FAIL: 1.0}
    for finding in report["findings"]:
        value = values.get(Outcome(finding["outcome"]))
        if finding["id"] == IDLE_CHECK and value is not None:
            text = "Whether an idle state that CPUs use masks SDEI; absent if unknown or without SDEI."
            yield _gauge("deep_idle_masks_sdei", text, value)


def _host(host: HostDocument) -> Iterator[Metric]:
    labels = {
        "kernel": host["kernel"] or "",
        "firmware": host["firmware"] or "",
        "tables": host["tables"] or "",
        "gic": host["gic"] or "",
        "midr": host["midr"] or "",
        "product": host["model"] or "",
    }
    yield InfoMetricFamily("sdeictl_host", "Properties of the host, without its name.", labels)
    if host["cpus_online"] is not None:
        yield _gauge("cpus_online", "Number of CPUs that are online.", host["cpus_online"])


def _kdump(crash: CrashDocument) -> Iterator[Metric]:
    if crash["kdump_loaded"] is not None:
        yield _gauge("kdump_loaded", "Whether a crash kernel is loaded.", float(crash["kdump_loaded"]))
    if crash["reserved_bytes"] is not None:
        yield _gauge(
            "kdump_reserved_bytes", "Memory that is reserved for a crash kernel.", crash["reserved_bytes"]
        )
