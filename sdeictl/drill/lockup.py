"""`sdeictl drill lockup`: mask a CPU past the hard-lockup threshold; is it reported, with its stack?"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

from sdeictl.drill.aftermath import choose_channel, make_aftermath
from sdeictl.drill.case import Case, Tell, make_entry, open_case, refuse_case
from sdeictl.drill.judge import Observed, predict
from sdeictl.drill.judge_lockup import judge_lockup
from sdeictl.drill.mask import LockupMarks, make_mask
from sdeictl.drill.plan import Plan, mask_words, quiet_console, risk_lines, setting_line
from sdeictl.drill.result import window_document
from sdeictl.drill.session import POLL_SECONDS, Session, observe
from sdeictl.formats.interrupts import TIMER_ROW
from sdeictl.host.paths import HARDLOCKUP_COUNT, WATCHDOG_THRESH
from sdeictl.interlock.arming import disarm
from sdeictl.interlock.consent import Consent
from sdeictl.interlock.dry_run import PlanLine
from sdeictl.interlock.journal import Setting
from sdeictl.interlock.refusals import (
    Reason,
    ReasonKind,
    refusals_for_detector,
    refusals_for_heartbeats,
    refusals_for_host,
    refusals_for_panics,
    refusals_for_risk,
    refusals_for_target,
    refusals_for_watchdogs,
)
from sdeictl.interlock.results import DrillDocument
from sdeictl.interlock.survey import Survey, default_target
from sdeictl.interlock.window import TEST_LOCKUP, WindowRequest, provider_problem
from sdeictl.klog.log import parse_log
from sdeictl.probe.drills import DrillKind
from sdeictl.probe.settings import read_number

THRESHOLDS = 2.5
"""For how many times watchdog_thresh a CPU is masked. The buddy detector looks every 0.4 of it and reports a
CPU after 1.6 of it at the latest (kernel/watchdog.c); the rest of the time is for its request."""
DEFAULT_THRESH = 10
RETURN_SECONDS = 60.0


def run_lockup(cpu: int | None, thresh: int | None, consent: Consent, tell: Tell) -> DrillDocument:
    """Run the drill on this host and return its stored result; raise DrillRefusedError, SdeictlError."""
    case, plan = _prepare(cpu, thresh, consent)
    aftermath = make_aftermath(case, plan.target, choose_channel(case.survey.facts, None))
    entry = make_entry(case, lockup_settings(case.survey, thresh), aftermath)
    disarm()
    with Session(case, entry, tell) as session:
        observed = observe(session, LockupSteps(session, plan))
        result = judge_lockup(plan, predict(case.survey.facts), observed)
        return session.end(result, observed.log, window_document(result, plan))


def plan_lockup(cpu: int | None, thresh: int | None, consent: Consent) -> list[PlanLine]:
    """Return what the drill would do; raise DrillRefusedError."""
    case, plan = _prepare(cpu, thresh, consent)
    settings = map(setting_line, lockup_settings(case.survey, thresh))
    return [*settings, *lockup_lines(plan), *risk_lines(case.survey, plan.target)]


def _prepare(cpu: int | None, thresh: int | None, consent: Consent) -> tuple[Case, Plan]:
    case = open_case(DrillKind.LOCKUP, None, providers=True, trial=False)  # It uses no BPF.
    request = lockup_request(case.survey, cpu, thresh)
    refuse_case(case, refusals_for_lockup(case.survey, consent, request, thresh))
    return case, lockup_plan(request, case.survey)


def lockup_request(survey: Survey, cpu: int | None, thresh: int | None) -> WindowRequest:
    """Return the window that the hard-lockup detector must report."""
    seconds = THRESHOLDS * (thresh or survey.watchdog_thresh or DEFAULT_THRESH)
    return WindowRequest(masked=True, cpu=cpu, seconds=seconds, provider=TEST_LOCKUP.name)


def refusals_for_lockup(
    survey: Survey, consent: Consent, request: WindowRequest, thresh: int | None = None
) -> Iterator[Reason]:
    """Yield every reason against the drill; `request.seconds` is the masked time."""
    yield from refusals_for_host(survey)
    if survey.facts.architecture != "arm64":
        return
    yield from refusals_for_risk(survey, consent)
    yield from refusals_for_target(survey, request.cpu, consent.accepted_load)
    if problem := provider_problem(TEST_LOCKUP, survey):
        text = f"Nothing here can mask a CPU for so long: {problem}."
        yield Reason(ReasonKind.PROVIDER, text)
    target = default_target(survey) if request.cpu is None and survey.online else request.cpu
    yield from refusals_for_detector(survey.facts, survey.watchdog_thresh, target)
    yield from refusals_for_panics(survey)
    yield from refusals_for_watchdogs(survey, request.seconds, (target,))
    yield from refusals_for_heartbeats(survey)
    found = survey.watchdog_thresh
    if thresh is not None and found and thresh >= found:
        text = f"{WATCHDOG_THRESH} is {found} already: --thresh takes a lower value."
        yield Reason(ReasonKind.POLICY, text)


def lockup_plan(request: WindowRequest, survey: Survey) -> Plan:
    """Choose the CPUs, once there is no reason to refuse."""
    target = default_target(survey) if request.cpu is None else request.cpu
    others = [cpu for cpu in survey.online if cpu != target]
    found = survey.providers.test_lockup
    module = found.path if found else None
    return Plan(request, survey.online, others[0], others[0], target, None, TEST_LOCKUP, module)


def lockup_settings(survey: Survey, thresh: int | None) -> tuple[Setting, ...]:
    """Return what is set during the drill: a quiet console, and a lower threshold if asked for."""
    lower = () if thresh is None else (Setting(WATCHDOG_THRESH, survey.watchdog_thresh or 0, thresh),)
    return (*quiet_console(survey.console_level), *lower)


def lockup_lines(plan: Plan) -> list[PlanLine]:
    """Return what the drill will do besides its settings, and what it expects."""
    risk = "the kernel may report RCU stalls and soft lockups; everything that needs this CPU waits as long"
    stack = f"a report of the hard-lockup detector, with the stack of CPU {plan.target} from inside"
    return [
        ("write", f"{mask_words(plan)}: CPU {plan.target} is masked for {plan.request.seconds:g} s"),
        ("risk", risk),
        ("expect", stack),
        ("expect", f"{HARDLOCKUP_COUNT} goes up, and every CPU is alive afterwards"),
        ("way back", "the window ends by itself; the settings are restored"),
        ("way back", "if this process is killed: sdeictl drill resume"),
    ]


class LockupSteps:
    """What the drill does."""

    def __init__(self, session: Session, plan: Plan) -> None:
        self._session = session
        self._plan = plan
        self._over: str | None = None
        self._counted: bool | None = None
        self._stuck: tuple[int, ...] = ()
        self._fired = False

    def place(self) -> None:
        """Place the helper that masks its CPU."""
        mask = make_mask(self._plan, self._session.survey)
        assert mask is not None  # noqa: S101 - the plan has a target
        self._log = self._session.follow_log()
        self._masker = self._session.helper(mask.cpu, mask.opens)
        os.sched_setaffinity(0, {self._plan.watcher})

    def fire(self) -> None:
        """Mask the CPU, and wait until it is back."""
        session, plan = self._session, self._plan
        session.open_at_risk()
        session.say(f"masking CPU {plan.target} for {plan.request.seconds:g} s")
        self._before = read_number(session.root, HARDLOCKUP_COUNT)
        self._masker.go()
        self._fired = True
        session.say("waiting for the detector, and for the CPU to come back")
        self._wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + self._plan.request.seconds + RETURN_SECONDS
        while self._over is None and time.monotonic() < deadline:
            self._log.drain()
            self._over = self._masker.poll()
            self._session.sleep(POLL_SECONDS)

    def look(self) -> None:
        """See that every CPU is back, and whether the kernel counted a lockup."""
        if not self._fired:
            return
        session = self._session
        self._wait()
        if self._over:
            session.trouble.append(f"CPU {self._plan.target} could not be masked: {self._over}.")
        session.say("checking that every CPU is still alive")
        timers = session.row(TIMER_ROW)
        session.sleep(1.0)
        self._stuck = session.find_stuck(timers)
        self._log.drain()
        now = read_number(session.root, HARDLOCKUP_COUNT)
        if self._before is not None and now is not None:
            self._counted = now > self._before

    def observed(self) -> Observed:
        """Return what was observed."""
        seen = self._session.slice()
        target = self._plan.target
        assert target is not None  # noqa: S101 - the plan has a target
        return Observed(
            log=seen.log if self._fired else b"",
            overruns=seen.overruns if self._fired else 0,
            triggered=self._fired,
            returned=self._over == "",
            window=LockupMarks(target).see(parse_log(seen.log).records),
            counted=self._counted,
            stuck=self._stuck,
            changed=self._session.changed(),
            trouble=tuple(self._session.trouble),
        )
