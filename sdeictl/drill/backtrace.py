"""`sdeictl drill backtrace`: ask every CPU for its backtrace, one of them masked, and see who answers."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

from sdeictl.drill.aftermath import choose_channel, make_aftermath
from sdeictl.drill.case import Case, Tell, make_entry, open_case, refuse_case
from sdeictl.drill.judge import Observed, judge_backtrace, predict
from sdeictl.drill.mask import Mask, make_mask
from sdeictl.drill.plan import Plan, make_plan, occupied_cpus, plan_lines, quiet_console, risk_lines
from sdeictl.drill.result import WindowEvidence, window_document
from sdeictl.drill.session import POLL_SECONDS, SETTLE_SECONDS, Session, observe
from sdeictl.formats.interrupts import BACKTRACE_ROW, TIMER_ROW
from sdeictl.interlock.arming import disarm
from sdeictl.interlock.dry_run import PlanLine
from sdeictl.interlock.refusals import (
    Reason,
    ReasonKind,
    is_proven,
    refusals_for_heartbeats,
    refusals_for_host,
    refusals_for_panics,
    refusals_for_watchdogs,
    refusals_for_window,
)
from sdeictl.interlock.results import DrillDocument
from sdeictl.interlock.survey import Survey
from sdeictl.interlock.window import WindowRequest
from sdeictl.interlock.writes import fire_sysrq
from sdeictl.klog.log import parse_log
from sdeictl.probe.drills import DrillKind

OPEN_SECONDS = 10.0
ANSWER_SECONDS = 120.0
"""The kernel waits for 10,000 times a millisecond, which took up to 16 s in an emulator."""


def run_backtrace(request: WindowRequest, tell: Tell) -> DrillDocument:
    """Run the drill on this host and return its stored result; raise DrillRefusedError, SdeictlError."""
    case, plan = _prepare(request, trial=True)
    if request.masked and [*_refusals_without_arming(case.survey)]:
        disarm()  # It was what allowed this drill.
    aftermath = make_aftermath(case, plan.target, choose_channel(case.survey.facts, None))
    entry = make_entry(case, quiet_console(case.survey.console_level), aftermath)
    with Session(case, entry, tell) as session:
        observed = observe(session, BacktraceSteps(session, plan))
        result = judge_backtrace(plan, predict(case.survey.facts), observed)
        window = window_document(result, plan) if request.masked else None
        return session.end(result, observed.log, window)


def plan_backtrace(request: WindowRequest) -> list[PlanLine]:
    """Return what the drill would do; raise DrillRefusedError."""
    case, plan = _prepare(request, trial=False)
    return [*plan_lines(plan, case.survey.console_level), *risk_lines(case.survey, plan.target)]


def _prepare(request: WindowRequest, *, trial: bool) -> tuple[Case, Plan]:
    variant = "masked" if request.masked else None
    case = open_case(DrillKind.BACKTRACE, variant, providers=request.masked, trial=trial)
    refuse_case(case, refusals_for_backtrace(case.survey, request))
    return case, make_plan(request, case.survey)


def refusals_for_backtrace(survey: Survey, request: WindowRequest) -> Iterator[Reason]:
    """Yield every reason against the drill; none means it may run."""
    yield from refusals_for_host(survey)
    if not request.masked or survey.facts.architecture != "arm64":
        return
    problems = [*refusals_for_window(survey, request)]
    yield from problems
    # Without a provider there is no plan of which CPU does what.
    busy = () if problems or not survey.online else occupied_cpus(make_plan(request, survey))
    yield from refusals_for_watchdogs(survey, request.seconds, busy)
    if survey.armed is None:
        yield from _refusals_without_arming(survey)


def _refusals_without_arming(survey: Survey) -> Iterator[Reason]:
    """Yield why a drill whose CPU might not come back needs the consent that arming gives."""
    reasons = [*refusals_for_heartbeats(survey)]
    if not is_proven(survey):
        reasons += refusals_for_panics(survey)
    for reason in reasons:
        text = f"{reason.text} `sdeictl drill arm --for 10m` accepts that for one drill."
        yield Reason(reason.kind, text)


class BacktraceSteps:
    """What the drill does. Without a target it masks no CPU."""

    def __init__(self, session: Session, plan: Plan) -> None:
        self._session = session
        self._plan = plan
        self._mask: Mask | None = None
        self._window = WindowEvidence() if plan.target is not None else None
        self._triggered = False
        self._stuck: tuple[int, ...] = ()
        self._row_moved: bool | None = None

    def place(self) -> None:
        """Make the window; place the helper that masks and the one that asks."""
        session = self._session
        try:
            self._mask = make_mask(self._plan, session.survey)
        except OSError as error:
            text = f"The kernel refuses the BPF program: {error.strerror}."
            session.refuse(ReasonKind.PROVIDER, text)
        if self._mask:
            session.at_end(self._mask.close)
        self._log = session.follow_log()
        self._masker = session.helper(self._mask.cpu, self._mask.opens) if self._mask else None
        self._trigger = session.helper(self._plan.trigger, lambda: fire_sysrq("l"))
        # What would run on the masked CPU would not run until the window is over.
        os.sched_setaffinity(0, {self._plan.watcher})

    def fire(self) -> None:
        """Open the window, ask every CPU, wait for the answers."""
        self._session.open_at_risk()
        self._requests = self._session.row(BACKTRACE_ROW)
        if self._open_window():
            # Nothing comes between the opening of the window and this: it does not stay open for long.
            self._trigger.go()
            self._triggered = True
            self._session.say("waiting until every CPU has answered: 10 s or more if a CPU does not answer")
        self._wait()

    def _open_window(self) -> bool:
        """Mask the target; tell whether the request may go out."""
        if not self._mask or not self._masker:
            return True
        session, plan = self._session, self._plan
        session.say(f"masking CPU {plan.target} for {plan.request.seconds:g} s")
        self._masker.go()
        deadline = time.monotonic() + OPEN_SECONDS
        while not self._poll() and self._masker.poll() is None and time.monotonic() < deadline:
            session.sleep(POLL_SECONDS)
        if self._poll():
            return True
        problem = self._masker.poll() or "there is no sign of it"
        session.trouble.append(f"The window on CPU {plan.target} did not open: {problem}.")
        return False

    def _poll(self) -> bool:
        """Read the new records; tell whether the window has opened."""
        records = self._log.drain()
        if self._mask:
            new = parse_log(b"".join(records)).records if records else ()
            self._window = self._mask.see(new)
        return bool(self._window and self._window.opened)

    def _wait(self) -> None:
        deadline = time.monotonic() + ANSWER_SECONDS
        while self._is_busy() and time.monotonic() < deadline:
            self._poll()
            self._session.sleep(POLL_SECONDS)

    def _is_busy(self) -> bool:
        helpers = (self._masker, self._trigger if self._triggered else None)
        return any(helper and helper.poll() is None for helper in helpers)

    def look(self) -> None:
        """See what has become of the CPUs; also after an interruption, because the request may be out."""
        if not self._triggered:
            return
        session = self._session
        self._wait()
        self._poll()
        if error := self._trigger.poll():
            session.trouble.append(f"The request could not be sent: {error}.")
        session.say("checking that every CPU is still alive")
        timers = session.row(TIMER_ROW)
        requests = session.row(BACKTRACE_ROW)
        if requests is not None and self._requests is not None:
            self._row_moved = requests != self._requests
        session.sleep(SETTLE_SECONDS)
        self._stuck = session.find_stuck(timers)

    def observed(self) -> Observed:
        """Return what was observed."""
        seen = self._session.slice()
        return Observed(
            log=seen.log if self._triggered else b"",
            overruns=seen.overruns if self._triggered else 0,
            triggered=self._triggered,
            returned=self._triggered and self._trigger.poll() == "",
            window=self._window,
            row_moved=self._row_moved,
            stuck=self._stuck,
            changed=self._session.changed(),
            trouble=tuple(self._session.trouble),
        )
