"""Was a lockup reported, with the stack of the CPU from inside it? Pure."""

import re
from collections.abc import Sequence

from sdeictl.drill.plan import Plan
from sdeictl.drill.result import (
    LOST,
    DrillResult,
    Observed,
    Predicted,
    cpu_words,
    in_window,
    other_path,
)
from sdeictl.klog.analysis import analyze
from sdeictl.klog.episodes import Backtrace, CpuAnswer, Episode, HardLockup
from sdeictl.klog.log import parse_log
from sdeictl.probe.checks.check import FAIL, PASS, UNKNOWN
from sdeictl.probe.report import Json


def judge_lockup(plan: Plan, predicted: Predicted, observed: Observed) -> DrillResult:
    """Judge a lockup drill. Nothing passes that was not seen."""
    parsed = parse_log(observed.log)
    episodes = analyze(parsed, predicted.bootlog).episodes
    assert plan.target is not None  # noqa: S101 - a lockup drill always has one
    requests = find_requests(episodes, plan.target)
    answers = [(request, inside(request, plan.target)) for request in requests]
    best = next(((request, cpu) for request, cpu in answers if in_window(plan, cpu, observed.window)), None)
    request, target = best or (answers[0] if answers else (None, None))
    result = DrillResult(
        outcome=UNKNOWN,
        reasons=(),
        path=request.path if request else UNKNOWN,
        window=observed.window,
        target=target,
        in_window=in_window(plan, target, observed.window),
        cpus=request.cpus if request else (),
        lost_cpus=observed.stuck,
        records_lost=max(parsed.lost, observed.overruns),
        detection=detection_json(episodes, plan.target, observed.counted),
    )
    outcome, reasons = _decide(plan, predicted, observed, result)
    return result._replace(outcome=outcome, reasons=(*reasons, *observed.trouble))


def find_requests(episodes: Sequence[Episode], target: int) -> list[Backtrace]:
    """Return the requests that reports of a CPU's lockup have sent."""
    return [
        episode for episode in episodes
        if isinstance(episode, Backtrace) and episode.trigger == "hard-lockup" and target in episode.targets
    ]  # fmt: skip


def inside(request: Backtrace, target: int) -> CpuAnswer:
    """Return the answer of the CPU that is locked up."""
    return next(cpu for cpu in request.cpus if cpu.cpu == target)


def detection_json(episodes: Sequence[Episode], target: int, counted: bool | None) -> Json:
    """Return what the detector said of a CPU."""
    reports = [episode for episode in episodes if isinstance(episode, HardLockup) and episode.cpu == target]
    return {
        "reports": len(reports),
        "detected_by": reports[0].detected_by if reports else None,
        "has_stack": any(report.has_stack for report in reports),
        "counted": counted,
    }


def _decide(
    plan: Plan, predicted: Predicted, observed: Observed, result: DrillResult
) -> tuple[str, list[str]]:
    if result.lost_cpus:
        return LOST, [f"{cpu_words(result.lost_cpus)} did not come back: nothing runs there any more."]
    doubts = _doubts(plan, observed, result)
    if doubts or observed.trouble:
        return UNKNOWN, doubts
    detection = result.detection or {}
    if not detection["reports"]:
        seconds = plan.request.seconds
        return FAIL, [f"The detector did not report CPU {plan.target}, masked for {seconds:g} s."]
    if not result.in_window:
        how = f"{result.target.state}, in {result.target.pc}" if result.target else "nothing was asked"
        how = how.replace(", in None", "")
        outcome = UNKNOWN if result.in_window is None else FAIL
        return outcome, [f"CPU {plan.target} was detected, no stack from inside the window ({how})."]
    if detection["counted"] is False:
        return UNKNOWN, ["The report is in the log, but /sys/kernel/hardlockup_count did not go up."]
    if other := other_path(predicted, result.path):
        return UNKNOWN, [other]
    return PASS, []


def _doubts(plan: Plan, observed: Observed, result: DrillResult) -> list[str]:
    doubts: list[str] = []
    if not observed.triggered:
        return ["No CPU was masked."]
    if result.records_lost:
        text = f"The kernel log was overwritten before it was read: {result.records_lost} records are lost."
        doubts.append(text)
    if observed.changed:
        doubts.append("A CPU went on or off line meanwhile.")
    window = observed.window
    if not (window and window.opened):
        doubts.append(f"That CPU {plan.target} was masked was not seen.")
    elif not (window.closed and observed.returned):
        doubts.append(f"That the window on CPU {plan.target} came to its end was not seen.")
    return doubts


def stack_has(cpu: CpuAnswer, frame: str) -> bool:
    """Tell whether a function is on a CPU's stack."""
    return any(re.fullmatch(frame, name) for name in cpu.frames)
