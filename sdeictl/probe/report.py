"""`sdeictl.report/1`: the interface other people's scripts read.

The shape is in schemas/report-1.json; it changes only with a new schema version.
"""

from datetime import UTC, datetime
from typing import Any

from sdeictl import __version__
from sdeictl.probe.checks.check import number, setting
from sdeictl.probe.checks.crash import LOADED, SIZE
from sdeictl.probe.checks.lockups import hard_lockup_detector
from sdeictl.probe.facts import HostFacts
from sdeictl.probe.settings import POST_NOTIFIERS
from sdeictl.probe.verdict import decide

REPORT_SCHEMA = "sdeictl.report/1"

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
                "crash": crash_json(facts, verdict.nmi_path),
                "lockup": {"detector": hard_lockup_detector(facts), "path": verdict.nmi_path},
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
        "firmware": facts.firmware,
        "soc": facts.soc.machine or facts.soc.id if facts.soc else None,
        "virtual": facts.virtual,
        "gic": facts.interrupts.gic if facts.interrupts else None,
        "cores": [{"core": core, "cpus": count} for core, count in cpus.kinds] if cpus else [],
        "midr": f"{cpus.midr:#010x}" if cpus and cpus.midr is not None else None,
        "core": cpus.name if cpus else None,
        "exception_level": log.exception_level if log else None,
        "vhe": log.vhe if log and log.complete else None,
    }


def crash_json(facts: HostFacts, path: str) -> Json:
    """Return whether a crash leaves a dump, and by what a stuck CPU's registers get into it."""
    loaded, notifiers = number(facts, LOADED), setting(facts, POST_NOTIFIERS)
    return {
        "kdump_loaded": None if loaded is None else bool(loaded),
        "reserved_bytes": number(facts, SIZE),
        "post_notifiers": None if notifiers is None else notifiers.startswith(("Y", "1")),
        "path": path,
    }
