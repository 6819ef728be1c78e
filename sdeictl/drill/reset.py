"""The drills that end in a reset or a crash: `stop`, `crash` and `lockup --permanent`.

They fire here. `drill resume` judges them after the next boot, from the evidence that survived.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterator

from sdeictl.drill.aftermath import Channel, choose_channel, make_aftermath
from sdeictl.drill.case import Case, Tell, make_entry, open_case, refuse_case
from sdeictl.drill.catalog import Ending, Reset, Survivor, find_variant
from sdeictl.drill.helper import Helper, find_stuck
from sdeictl.drill.lockup import DEFAULT_THRESH, THRESHOLDS
from sdeictl.drill.plan import risk_lines, setting_line
from sdeictl.drill.result import DrillResult
from sdeictl.drill.session import LOST_SECONDS, Session, observe
from sdeictl.host.paths import (
    CONSOLE_LEVEL,
    HARDLOCKUP_PANIC,
    KEXEC_CRASH_LOADED,
    KEXEC_CRASH_SIZE,
    PANIC_SECONDS,
)
from sdeictl.host.root import Root
from sdeictl.interlock.arming import disarm
from sdeictl.interlock.consent import Consent
from sdeictl.interlock.dry_run import PlanLine
from sdeictl.interlock.journal import Aftermath, JournalError, Setting
from sdeictl.interlock.lkdtm import HARDLOCKUP
from sdeictl.interlock.refusals import (
    Reason,
    ReasonKind,
    refusals_for_detector,
    refusals_for_dump,
    refusals_for_dump_watchdogs,
    refusals_for_heartbeats,
    refusals_for_host,
    refusals_for_lkdtm,
    refusals_for_memory,
    refusals_for_panics,
    refusals_for_risk,
    refusals_for_target,
    refusals_for_watchdogs,
    refusals_for_way_back,
    try_makedumpfile,
)
from sdeictl.interlock.results import DrillDocument
from sdeictl.interlock.survey import Survey, default_target
from sdeictl.interlock.writes import fire_lkdtm, fire_marker, fire_sysrq
from sdeictl.klog.kmsg import parse_head
from sdeictl.klog.messages.backtrace import HEADER
from sdeictl.klog.messages.drills import LKDTM_ENTRY
from sdeictl.klog.messages.lockups import HARD_LOCKUP_ON
from sdeictl.klog.messages.request import TIMED_OUT
from sdeictl.probe.drills import DrillKind, DrillOutcome
from sdeictl.probe.facts import HostFacts
from sdeictl.probe.settings import number, read_number, setting
from sdeictl.text import NamedTuple

LOUD_CONSOLE = 7
"""The kernel logs the rungs of the stop ladder as information."""
MIN_CRASH_BYTES = 128 << 20
SYNC_SECONDS = 120.0
WEDGE_SECONDS = 20.0
SETTLED_SECONDS = 2.0
"""Between the wedge and what follows: the CPU must be in its loop."""
DOWN_SECONDS = 120.0
"""How long the host may take to go down: the stop ladder takes 1 s, and longer in an emulator."""
ANSWER_SECONDS = 30.0
POLL_SECONDS = 0.2


class ResetRequest(NamedTuple):
    """What the user asked for."""

    kind: DrillKind
    variant: str | None
    cpu: int | None = None
    evidence: str | None = None
    """The file that will have the last lines of the kernel."""


class _Prepared(NamedTuple):
    case: Case
    reset: Reset
    target: int | None
    channel: Channel | None
    settings: tuple[Setting, ...]


def run_reset(request: ResetRequest, consent: Consent, tell: Tell) -> DrillDocument:
    """Run a drill that takes the host down; it returns only if the host stays up.

    Raises DrillRefusedError, SdeictlError.
    """
    case, reset, target, channel, settings = _prepare(request, consent)
    aftermath = make_aftermath(case, target, channel)
    entry = make_entry(case, settings, aftermath)
    disarm()
    with Session(case, entry, tell) as session:
        returned = observe(session, ResetSteps(session, reset, aftermath))
        outcome = DrillOutcome.LOST if returned.stuck else DrillOutcome.UNKNOWN
        return session.end(DrillResult(outcome, (returned.why,), lost_cpus=returned.stuck))


def plan_reset(request: ResetRequest, consent: Consent) -> list[PlanLine]:
    """Return what the drill would do; raise DrillRefusedError."""
    case, reset, target, channel, settings = _prepare(request, consent)
    lines = [*map(setting_line, settings), *reset_lines(reset, target, channel)]
    return [*lines, *risk_lines(case.survey, target)]


def _prepare(request: ResetRequest, consent: Consent) -> _Prepared:
    reset = find_variant(request.kind, request.variant).reset
    assert reset is not None  # noqa: S101 - only drills that take the host down come here
    case = open_case(request.kind, request.variant, providers=False)
    survey = case.survey
    channel = _channel(reset, survey.facts, request.evidence)
    refuse_case(case, refusals_for_reset(reset, survey, consent, request.cpu, channel))
    target = None
    if reset.wedges:
        target = default_target(survey) if request.cpu is None else request.cpu
    return _Prepared(case, reset, target, channel, reset_settings(reset, case.root))


def refusals_for_captured_reset(request: ResetRequest, survey: Survey, consent: Consent) -> Iterator[Reason]:
    """Yield what a capture shows against the drill; makedumpfile can be tried on the host only."""
    reset = find_variant(request.kind, request.variant).reset
    assert reset is not None  # noqa: S101 - as above
    channel = _channel(reset, survey.facts, request.evidence)
    return refusals_for_reset(reset, survey, consent, request.cpu, channel, trial=False)


def _channel(reset: Reset, facts: HostFacts, evidence: str | None) -> Channel | None:
    return choose_channel(facts, evidence) if reset.survivor is Survivor.LOG else None


def refusals_for_reset(
    reset: Reset,
    survey: Survey,
    consent: Consent,
    cpu: int | None,
    channel: Channel | None,
    *,
    trial: bool = True,
) -> Iterator[Reason]:
    """Yield every reason against the drill; without a trial, makedumpfile is not started."""
    yield from refusals_for_host(survey)
    if survey.facts.architecture != "arm64":
        return
    yield from refusals_for_risk(survey, consent)
    yield from refusals_for_lkdtm(survey, reset.crash_types)
    yield from refusals_for_heartbeats(survey)
    yield from refusals_for_memory(survey)
    yield from refusals_for_target(survey, cpu, consent.accepted_load)
    target = default_target(survey) if cpu is None and survey.online else cpu
    if reset.waits:
        yield from refusals_for_detector(survey.facts, survey.watchdog_thresh, target)
    if reset.survivor is Survivor.DUMP:
        # An armed watchdog is no way back here: it would bite in the middle of the dump.
        yield from refusals_for_way_back(survey._replace(watchdogs=()), consent)
        yield from refusals_for_dump_watchdogs(survey)
        yield from _refusals_for_kdump(survey.facts)
        if trial:
            yield from refusals_for_dump(try_makedumpfile(), consent)
        return
    yield from refusals_for_way_back(survey, consent)
    yield from refusals_for_watchdogs(survey, 0.0, (target,) if reset.wedges else ())
    # A panic would leave other evidence than the drill needs.
    yield from refusals_for_panics(survey)
    if channel is None:
        yield _no_channel(survey.facts)


def _refusals_for_kdump(facts: HostFacts) -> Iterator[Reason]:
    if setting(facts, KEXEC_CRASH_LOADED) != "1":
        text = "No crash kernel is loaded, so there would be no dump (kdump-tools, kexec-tools)."
        yield Reason(ReasonKind.PROVIDER, text)
    if 0 < (number(facts, KEXEC_CRASH_SIZE) or 0) < MIN_CRASH_BYTES:
        size = (number(facts, KEXEC_CRASH_SIZE) or 0) >> 20
        text = f"Only {size} MiB are reserved for the crash kernel (crashkernel=)."
        yield Reason(ReasonKind.POLICY, text)
    if setting(facts, PANIC_SECONDS) in (None, "0"):
        text = "kernel.panic is 0: if the crash kernel did not start, the host would hang and never reset."
        yield Reason(ReasonKind.POLICY, text)


def _no_channel(facts: HostFacts) -> Reason:
    consoles = ", ".join(facts.evidence.consoles) if facts.evidence else "unknown"
    text = (
        "Nothing carries the last lines of the kernel across a reset: this host has no ramoops console. If"
        f" somebody records a serial or net console (here: {consoles}), name the file by --evidence."
    )
    return Reason(ReasonKind.PROVIDER, text)


def reset_settings(reset: Reset, root: Root) -> tuple[Setting, ...]:
    """Return what is set before it fires."""
    wanted = [(CONSOLE_LEVEL, LOUD_CONSOLE)] if reset.survivor is Survivor.LOG else []
    if reset.ending is Ending.DETECTOR:
        wanted.append((HARDLOCKUP_PANIC, 1))
    found = [(path, read_number(root, path), value) for path, value in wanted]
    return tuple(Setting(path, now, value) for path, now, value in found if now is not None and now < value)


def reset_lines(reset: Reset, target: int | None, channel: Channel | None) -> list[PlanLine]:
    """Return what the drill will do besides its settings, and what it expects."""
    lines = [("write", "all file systems are synced to their disks")]
    if reset.wedges:
        lines.append(("write", f"LKDTM HARDLOCKUP on CPU {target}: it is masked until the host is reset"))
    endings = {
        Ending.RESET: "sysrq-b: THIS HOST IS RESET AT ONCE, nothing is shut down",
        Ending.DETECTOR: "THIS HOST PANICS when the detector reports that CPU",
    }
    lines.append(("write", endings.get(reset.ending, f"LKDTM {reset.ending.value}: THIS HOST PANICS")))
    if reset.survivor is Survivor.DUMP:
        text = "a crash dump with the registers of every CPU, the masked ones in their loop"
        lines.append(("expect", text))
    elif channel:
        where = channel.path or "the ramoops console in /sys/fs/pstore"
        what = "the detector's report with its stack" if reset.waits else "the rungs of the stop ladder"
        lines.append(("expect", f"after the reboot, in {where}: {what}"))
    text = "the host boots; then `sdeictl drill resume` judges the evidence that survived"
    return [*lines, ("way back", text)]


class Returned(NamedTuple):
    """The host did not go down."""

    why: str
    """A sentence."""
    stuck: tuple[int, ...]
    """CPUs on which nothing runs any more."""


class ResetSteps:
    """What the drill does. It comes back only if the host stays up."""

    def __init__(self, session: Session, reset: Reset, aftermath: Aftermath) -> None:
        self._session = session
        self._reset = reset
        self._aftermath = aftermath
        others = [cpu for cpu in session.survey.online if cpu != aftermath.target]
        self._watcher, self._trigger = others[0], others[:2][-1]
        self._unread: deque[bytes] = deque()
        self._stuck: tuple[int, ...] = ()
        self._why = ""

    def place(self) -> None:
        """Place the helpers that mask a CPU for good, that sync the file systems, and that end it."""
        session, ending = self._session, self._reset.ending
        self._log = session.follow_log()
        self._wedger: Helper | None = None
        if self._reset.wedges:
            assert self._aftermath.target is not None  # noqa: S101 - what wedges has a target
            # The thread of a console would stay on the wedged CPU, with everything that it has to print.
            session.keep_printers_off(self._aftermath.target)
            self._wedger = session.helper(self._aftermath.target, self._wedge, 0)
        # A reset also takes the masked CPU back where the detector should have panicked and did not.
        resets = ending in (Ending.RESET, Ending.DETECTOR)
        # Forked after the one that never comes back, which would hold the pipe of this one open.
        self._ender = session.helper(
            self._trigger, lambda: fire_sysrq("b") if resets else fire_lkdtm(ending.value)
        )
        self._syncer = session.helper(self._watcher, os.sync)
        os.sched_setaffinity(0, {self._watcher})

    def _wedge(self) -> None:
        # This helper never comes back: it must not hold the lock.
        self._session.lock.release()
        fire_lkdtm(HARDLOCKUP)

    def fire(self) -> None:
        """Sync all file systems: after a wedge that would take for ever."""
        self._session.say("syncing all file systems to their disks")
        self._syncer.go()
        if self._syncer.poll(SYNC_SECONDS) != "":
            text = f"The file systems could not be synced to their disks within {SYNC_SECONDS:g} s."
            self._session.refuse(ReasonKind.POLICY, text)
        self._session.say("noting in the journal that it fires now")

    def look(self) -> None:
        """Take the host down; no signal prevents that any more."""
        session = self._session
        if session.trouble:
            self._why = session.trouble[0]
            return
        try:
            session.mark_fired()
        except JournalError as error:
            self._why = str(error)
            return
        self._why = self._take_down()
        self._stuck = find_stuck(session.survey.online, LOST_SECONDS)

    def observed(self) -> Returned:
        """Return why the host is still up."""
        return Returned(self._why, self._stuck)

    def _take_down(self) -> str:
        fire_marker(self._session.entry.id)
        if self._wedger and (problem := self._wedge_target(self._wedger)):
            return problem
        if self._reset.waits:
            self._wait_for_detector()
        self._session.tell("taking this host down")
        self._ender.go()
        error = self._ender.poll(DOWN_SECONDS)
        return f"The host did not go down: {error or 'nothing happened'}."

    def _wedge_target(self, wedger: Helper) -> str:
        """Mask the target for good; return why that failed, "" if it did not."""
        self._session.tell(f"masking CPU {self._aftermath.target} for good")
        wedger.go()
        if not self._sees((f"{LKDTM_ENTRY}{HARDLOCKUP}",), WEDGE_SECONDS):
            problem = wedger.poll() or "the kernel did not log it"
            return f"CPU {self._aftermath.target} could not be masked: {problem}."
        time.sleep(SETTLED_SECONDS)
        return ""

    def _wait_for_detector(self) -> None:
        self._session.tell("waiting for the hard-lockup detector")
        target = self._aftermath.target
        seconds = 2 * THRESHOLDS * (self._session.survey.watchdog_thresh or DEFAULT_THRESH)
        if self._sees((f"{HARD_LOCKUP_ON}{target}",), seconds):
            # Its request for the stack comes next, for which the kernel waits 10 s and more.
            self._sees((f"{HEADER}{target}", TIMED_OUT), ANSWER_SECONDS)
        time.sleep(SETTLED_SECONDS)

    def _sees(self, texts: tuple[str, ...], seconds: float) -> bool:
        """Wait until the kernel has logged one of these; tell whether it was in time.

        Records behind it stay unread: the answer to a report may come in the same batch.
        """
        wanted = [text.encode() for text in texts]
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            # As bytes: no module may be imported any more, the wedged CPU may have the disk's interrupts.
            self._unread.extend(self._log.drain())
            while self._unread:
                record = self._unread.popleft()
                head = parse_head(record)
                if head and head.is_kernel and any(text in record for text in wanted):
                    return True
            time.sleep(POLL_SECONDS)
        return False
