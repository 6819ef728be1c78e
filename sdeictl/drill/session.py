"""The session of a drill: the lock, the journal and the order of the steps, which all drills share."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import NoReturn, Protocol, TypeVar

from sdeictl.drill.case import Case, DrillRefusedError, Tell, describe_drill
from sdeictl.drill.helper import Helper, HelperError, find_stuck
from sdeictl.drill.result import DrillResult
from sdeictl.drill.signals import InterruptedDrillError, Signals
from sdeictl.errors import SdeictlError, Status, error_text
from sdeictl.formats.interrupts import TIMER_ROW, parse_interrupts
from sdeictl.host.files import exists
from sdeictl.host.kmsg import KmsgFollower, open_end
from sdeictl.host.paths import CPU_LATENCY, EXPERIMENT_JOURNAL, INTERRUPTS
from sdeictl.host.root import Root
from sdeictl.interlock.journal import (
    Affinity,
    Entry,
    JournalError,
    close_journal,
    read_journal,
    write_journal,
)
from sdeictl.interlock.lock import BusyError, Lock
from sdeictl.interlock.refusals import Reason, ReasonKind
from sdeictl.interlock.results import DrillDocument, WindowDocument, write_result
from sdeictl.interlock.survey import read_online
from sdeictl.interlock.writes import (
    fire_affinities,
    fire_latency_request,
    fire_marker,
    fire_setting,
    read_printers,
)
from sdeictl.klog.log import parse_log
from sdeictl.probe.settings import read_idle_usage, read_number
from sdeictl.text import NamedTuple, list_cpus

SETTLE_SECONDS = 1.0
"""How long the latency request is held before the first request to a CPU."""
QUIET_SECONDS = 0.5
"""How long no CPU may enter a deeper idle state while the latency request is held."""
READY_SECONDS = 10.0
"""How long a helper may take until it runs on its CPU."""
ALIVE_SECONDS = 10.0
"""How long a task that is pinned to a CPU may take until it runs there."""
LOST_SECONDS = 40.0
"""The same while another CPU is wedged. A detector that asks the wedged CPU for a backtrace waits for it 10 s
with its own CPU masked (nmi_trigger_cpumask_backtrace()), and soon asks again: its own CPU is not lost."""
FINISH_SECONDS = 30.0
"""How long a helper may take to end."""
POLL_SECONDS = 0.01

Counts = dict[int, int]
"""A row of /proc/interrupts: the count of each CPU."""
Seen = TypeVar("Seen")
"""The observations of a drill."""
Seen_co = TypeVar("Seen_co", covariant=True)


class Steps(Protocol[Seen_co]):
    """The steps that differ between drills, in this order."""

    def place(self) -> None:
        """Place the helpers on their CPUs, and follow the kernel log."""

    def fire(self) -> None:
        """Do the experiment of the drill; a signal may interrupt it."""

    def look(self) -> None:
        """Look at the state of the CPUs, also after an interruption: a request may be on its way."""

    def observed(self) -> Seen_co:
        """Return the observations; everything is restored by then."""


def observe(session: Session, steps: Steps[Seen]) -> Seen:
    """Carry out a drill and return its observations. Raises DrillRefusedError, OSError.

    Everything is restored when it returns or raises.
    """
    with session.restoring():
        try:
            session.hold_idle()
            session.check_alive()
            session.say("placing the helpers")
            steps.place()
            session.change_settings()
            steps.fire()
        except InterruptedDrillError as interruption:
            session.trouble.append(str(interruption))
        # The CPUs must be looked at and restored in any case, so a signal no longer stops the drill.
        session.signals.armed = False
        steps.look()
        session.say("restoring everything")
    return steps.observed()


def restore_settings(root: Root, entry: Entry) -> None:
    """Restore what a drill has changed in this boot; a value that another program set later stays.

    Raises OSError if a value cannot be restored.
    """
    for setting in reversed(entry.settings):
        if read_number(root, setting.path) in (setting.chosen, None):  # None: it cannot be read
            fire_setting(setting.path, setting.found)
    fire_affinities({each.pid: each.cpus for each in entry.affinities})


def _interrupted_by(error: OSError) -> SdeictlError:
    hint = "`sdeictl drill status` shows the changes that remain"
    return SdeictlError(f"the drill could not go on ({error_text(error)}); {hint}", Status.UNKNOWN)


class Slice(NamedTuple):
    """The part of the kernel log that was logged during a drill."""

    log: bytes = b""
    """In the format of /dev/kmsg, from before the trigger on."""
    overruns: int = 0
    """How often records were overwritten before the drill read them."""


class Session:
    """One run of a drill. As a context manager it takes the lock and writes the journal.

    After the run the host is as before, or the journal lists the settings that are not. The journal stays
    until end(): a drill that is killed before its result is stored has not ended.
    """

    def __init__(self, case: Case, entry: Entry, tell: Tell) -> None:
        self.case = case
        self.root, self.survey = case.root, case.survey
        self.entry = entry
        self.tell = tell
        self.signals = Signals()
        self.trouble: list[str] = []
        """Why the drill did not go as planned, sentences."""
        self._follower: KmsgFollower | None = None
        self._stack = ExitStack()
        """The calls that restore the host."""

    def __enter__(self) -> Session:
        self.signals.note()
        # Without say(): a signal must not interrupt this step, because the journal is not written yet.
        self.signals.step = "writing down what will be restored"
        self.tell(self.signals.step)
        try:
            self.lock = Lock()
        except BusyError:
            self.refuse(ReasonKind.POLICY, "Another drill is running, or has not ended yet.")
        except JournalError as error:
            self.refuse(ReasonKind.PRIVILEGE, str(error))
        except OSError as error:
            raise _interrupted_by(error) from error
        try:
            self._open_journal()
        except BaseException:
            self.lock.release()
            raise
        return self

    @contextmanager
    def _needing_journal(self) -> Iterator[None]:
        """Refuse the drill if the journal cannot be used."""
        try:
            yield
        except JournalError as error:
            self.refuse(ReasonKind.PRIVILEGE, str(error))

    def _open_journal(self) -> None:
        if exists(EXPERIMENT_JOURNAL):
            text = "An experiment of `bench ab` has not ended: `sdeictl bench resume --stop` ends it."
            self.refuse(ReasonKind.POLICY, text)
        with self._needing_journal():
            pending = read_journal()
            if not pending:
                write_journal(self.entry)
        if pending:
            text = f"The drill {pending.id} has not ended: `sdeictl drill resume` restores its changes."
            self.refuse(ReasonKind.POLICY, text)

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        try:
            if isinstance(error, DrillRefusedError):
                close_journal()
        except OSError as failure:
            raise _interrupted_by(failure) from failure
        finally:
            self.lock.release()
        if isinstance(error, OSError):
            raise _interrupted_by(error) from error

    def end(
        self, result: DrillResult, log: bytes = b"", window: WindowDocument | None = None
    ) -> DrillDocument:
        """Store the result with its log slice, and close the journal: everything is restored.

        If the result cannot be stored, the returned document says so. The journal then stays with the
        result, until `drill resume` stores it. Raises OSError if the journal cannot be closed.
        """
        document = describe_drill(self.case.identity, self.tell, result, log, window)
        try:
            write_result(document, log)
        except OSError as error:
            return self._note_unstored(document, error)
        close_journal()
        return document

    def _note_unstored(self, document: DrillDocument, error: OSError) -> DrillDocument:
        document["evidence"] = None
        document.pop("evidence_sha256", None)
        hint = "`sdeictl drill resume` tries again"
        ended = self.entry._replace(settings=(), affinities=(), unstored=document)
        try:
            write_journal(ended)
        except JournalError:  # the entry before this one stays, and is resumed as that of a killed drill
            hint = "`sdeictl drill resume` ends the drill without it"
        why = f"The result could not be stored ({error.strerror}): {hint}."
        return {**document, "reasons": [*document["reasons"], why]}

    @contextmanager
    def restoring(self) -> Iterator[None]:
        """Restore everything on exit: settings, affinity, helpers, the latency request."""
        with self._stack as stack:
            stack.callback(lambda: restore_settings(self.root, self.entry))
            stack.callback(os.sched_setaffinity, 0, os.sched_getaffinity(0))
            yield

    def at_end(self, call: Callable[[], object]) -> None:
        """Add a call that restores something; the last one added runs first."""
        self._stack.callback(call)

    def refuse(self, kind: ReasonKind, text: str) -> NoReturn:
        """Raise DrillRefusedError."""
        raise DrillRefusedError(self.case.identity, (Reason(kind, text),))

    def say(self, step: str) -> None:
        """Announce the next step; raise InterruptedDrillError if a signal was noted."""
        self.signals.check()
        self.signals.step = step
        self.tell(step)

    def sleep(self, seconds: float) -> None:
        """Wait for some seconds; raise InterruptedDrillError if a signal was noted."""
        deadline = time.monotonic() + seconds
        while True:
            self.signals.check()
            left = deadline - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(left, 0.1))

    # Before the experiment

    def hold_idle(self) -> None:
        """Keep the CPUs out of their deeper idle states; raise DrillRefusedError if one still enters one."""
        self.say(f"holding the CPUs out of their deeper idle states for {SETTLE_SECONDS:g} s")
        self._timers = self.row(TIMER_ROW)
        if self.survey.has_cpu_latency:
            # Later helpers inherit the descriptor. If the drill is killed, its last helper releases it.
            self.at_end(partial(os.close, fire_latency_request()))
        self.sleep(SETTLE_SECONDS)
        self.check_idle()

    def check_idle(self) -> None:
        """Raise DrillRefusedError if a CPU still enters a deeper idle state."""
        usage = read_idle_usage(self.root, self.survey.online)
        self.sleep(QUIET_SECONDS)
        now = read_idle_usage(self.root, self.survey.online)
        moved = sorted({cpu for cpu, state in now if now[cpu, state] != usage.get((cpu, state))})
        if moved:
            cpus = list_cpus(moved)
            text = f"CPU {cpus} still enters a deeper idle state, although {CPU_LATENCY} is held at 0."
            self.refuse(ReasonKind.POLICY, text)

    def check_alive(self) -> None:
        """Raise DrillRefusedError if a CPU is stuck before the drill."""
        self.say("checking that every CPU is alive")
        stuck = self.find_stuck(self._timers)
        if stuck:
            text = f"Nothing runs on CPU {list_cpus(stuck)}: it is stuck already, or closed to this process."
            self.refuse(ReasonKind.POLICY, text)

    def follow_log(self) -> KmsgFollower:
        """Follow the kernel log from now on; raise DrillRefusedError if it cannot be read."""
        try:
            self._follower = KmsgFollower(open_end())
        except OSError as error:
            self.refuse(ReasonKind.PRIVILEGE, f"The kernel log cannot be read: {error.strerror}.")
        self.at_end(partial(os.close, self._follower.descriptor))
        # Import the parser now: its file may be on a disk with interrupts on the CPU that will be masked.
        parse_log(b"")
        return self._follower

    def helper(self, cpu: int, action: Callable[[], None], seconds: float = FINISH_SECONDS) -> Helper:
        """Place a helper on a CPU; at the end wait at most some seconds until it has ended.

        Raises DrillRefusedError if it does not run there.
        """
        helper = Helper(cpu, action)
        self.at_end(partial(helper.finish, seconds))
        try:
            helper.wait_ready(READY_SECONDS)
        except HelperError as error:
            self.refuse(ReasonKind.POLICY, str(error))
        return helper

    def change_settings(self) -> None:
        """Change the settings that the journal lists."""
        for setting in self.entry.settings:
            self.say(f"setting {setting.path} to {setting.chosen} (now {setting.found})")
            fire_setting(setting.path, setting.chosen)

    def keep_printers_off(self, cpu: int) -> None:
        """Keep the threads that print to consoles off a CPU, until the end; raise DrillRefusedError."""
        printers = read_printers(cpu)
        before = tuple(Affinity(pid, tuple(sorted(cpus))) for pid, cpus in printers.items())
        self.entry = self.entry._replace(affinities=before)
        with self._needing_journal():
            write_journal(self.entry)
        fire_affinities({pid: cpus - {cpu} for pid, cpus in printers.items()})

    def mark_fired(self) -> None:
        """Note in the journal that the host may go down from now on; raise JournalError."""
        assert self.entry.aftermath is not None  # noqa: S101 - each drill has made one
        self.entry = self.entry._replace(aftermath=self.entry.aftermath._replace(fired=True))
        write_journal(self.entry)

    def open_at_risk(self) -> None:
        """Note on disk and in the kernel log that a CPU may be lost from now on. Raises DrillRefusedError."""
        with self._needing_journal():
            self.mark_fired()
        # Where programs may not write to the log, a log that survives a reset cannot be recognised.
        with suppress(OSError):
            fire_marker(self.entry.id)

    # After the experiment

    def find_stuck(self, timers: Counts | None) -> tuple[int, ...]:
        """Return the CPUs without a timer tick since `timers` on which a pinned task does not run either.

        The task must try, because an idle CPU, or a CPU of nohz_full, can go without a tick for long.
        """
        now = self.row(TIMER_ROW)
        still = [
            cpu for cpu in self.survey.online
            if timers is None or now is None or now.get(cpu) == timers.get(cpu)
        ]  # fmt: skip
        return find_stuck(tuple(still), ALIVE_SECONDS)

    def row(self, row: str) -> Counts | None:
        """Return the counts in a row of /proc/interrupts; None without this row."""
        try:
            return parse_interrupts(self.root.read(INTERRUPTS).decode("utf-8", "replace"), row)
        except OSError:
            return None

    def slice(self) -> Slice:
        """Return the part of the log since follow_log()."""
        if not self._follower:
            return Slice()
        return Slice(self._follower.data(), self._follower.overruns)

    def changed(self) -> bool:
        """Tell whether a CPU went online or offline since the drill began."""
        return read_online(self.root) != self.survey.online
