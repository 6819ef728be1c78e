"""From what was observed to the result of a drill: `sdeictl.drill/1`. Pure."""

import re
from typing import NamedTuple

from sdeictl.drill.mask import WindowEvidence
from sdeictl.drill.plan import Plan
from sdeictl.errors import Status
from sdeictl.interlock.refusals import CANNOT, Reason
from sdeictl.klog.analysis import analyze
from sdeictl.klog.bootlog import BootLog
from sdeictl.klog.document import cpu_json
from sdeictl.klog.episodes import Backtrace, CpuAnswer
from sdeictl.klog.log import parse_log
from sdeictl.probe.checks.check import FAIL, PASS, UNKNOWN
from sdeictl.probe.report import Json

DRILL_SCHEMA = "sdeictl.drill/1"
LOST, REFUSED = "lost", "refused"
SDEI_FRAME = "sdei_nmi_trigger_cpumask_backtrace"
IPI_FRAME = "arch_trigger_cpumask_backtrace"
STATUSES = {PASS: Status.GOOD, FAIL: Status.FAILED, LOST: Status.FAILED, UNKNOWN: Status.UNKNOWN}


class Identity(NamedTuple):
    """Which drill a result is of, and where it was earned."""

    id: str
    drill: str
    variant: str | None
    host: Json
    """As in a report."""
    boot_id: str
    evidence: str | None = None
    """Path of the log slice, or of another file it was judged by."""


class Predicted(NamedTuple):
    """What the probe said before the drill."""

    nmi_path: str
    pseudo_nmi: str
    """Outcome of the check pseudo-nmi-enabled, whichever path serves."""
    bootlog: BootLog | None


class Observed(NamedTuple):
    """Everything that a drill saw of a host that stayed up."""

    log: bytes = b""
    """Records of /dev/kmsg, from before the trigger."""
    overruns: int = 0
    triggered: bool = False
    returned: bool = False
    """The trigger's write has returned."""
    window: WindowEvidence | None = None
    row_moved: bool | None = None
    """The row "CPU backtrace interrupts" went up on a CPU that was asked; None without such a row."""
    counted: bool | None = None
    """/sys/kernel/hardlockup_count went up; None without such a file."""
    stuck: tuple[int, ...] = ()
    """CPUs that were alive before and are not any more."""
    changed: bool = False
    """A CPU came or went meanwhile."""
    trouble: tuple[str, ...] = ()
    """What kept the drill from its end, sentences."""


class PathEvidence(NamedTuple):
    """The independent facts that name the path of the answers."""

    ipi_row_moved: bool | None = None
    """The row "CPU backtrace interrupts" of /proc/interrupts went up; None without such a row."""
    asking_stack: str | None = None
    """The function in the asking CPU's stack that sends the request; None if that was not logged."""
    priority_mask: bool = False
    """A priority mask was captured: by an interrupt or a pseudo-NMI, never by SDEI."""
    pseudo_nmi: str = UNKNOWN
    """Outcome of the check pseudo-nmi-enabled."""
    answered: bool = False


class DrillResult(NamedTuple):
    """One drill, judged."""

    outcome: str
    reasons: tuple[str, ...]
    path: str
    path_evidence: PathEvidence = PathEvidence()
    window: WindowEvidence | None = None
    target: CpuAnswer | None = None
    in_window: bool | None = None
    cpus: tuple[CpuAnswer, ...] = ()
    lost_cpus: tuple[int, ...] = ()
    records_lost: int = 0
    detection: Json | None = None
    """What the hard-lockup detector said; only of drills that wait for it."""
    stop: Json | None = None
    """The ladder by which the CPUs were stopped; only of drills that end in a reset or a crash."""
    vmcore: Json | None = None
    """What the crash dump holds of each CPU; only of `drill crash`."""


def refuse(reasons: tuple[Reason, ...]) -> DrillResult:
    """Return the result of a drill that was not begun."""
    return DrillResult(REFUSED, tuple(reason.text for reason in reasons), UNKNOWN)


def refused_status(reasons: tuple[Reason, ...]) -> Status:
    """Return how a refusal ends: UNKNOWN if something is missing here, REFUSED if a policy forbids it."""
    return Status.UNKNOWN if any(reason.kind in CANNOT for reason in reasons) else Status.REFUSED


def judge(plan: Plan, predicted: Predicted, observed: Observed) -> DrillResult:
    """Judge a backtrace drill. Nothing passes that was not seen."""
    parsed = parse_log(observed.log)
    request = next(
        (
            episode for episode in analyze(parsed, predicted.bootlog).episodes
            if isinstance(episode, Backtrace)
            and (episode.trigger, episode.initiator) == ("sysrq-l", plan.trigger)
        ),
        None,
    )  # fmt: skip
    lost = max(parsed.lost, observed.overruns)
    answers = {cpu.cpu: cpu for cpu in request.cpus} if request else {}
    target = answers.get(plan.target) if plan.target is not None else None
    evidence = _path_evidence(request, observed, predicted) if request else PathEvidence()
    result = DrillResult(
        outcome=UNKNOWN,
        reasons=(),
        path=_path(evidence),
        path_evidence=evidence,
        window=observed.window,
        target=target,
        in_window=in_window(plan, target, observed.window) if observed.window else None,
        cpus=request.cpus if request else (),
        lost_cpus=observed.stuck,
        records_lost=lost,
    )
    outcome, reasons = _decide(plan, predicted, observed, result)
    return result._replace(outcome=outcome, reasons=(*reasons, *observed.trouble))


def _decide(
    plan: Plan, predicted: Predicted, observed: Observed, result: DrillResult
) -> tuple[str, list[str]]:
    if result.lost_cpus:
        return LOST, [
            f"{cpu_words(result.lost_cpus)} did not come back: nothing runs there since the request."
        ]
    doubts = _doubts(plan, observed, result)
    if doubts or observed.trouble:
        return UNKNOWN, doubts
    failures = _failures(plan, result)
    if failures:
        return FAIL, failures
    if plan.target is not None and not result.in_window:
        return UNKNOWN, [f"Whether CPU {plan.target} answered from inside the window was not seen."]
    if other := other_path(predicted, result.path):
        return UNKNOWN, [other]
    if result.path == UNKNOWN:
        return UNKNOWN, ["Every CPU answered, but by which path was not seen."]
    return PASS, []


def other_path(predicted: Predicted, path: str) -> str:
    """Return a sentence if a path is another than the probe named, else ""."""
    if path in (predicted.nmi_path, UNKNOWN) or predicted.nmi_path == UNKNOWN:
        return ""
    return f"The probe found the path {predicted.nmi_path}, but the answers came by {path}."


def _doubts(plan: Plan, observed: Observed, result: DrillResult) -> list[str]:
    """Return why nothing can be concluded."""
    doubts: list[str] = []
    if not observed.triggered:
        return ["The request was not sent."]
    if result.records_lost:
        doubts.append(
            f"The kernel log was overwritten before it was read: {result.records_lost} records are lost."
        )
    if observed.changed:
        doubts.append("A CPU went on or off line meanwhile.")
    if not result.cpus:
        doubts.append("The kernel log has no request of this drill.")
    else:
        unasked = set(plan.online) - {cpu.cpu for cpu in result.cpus}
        pending = [cpu.cpu for cpu in result.cpus if cpu.state == "pending"]
        if unasked:
            doubts.append(f"{cpu_words(unasked)} was not asked.")
        if pending:
            doubts.append(f"Whether {cpu_words(pending)} would have answered was not waited for.")
    if not observed.returned:
        doubts.append("The request has not come to its end.")
    if observed.window and not observed.window.opened:
        doubts.append(f"That CPU {plan.target} was masked before it was asked was not seen.")
    elif observed.window and not observed.window.held and not result.in_window:
        doubts.append(f"That CPU {plan.target} was still masked when it was asked was not seen.")
    return doubts


def _failures(plan: Plan, result: DrillResult) -> list[str]:
    failures = []
    silent = [cpu.cpu for cpu in result.cpus if cpu.state in ("silent", "late")]
    if silent:
        failures.append(f"{cpu_words(silent)} did not answer within the kernel's 10 seconds.")
    target = result.target
    if target and result.in_window is False and target.cpu not in silent:
        how = "it was idle" if target.state == "idle" else f"it was in {target.pc}"
        failures.append(f"CPU {target.cpu} did not answer from inside the window: {how} when it did.")
    if plan.target is None and result.path == "none":
        failures.append("Every CPU answered a plain interrupt; a masked CPU would not answer.")
    return failures


def in_window(plan: Plan, target: CpuAnswer | None, window: WindowEvidence | None) -> bool | None:
    """Tell whether an answer came from inside the window: by the stack and the mask, never by a time.

    None if it shows neither: a masked CPU whose stack has not the window's
    function, or one whose mask is not there to be judged, was reached by more
    than a plain interrupt, but not provably inside the window.
    """
    if not target or not plan.provider or not window or not window.opened:
        return False
    if target.state != "backtrace" or target.masked is False:
        return False
    inside = any(re.fullmatch(plan.provider.inner_frame, frame) for frame in target.frames)
    # A PMR of 0 was not captured: SDEI on a kernel that masks by priority. Without the line it was lost.
    return True if inside and (target.masked or target.pmr) else None


def _path_evidence(request: Backtrace, observed: Observed, predicted: Predicted) -> PathEvidence:
    own = next((cpu.frames for cpu in request.cpus if cpu.state == "self"), frozenset())
    stack = None
    if IPI_FRAME in own:
        stack = SDEI_FRAME if SDEI_FRAME in own else IPI_FRAME
    return PathEvidence(
        ipi_row_moved=observed.row_moved,
        asking_stack=stack,
        priority_mask=any(cpu.pmr and int(cpu.pmr, 16) for cpu in request.cpus),
        pseudo_nmi=predicted.pseudo_nmi,
        answered=any(cpu.state in ("idle", "backtrace", "late") for cpu in request.cpus),
    )


def _path(evidence: PathEvidence) -> str:
    """Name the path from independent facts: the row and the asking CPU's stack, then PMR and the probe."""
    votes = {
        vote for vote in (
            None if evidence.ipi_row_moved is None else not evidence.ipi_row_moved,
            None if evidence.asking_stack is None else evidence.asking_stack == SDEI_FRAME,
        ) if vote is not None
    }  # fmt: skip
    if not evidence.answered or len(votes) != 1:
        return UNKNOWN
    if votes == {True}:
        return "sdei"
    if evidence.priority_mask:
        return "pseudo-nmi"
    return {PASS: "pseudo-nmi", FAIL: "none"}.get(evidence.pseudo_nmi, UNKNOWN)


def window_json(result: DrillResult, plan: Plan | None) -> Json:
    """Return the time in which a CPU was masked."""
    seen = result.window or WindowEvidence()
    return {
        "opened": seen.opened,
        "held": seen.held,
        "closed": seen.closed,
        "provider": plan.provider.name if plan and plan.provider else None,
        "seconds": plan.request.seconds if plan else None,
    }


def result_json(result: DrillResult, identity: Identity, window: Json | None = None) -> Json:
    """Return a result as its JSON document."""
    target = None
    if result.target:
        target = cpu_json(result.target) | {"in_window": result.in_window}
    document = {
        "schema": DRILL_SCHEMA,
        "id": identity.id,
        "drill": identity.drill,
        "variant": identity.variant,
        "host": identity.host,
        "boot_id": identity.boot_id,
        "outcome": result.outcome,
        "reasons": list(result.reasons),
        "path": result.path,
        "path_evidence": result.path_evidence._asdict(),
        "window": window,
        "target": target,
        "cpus": [cpu_json(cpu) for cpu in result.cpus],
        "lost_cpus": list(result.lost_cpus),
        "records_lost": result.records_lost,
        "evidence": identity.evidence,
    }
    extra = {"detection": result.detection, "stop": result.stop, "vmcore": result.vmcore}
    return document | {name: value for name, value in extra.items() if value is not None}


def cpu_words(numbers: set[int] | list[int] | tuple[int, ...]) -> str:
    """Return `CPU 1` or `CPUs 1, 2`."""
    ordered = sorted(numbers)
    return f"CPU{'s' if len(ordered) > 1 else ''} {', '.join(map(str, ordered))}"
