"""Judges `drill backtrace`, and what all drills that leave the host up have in common. Pure."""

from __future__ import annotations

import re

from sdeictl.drill.plan import Plan
from sdeictl.drill.result import DrillResult, PathEvidence, WindowEvidence
from sdeictl.klog.analysis import analyze
from sdeictl.klog.bootlog import BootLog
from sdeictl.klog.episodes import Backtrace, CpuAnswer
from sdeictl.klog.log import parse_log
from sdeictl.klog.messages.backtrace import SHOW_CPU
from sdeictl.klog.requests import IPI_FRAME, SDEI_FRAME
from sdeictl.klog.words import IN_TIME, CpuState, NmiPath, Trigger
from sdeictl.probe.drills import DrillOutcome
from sdeictl.probe.facts import HostFacts
from sdeictl.probe.verdict import decide, judge_registered
from sdeictl.probe.words import Outcome
from sdeictl.text import NamedTuple, name_cpus

Judgement = tuple[DrillOutcome, list[str]]
"""The outcome and the reasons for it, sentences."""


class Predicted(NamedTuple):
    """What the probe said before the drill."""

    nmi_path: NmiPath
    pseudo_nmi: Outcome
    """Outcome of the check pseudo-nmi-enabled, whichever path serves."""
    bootlog: BootLog | None


class Observed(NamedTuple):
    """Everything that a drill saw of a host that stayed up."""

    log: bytes = b""
    """Records of /dev/kmsg, from before the trigger."""
    overruns: int = 0
    """How often records were overwritten before they were read."""
    triggered: bool = False
    returned: bool = False
    """The trigger's write has returned."""
    window: WindowEvidence | None = None
    row_moved: bool | None = None
    """The row "CPU backtrace interrupts" went up on a CPU that was asked; None without such a row."""
    counted: bool | None = None
    """/sys/kernel/hardlockup_count went up; None without such a file."""
    stuck: tuple[int, ...] = ()
    """CPUs that were alive before the drill and are not any more."""
    changed: bool = False
    """A CPU went online or offline during the drill."""
    trouble: tuple[str, ...] = ()
    """What kept the drill from its end, sentences."""


def predict(facts: HostFacts) -> Predicted:
    """Return what the probe says about the host that a drill is about to run on."""
    verdict, _findings = decide(facts)
    return Predicted(verdict.nmi_path, judge_registered(facts, NmiPath.PSEUDO_NMI), facts.bootlog)


def judge_backtrace(plan: Plan, predicted: Predicted, observed: Observed) -> DrillResult:
    """Judge a backtrace drill. Nothing passes that was not seen."""
    parsed = parse_log(observed.log)
    request = next(
        (
            episode for episode in analyze(parsed, predicted.bootlog).episodes
            if isinstance(episode, Backtrace)
            and (episode.trigger, episode.initiator) == (Trigger.SYSRQ_L, plan.trigger)
        ),
        None,
    )  # fmt: skip
    answers = {cpu.cpu: cpu for cpu in request.cpus} if request else {}
    target = answers.get(plan.target) if plan.target is not None else None
    evidence = _path_evidence(request, observed, predicted) if request else PathEvidence()
    # Before Linux 6.7 the CPUs print themselves, and no NMI is sent.
    shown = any(SHOW_CPU.match(record.text) for record in parsed.records)
    path = NmiPath.NONE if shown else _path(evidence)
    inside = in_window(plan, target, observed.window) if observed.window else None
    if observed.window and inside is None and path is NmiPath.NONE:
        inside = False  # A plain interrupt waits until the window closes.
    result = DrillResult(
        outcome=DrillOutcome.UNKNOWN,
        path=path,
        path_evidence=evidence,
        window=observed.window,
        target=target,
        in_window=inside,
        cpus=request.cpus if request else (),
        lost_cpus=observed.stuck,
        records_lost=max(parsed.lost, observed.overruns),
    )
    outcome, reasons = _decide(plan, predicted, observed, result)
    return result._replace(outcome=outcome, reasons=(*reasons, *observed.trouble))


def _decide(plan: Plan, predicted: Predicted, observed: Observed, result: DrillResult) -> Judgement:
    if result.lost_cpus:
        text = f"{name_cpus(result.lost_cpus)} did not come back: nothing has run there since the request."
        return DrillOutcome.LOST, [text]
    doubts = _doubts(plan, observed, result)
    if doubts or observed.trouble:
        return DrillOutcome.UNKNOWN, doubts
    failures = _failures(plan, result)
    if failures:
        return DrillOutcome.FAIL, failures
    if plan.target is not None and not result.in_window:
        text = f"There is no evidence that CPU {plan.target} answered from inside the window."
        return DrillOutcome.UNKNOWN, [text]
    if other := other_path(predicted, result.path):
        return DrillOutcome.UNKNOWN, [other]
    if result.path is NmiPath.UNKNOWN:
        return DrillOutcome.UNKNOWN, ["Every CPU answered, but there is no evidence of the path."]
    return DrillOutcome.PASS, []


def other_path(predicted: Predicted, path: NmiPath) -> str:
    """Return a sentence if the answers came by another path than the probe named, else ""."""
    if path in (predicted.nmi_path, NmiPath.UNKNOWN) or predicted.nmi_path is NmiPath.UNKNOWN:
        return ""
    return f"The probe found the path {predicted.nmi_path}, but the answers came by {path}."


def doubts_of_host(observed: Observed, result: DrillResult) -> list[str]:
    """Return why nothing can be concluded, from what happened to the log and to the CPUs."""
    doubts = []
    if result.records_lost:
        text = f"The kernel overwrote {result.records_lost} log records before they were read."
        doubts.append(text)
    if observed.changed:
        doubts.append("A CPU went online or offline during the drill.")
    return doubts


def _doubts(plan: Plan, observed: Observed, result: DrillResult) -> list[str]:
    if not observed.triggered:
        return ["The request was not sent."]
    doubts = [*doubts_of_host(observed, result), *_doubts_of_request(plan, result)]
    if not observed.returned:
        doubts.append("The request has not ended.")
    if observed.window and not observed.window.opened:
        doubts.append(f"There is no evidence that CPU {plan.target} was masked before the request.")
    elif observed.window and not observed.window.held and not result.in_window:
        doubts.append(f"There is no evidence that CPU {plan.target} was still masked at the request.")
    return doubts


def _doubts_of_request(plan: Plan, result: DrillResult) -> list[str]:
    if not result.cpus:
        return ["The kernel log has no request of this drill."]
    unasked = set(plan.online) - {cpu.cpu for cpu in result.cpus}
    pending = [cpu.cpu for cpu in result.cpus if cpu.state is CpuState.PENDING]
    doubts = []
    if unasked:
        doubts.append(f"The kernel did not ask {name_cpus(unasked)}.")
    if pending:
        doubts.append(f"The log ends before {name_cpus(pending)} could have answered.")
    return doubts


def _failures(plan: Plan, result: DrillResult) -> list[str]:
    failures = []
    silent = [cpu.cpu for cpu in result.cpus if IN_TIME[cpu.state] is False]
    if silent:
        failures.append(f"{name_cpus(silent)} did not answer within the kernel's 10 seconds.")
    target = result.target
    if target and result.in_window is False and target.cpu not in silent:
        how = f"it answered while it was in {target.pc}" if target.pc else "it answered a plain interrupt"
        if target.state is CpuState.IDLE:
            how = "it answered while it was idle"
        failures.append(f"CPU {target.cpu} did not answer from inside the window: {how}.")
    if plan.target is None and result.path is NmiPath.NONE:
        failures.append("Every CPU answered a plain interrupt; a masked CPU would not answer.")
    return failures


def in_window(plan: Plan, target: CpuAnswer | None, window: WindowEvidence | None) -> bool | None:
    """Tell whether an answer came from inside the window: the stack and the mask decide, never a time.

    None if neither shows it. A masked CPU without the window's function on its stack, or one without a
    captured mask, was reached by more than a plain interrupt, but not provably inside the window.
    """
    if not target or not plan.provider or not window or not window.opened:
        return False
    if target.state is not CpuState.BACKTRACE or target.masked is False:
        return False
    inside = any(re.fullmatch(plan.provider.inner_frame, frame) for frame in target.frames)
    # A PMR of 0 was not captured: SDEI on a kernel that masks by priority. Without a PMR line it was lost.
    return True if inside and (target.masked or target.pmr) else None


def _path_evidence(request: Backtrace, observed: Observed, predicted: Predicted) -> PathEvidence:
    own = next((cpu.frames for cpu in request.cpus if cpu.state is CpuState.SELF), frozenset())
    stack = None
    if IPI_FRAME in own:
        stack = SDEI_FRAME if SDEI_FRAME in own else IPI_FRAME
    answered = (CpuState.IDLE, CpuState.BACKTRACE, CpuState.LATE)
    return PathEvidence(
        ipi_row_moved=observed.row_moved,
        asking_stack=stack,
        priority_mask=any(cpu.pmr and int(cpu.pmr, 16) for cpu in request.cpus),
        pseudo_nmi=predicted.pseudo_nmi,
        answered=any(cpu.state in answered for cpu in request.cpus),
    )


def _path(evidence: PathEvidence) -> NmiPath:
    """Name the path from independent facts: the row and the asking CPU's stack, then PMR and the probe."""
    votes = {
        vote for vote in (
            None if evidence.ipi_row_moved is None else not evidence.ipi_row_moved,
            None if evidence.asking_stack is None else evidence.asking_stack == SDEI_FRAME,
        ) if vote is not None
    }  # fmt: skip
    if not evidence.answered or len(votes) != 1:
        return NmiPath.UNKNOWN
    if votes == {True}:
        return NmiPath.SDEI
    if evidence.priority_mask:
        return NmiPath.PSEUDO_NMI
    paths = {Outcome.PASS: NmiPath.PSEUDO_NMI, Outcome.FAIL: NmiPath.NONE}
    return paths.get(evidence.pseudo_nmi, NmiPath.UNKNOWN)
