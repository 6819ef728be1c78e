"""`sdeictl.report/1`: the typed document that every output of `probe` is made from, and that scripts read.

schemas/report-1.json has its shape. It changes only by additions, or with a new schema version.
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING

from sdeictl import __version__
from sdeictl.host.gap import Gap
from sdeictl.host.paths import KEXEC_CRASH_LOADED, KEXEC_CRASH_SIZE, POST_NOTIFIERS
from sdeictl.klog.words import NmiPath
from sdeictl.probe.checks.check import Finding
from sdeictl.probe.checks.lockups import hard_lockup_detector
from sdeictl.probe.facts import HostFacts
from sdeictl.probe.settings import number, setting
from sdeictl.probe.verdict import Verdict, crash_path, decide

if TYPE_CHECKING:
    from sdeictl.probe.document import (
        CrashDocument,
        FindingDocument,
        GapDocument,
        HostDocument,
        ReportDocument,
        VerdictDocument,
    )

REPORT_SCHEMA = "sdeictl.report/1"


def build_report(facts: HostFacts) -> ReportDocument:
    """Judge a host and return its report."""
    verdict, findings = decide(facts)
    return {
        "schema": REPORT_SCHEMA,
        "tool": {"name": "sdeictl", "version": __version__},
        "generated_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "host": describe_host(facts),
        "verdict": _verdict(facts, verdict),
        "findings": [_finding(finding) for finding in findings],
        "gaps": [_gap(gap) for gap in facts.gaps],
    }


def _verdict(facts: HostFacts, verdict: Verdict) -> VerdictDocument:
    return {
        "nmi_path": verdict.nmi_path,
        "ready": verdict.ready,
        "summary": verdict.summary,
        "missing": list(verdict.missing),
        "hazards": list(verdict.hazards),
        "consumers": {
            "backtrace": {"path": verdict.nmi_path},
            "stop": {"ladder": list(verdict.stop_ladder)},
            "crash": crash_document(facts, _crash_path(verdict)),
            "lockup": {"detector": hard_lockup_detector(facts), "path": verdict.nmi_path},
        },
    }


def _crash_path(verdict: Verdict) -> NmiPath:
    return crash_path(verdict.stop_ladder) if verdict.stop_ladder else verdict.nmi_path


def _finding(finding: Finding) -> FindingDocument:
    return {
        "id": finding.id,
        "title": finding.title,
        "outcome": finding.outcome,
        "severity": finding.severity,
        "seen": finding.seen,
        "wanted": finding.wanted,
        "sources": list(finding.sources),
        "remedy": finding.remedy,
        "owner": finding.owner,
    }


def _gap(gap: Gap) -> GapDocument:
    return {"source": gap.source, "kind": gap.kind, "detail": gap.detail}


def describe_host(facts: HostFacts) -> HostDocument:
    """Return the host part of reports and results."""
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


def crash_document(facts: HostFacts, path: NmiPath) -> CrashDocument:
    """Return whether a crash leaves a dump, and how the registers of a stuck CPU get into it."""
    loaded, notifiers = number(facts, KEXEC_CRASH_LOADED), setting(facts, POST_NOTIFIERS)
    return {
        "kdump_loaded": None if loaded is None else bool(loaded),
        "reserved_bytes": number(facts, KEXEC_CRASH_SIZE),
        "post_notifiers": None if notifiers is None else notifiers.startswith(("Y", "1")),
        "path": path,
    }
