"""`sdeictl.report/1` and `sdeictl.analysis/1`: the interface other people's scripts read.

The shapes are in schemas/*.json; they change only with a new schema version.
"""

from datetime import UTC, datetime
from typing import Any

from sdeictl import __version__
from sdeictl.episodes import KINDS, Analysis, Backtrace, CpuAnswer, Episode
from sdeictl.facts import HostFacts
from sdeictl.verdict import decide

REPORT_SCHEMA = "sdeictl.report/1"
ANALYSIS_SCHEMA = "sdeictl.analysis/1"

Json = dict[str, Any]


def build_report(facts: HostFacts) -> Json:
    """Judge a host and return its report."""
    verdict, findings = decide(facts)
    return {
        "schema": REPORT_SCHEMA,
        "tool": {"name": "sdeictl", "version": __version__},
        "generated_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "host": host_json(facts),
        "verdict": {
            "nmi_path": verdict.nmi_path,
            "ready": verdict.ready,
            "summary": verdict.summary,
            "missing": list(verdict.missing),
            "hazards": list(verdict.hazards),
            "consumers": {
                "backtrace": {"path": verdict.nmi_path},
                "stop": {"ladder": list(verdict.stop_ladder)},
            },
        },
        "findings": [finding._asdict() | {"sources": list(finding.sources)} for finding in findings],
        "gaps": [gap._asdict() for gap in facts.gaps],
    }


def host_json(facts: HostFacts) -> Json:
    """Return what identifies the host, without its name."""
    cpus, log = facts.cpus, facts.bootlog
    return {
        "architecture": facts.architecture,
        "kernel": facts.release,
        "model": facts.model,
        "tables": facts.tables,
        "cpus_online": cpus.online if cpus else None,
        "midr": f"{cpus.midr:#010x}" if cpus and cpus.midr is not None else None,
        "core": cpus.name if cpus else None,
        "exception_level": log.exception_level if log else None,
        "vhe": log.vhe if log and log.complete else None,
    }


def analysis_json(analysis: Analysis) -> Json:
    """Return an analysis as its JSON document."""
    return {
        "schema": ANALYSIS_SCHEMA,
        "records": analysis.records,
        "records_lost": analysis.records_lost,
        "episodes": [_episode(episode) for episode in analysis.episodes],
    }


def _episode(episode: Episode) -> Json:
    fields: Json = {"kind": KINDS[type(episode)]}
    for name, value in episode._asdict().items():
        fields[name] = list(value) if isinstance(value, tuple) else value
    if isinstance(episode, Backtrace):
        fields["cpus"] = [cpu_json(cpu) for cpu in episode.cpus]
    return fields


def cpu_json(cpu: CpuAnswer) -> Json:
    """Return one CPU's answer as JSON has it."""
    fields = cpu._asdict()
    del fields["frames"]
    return fields
