"""Judges `drill lockup`: was the masked CPU reported, with its stack from inside the window? Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from sdeictl.drill.judge import Judgement, Observed, Predicted, doubts_of_host, in_window, other_path
from sdeictl.drill.plan import Plan
from sdeictl.drill.result import DrillResult
from sdeictl.interlock.results import DetectionDocument
from sdeictl.klog.analysis import analyze
from sdeictl.klog.episodes import Backtrace, CpuAnswer, Episode, HardLockup
from sdeictl.klog.log import parse_log
from sdeictl.klog.words import NmiPath, Trigger
from sdeictl.probe.drills import DrillOutcome
from sdeictl.text import name_cpus


def judge_lockup(plan: Plan, predicted: Predicted, observed: Observed) -> DrillResult:
    """Judge a lockup drill. Nothing passes that was not seen."""
    parsed = parse_log(observed.log)
    episodes = analyze(parsed, predicted.bootlog).episodes
    assert plan.target is not None  # noqa: S101 - a lockup drill always has one
    answers = [(each, answer_of(each, plan.target)) for each in find_requests(episodes, plan.target)]
    inside = [(each, cpu) for each, cpu in answers if in_window(plan, cpu, observed.window)]
    request, target = next(iter(inside or answers), (None, None))
    result = DrillResult(
        outcome=DrillOutcome.UNKNOWN,
        path=request.path if request else NmiPath.UNKNOWN,
        window=observed.window,
        target=target,
        in_window=in_window(plan, target, observed.window),
        cpus=request.cpus if request else (),
        lost_cpus=observed.stuck,
        records_lost=max(parsed.lost, observed.overruns),
        detection=detection_document(episodes, plan.target, observed.counted),
    )
    outcome, reasons = _decide(plan, predicted, observed, result)
    return result._replace(outcome=outcome, reasons=(*reasons, *observed.trouble))


def find_requests(episodes: Sequence[Episode], target: int) -> list[Backtrace]:
    """Return the requests that the reports of a CPU's lockup sent."""
    return [
        episode for episode in episodes
        if isinstance(episode, Backtrace) and episode.trigger is Trigger.HARD_LOCKUP
        and target in episode.targets
    ]  # fmt: skip


def answer_of(request: Backtrace, target: int) -> CpuAnswer:
    """Return the answer of the CPU that is locked up."""
    return next(cpu for cpu in request.cpus if cpu.cpu == target)


def detection_document(episodes: Sequence[Episode], target: int, counted: bool | None) -> DetectionDocument:
    """Return what the detector reported about a CPU."""
    reports = [episode for episode in episodes if isinstance(episode, HardLockup) and episode.cpu == target]
    return {
        "reports": len(reports),
        "detected_by": reports[0].detected_by if reports else None,
        "has_stack": any(report.has_stack for report in reports),
        "counted": counted,
    }


def _decide(plan: Plan, predicted: Predicted, observed: Observed, result: DrillResult) -> Judgement:
    if result.lost_cpus:
        text = f"{name_cpus(result.lost_cpus)} did not come back: nothing runs there any more."
        return DrillOutcome.LOST, [text]
    doubts = _doubts(plan, observed, result)
    if doubts or observed.trouble:
        return DrillOutcome.UNKNOWN, doubts
    detection = result.detection
    if not detection or not detection["reports"]:
        text = f"The detector did not report CPU {plan.target}, masked for {plan.request.seconds:g} s."
        return DrillOutcome.FAIL, [text]
    if not result.in_window:
        text = f"CPU {plan.target} was detected, without a stack from inside the window ({_seen(result)})."
        return (DrillOutcome.UNKNOWN if result.in_window is None else DrillOutcome.FAIL), [text]
    if detection["counted"] is False:
        text = "The report is in the log, but /sys/kernel/hardlockup_count did not go up."
        return DrillOutcome.UNKNOWN, [text]
    if other := other_path(predicted, result.path):
        return DrillOutcome.UNKNOWN, [other]
    return DrillOutcome.PASS, []


def _seen(result: DrillResult) -> str:
    if not result.target:
        return "the kernel asked no CPU"
    where = f", in {result.target.pc}" if result.target.pc else ""
    return f"{result.target.state}{where}"


def _doubts(plan: Plan, observed: Observed, result: DrillResult) -> list[str]:
    if not observed.triggered:
        return ["No CPU was masked."]
    doubts = doubts_of_host(observed, result)
    window = observed.window
    if not (window and window.opened):
        doubts.append(f"There is no evidence that CPU {plan.target} was masked.")
    elif not (window.closed and observed.returned):
        doubts.append(f"There is no evidence that the window on CPU {plan.target} ended.")
    return doubts


def stack_has(cpu: CpuAnswer, frame: str) -> bool:
    """Tell whether a function is on the stack of a CPU."""
    return any(re.fullmatch(frame, name) for name in cpu.frames)
