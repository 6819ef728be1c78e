"""The result of a drill and its document, `sdeictl.drill/1`. Pure."""

from __future__ import annotations

from sdeictl.drill.plan import Plan
from sdeictl.interlock.refusals import Reason
from sdeictl.interlock.results import (
    DRILL_SCHEMA,
    DetectionDocument,
    DrillDocument,
    DumpDocument,
    EvidenceDocument,
    TargetDocument,
    WindowDocument,
)
from sdeictl.klog.document import LadderDocument, cpu_document
from sdeictl.klog.episodes import CpuAnswer
from sdeictl.klog.words import NmiPath
from sdeictl.probe.document import HostDocument
from sdeictl.probe.drills import DrillKind, DrillOutcome
from sdeictl.probe.words import Outcome
from sdeictl.text import NamedTuple


class Identity(NamedTuple):
    """Which drill a result belongs to, and which host it was earned on."""

    id: str
    kind: DrillKind
    variant: str | None
    host: HostDocument
    boot_id: str


class WindowEvidence(NamedTuple):
    """What the log and the provider show of a window. False means "not seen"."""

    opened: bool = False
    """It was open before the request."""
    held: bool = False
    """It was still open after the request had been sent."""
    closed: bool = False
    """It has ended."""


class PathEvidence(NamedTuple):
    """The independent facts that name the path of the answers."""

    ipi_row_moved: bool | None = None
    """The row "CPU backtrace interrupts" of /proc/interrupts went up; None without such a row."""
    asking_stack: str | None = None
    """The function in the asking CPU's stack that sends the request; None if the log lacks it."""
    priority_mask: bool = False
    """A priority mask was captured: by an interrupt or a pseudo-NMI, never by SDEI."""
    pseudo_nmi: Outcome = Outcome.UNKNOWN
    """Outcome of the check pseudo-nmi-enabled."""
    answered: bool = False


class DrillResult(NamedTuple):
    """One drill, judged."""

    outcome: DrillOutcome
    reasons: tuple[str, ...] = ()
    path: NmiPath = NmiPath.UNKNOWN
    path_evidence: PathEvidence = PathEvidence()
    window: WindowEvidence | None = None
    target: CpuAnswer | None = None
    in_window: bool | None = None
    cpus: tuple[CpuAnswer, ...] = ()
    lost_cpus: tuple[int, ...] = ()
    records_lost: int = 0
    detection: DetectionDocument | None = None
    """What the hard-lockup detector reported; None for drills that do not wait for it."""
    stop: LadderDocument | None = None
    """The ladder that stopped the CPUs; None for drills that leave the host up."""
    dump: DumpDocument | None = None
    """What the crash dump holds of each CPU; only for `drill crash`."""


def refuse(reasons: tuple[Reason, ...]) -> DrillResult:
    """Return the result of a drill that did not begin."""
    return DrillResult(DrillOutcome.REFUSED, tuple(reason.text for reason in reasons))


def window_document(result: DrillResult, plan: Plan) -> WindowDocument:
    """Return the time in which a CPU was masked as JSON has it."""
    seen = result.window or WindowEvidence()
    return {
        "opened": seen.opened,
        "held": seen.held,
        "closed": seen.closed,
        "provider": plan.provider.name if plan.provider else None,
        "seconds": plan.request.seconds,
    }


def drill_document(
    result: DrillResult, identity: Identity, window: WindowDocument | None = None, evidence: str | None = None
) -> DrillDocument:
    """Return a result as its JSON document; `evidence` is the path of the file it was judged from."""
    document: DrillDocument = {
        "schema": DRILL_SCHEMA,
        "id": identity.id,
        "drill": identity.kind,
        "variant": identity.variant,
        "host": identity.host,
        "boot_id": identity.boot_id,
        "outcome": result.outcome,
        "reasons": list(result.reasons),
        "path": result.path,
        "path_evidence": _path_evidence(result.path_evidence),
        "window": window,
        "target": _target(result),
        "cpus": [cpu_document(cpu) for cpu in result.cpus],
        "lost_cpus": list(result.lost_cpus),
        "records_lost": result.records_lost,
        "evidence": evidence,
    }
    if result.detection is not None:
        document["detection"] = result.detection
    if result.stop is not None:
        document["stop"] = result.stop
    if result.dump is not None:
        document["vmcore"] = result.dump
    return document


def _path_evidence(evidence: PathEvidence) -> EvidenceDocument:
    return {
        "ipi_row_moved": evidence.ipi_row_moved,
        "asking_stack": evidence.asking_stack,
        "priority_mask": evidence.priority_mask,
        "pseudo_nmi": evidence.pseudo_nmi,
        "answered": evidence.answered,
    }


def _target(result: DrillResult) -> TargetDocument | None:
    if result.target is None:
        return None
    cpu = cpu_document(result.target)
    return {
        "cpu": cpu["cpu"],
        "state": cpu["state"],
        "masked": cpu["masked"],
        "pstate": cpu["pstate"],
        "pmr": cpu["pmr"],
        "pc": cpu["pc"],
        "latency_seconds": cpu["latency_seconds"],
        "in_window": result.in_window,
    }
