"""A report as Prometheus metrics, for a textfile collector: names, units and HELP are a contract."""

from collections import Counter
from collections.abc import Iterator
from datetime import datetime

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric, StateSetMetricFamily
from prometheus_client.registry import Collector

from sdeictl.probe.report import Json

NMI_PATHS = ("sdei", "pseudo-nmi", "feat-nmi", "none", "unknown", "not-applicable")
OUTCOMES = {"pass": 1.0, "fail": 0.0, "unknown": -1.0, "not-applicable": -2.0}
GAP_KINDS = ("absent", "denied", "broken")


class ReportCollector(Collector):
    """The families of one report."""

    def __init__(self, report: Json) -> None:
        self._report = report

    def collect(self) -> Iterator[Metric]:
        """Return the families, made anew at every call."""
        report = self._report
        yield _build(report)
        yield from _verdict(report["verdict"])
        yield from _findings(report)
        yield from _host(report["host"])
        yield from _kdump(report["verdict"]["consumers"].get("crash"))
        generated = datetime.fromisoformat(report["generated_at"]).timestamp()
        yield _gauge(
            "report_timestamp_seconds", "When the host was probed, in seconds since 1970.", generated
        )


def exposition(report: Json) -> bytes:
    """Return a report in the text exposition format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(ReportCollector(report))
    return generate_latest(registry)


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"sdeictl_{name}", text, value)


def _build(report: Json) -> Metric:
    version = {"version": report["tool"]["version"]}
    return InfoMetricFamily("sdeictl_build", "The sdeictl that made the report.", version)


def _verdict(verdict: Json) -> Iterator[Metric]:
    yield StateSetMetricFamily(
        "sdeictl_nmi_path",
        "The path by which a CPU with its interrupts masked is reached.",
        {name: name == verdict["nmi_path"] for name in NMI_PATHS},
    )
    if verdict["ready"] is not None:
        text = "Whether a CPU with its interrupts masked can be reached; not there where that is unknown."
        yield _gauge("ready", text, float(verdict["ready"]))
    yield _gauge("missing_links", "Broken links of the chain.", len(verdict["missing"]))
    yield _gauge(
        "hazards", "Hazards that are known of the path, or of one that may be there.", len(verdict["hazards"])
    )


def _findings(report: Json) -> Iterator[Metric]:
    checks = GaugeMetricFamily(
        "sdeictl_check_outcome", "1 pass, 0 fail, -1 unknown, -2 not applicable.", labels=["check"]
    )
    for finding in report["findings"]:
        checks.add_metric([finding["id"]], OUTCOMES[finding["outcome"]])
    yield checks
    gaps = GaugeMetricFamily("sdeictl_gaps", "Sources that could not be read.", labels=["kind"])
    count = Counter(gap["kind"] for gap in report["gaps"])
    for kind in GAP_KINDS:
        gaps.add_metric([kind], count[kind])
    yield gaps


def _host(host: Json) -> Iterator[Metric]:
    labels = {name: host[name] or "" for name in ("kernel", "firmware", "tables", "gic", "midr")}
    labels["product"] = host["model"] or ""
    yield InfoMetricFamily("sdeictl_host", "The host that the report is of, without its name.", labels)
    if host["cpus_online"] is not None:
        yield _gauge("cpus_online", "CPUs that are online.", host["cpus_online"])


def _kdump(crash: Json | None) -> Iterator[Metric]:
    if crash and crash["kdump_loaded"] is not None:
        yield _gauge("kdump_loaded", "Whether a crash kernel is loaded.", float(crash["kdump_loaded"]))
    if crash and crash["reserved_bytes"] is not None:
        yield _gauge(
            "kdump_reserved_bytes", "Memory that is kept for a crash kernel.", crash["reserved_bytes"]
        )
