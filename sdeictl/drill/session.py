"""What every drill does before and after what it is there for, whatever way it ends."""

import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Generic, NamedTuple, TypeVar

from sdeictl.drill.helper import Helper, HelperError, find_stuck
from sdeictl.drill.plan import SETTLE_SECONDS
from sdeictl.drill.signals import InterruptedDrillError, Signals
from sdeictl.formats.interrupts import TIMER_ROW, parse_interrupts
from sdeictl.host.kmsg import KmsgFollower, open_end
from sdeictl.host.root import Root
from sdeictl.interlock.host import DrillHost, read_idle_usage, read_online, read_setting
from sdeictl.interlock.journal import (
    EXPERIMENT,
    BusyError,
    Entry,
    JournalError,
    Lock,
    end_journal,
    read_journal,
    write_journal,
)
from sdeictl.interlock.refusals import POLICY, PRIVILEGE, Reason
from sdeictl.interlock.writes import fire_latency_request, fire_setting
from sdeictl.klog.log import parse_log

INTERRUPTS = "/proc/interrupts"
QUIET_SECONDS = 0.5
"""How long no CPU may have used a deeper idle state, once they are held out of them."""
READY_SECONDS = 10.0
ALIVE_SECONDS = 10.0
"""How long something pinned to a CPU may take to run there."""
LOST_SECONDS = 40.0
"""The same where a CPU is wedged: a detector that asks it for its backtrace waits 10 s, its own CPU masked,
and begins anew soon (nmi_trigger_cpumask_backtrace); that CPU is not lost."""
FINISH_SECONDS = 30.0
POLL_SECONDS = 0.01

Say = Callable[[str], None]
Count = dict[int, int] | None
Seen = TypeVar("Seen")
"""What a drill has observed."""
Kept = TypeVar("Kept")


class DrillRefusedError(Exception):
    """Something came up against the drill before its trigger."""

    def __init__(self, *reasons: Reason) -> None:
        super().__init__(" ".join(reason.text for reason in reasons))
        self.reasons = reasons


class Slice(NamedTuple):
    """What was logged while a drill ran."""

    log: bytes = b""
    """Records of /dev/kmsg, from before the trigger."""
    overruns: int = 0


def put_back(root: Root, entry: Entry) -> None:
    """Put back what a drill has changed; what somebody else has set since stays."""
    for setting in reversed(entry.settings):
        if read_setting(root, setting.path) == setting.chosen:
            fire_setting(setting.path, setting.found)


class Session(Generic[Seen]):
    """One run of a drill. However it ends, the host is as it was found, or the journal says what is not."""

    def __init__(self, root: Root, host: DrillHost, entry: Entry, say: Say) -> None:
        self.root = root
        self.host = host
        self.entry = entry
        self.signals = Signals()
        self.follower: KmsgFollower | None = None
        self.trouble: list[str] = []
        """Why it did not go as planned, as sentences."""
        self._say = say

    def run(self, keep: Callable[[Seen], Kept]) -> Kept:
        """Do it, and return what `keep` makes of what was observed.

        The journal ends after that: a drill that is killed before its result is kept has not ended.
        Raises DrillRefusedError if it was not begun.
        """
        self.signals.note()
        with ExitStack() as held:
            self._write_down(held)
            try:
                self._carry_out()
            except DrillRefusedError:
                end_journal()
                raise
            kept = keep(self.observed())
            end_journal()
            return kept

    def _carry_out(self) -> None:
        with ExitStack() as stack:
            stack.callback(put_back, self.root, self.entry)
            try:
                self._begin(stack)
                self.say("placing the helpers")
                self.place(stack)
                self.change_settings()
                self.fire()
            except InterruptedDrillError as interruption:
                self.trouble.append(str(interruption))
            # From here on nothing is gained by stopping early.
            self.signals.armed = False
            self.after()
            self.say("putting everything back")

    # What each drill is there for

    def place(self, stack: ExitStack) -> None:
        """Place the helpers, and follow the log."""
        raise NotImplementedError

    def fire(self) -> None:
        """Do what the drill is for; a signal may end it."""
        raise NotImplementedError

    def after(self) -> None:
        """See what has become of the CPUs; also after an interruption, for a request may be out."""
        raise NotImplementedError

    def observed(self) -> Seen:
        """Return what was observed; everything is put back by then."""
        raise NotImplementedError

    def say(self, step: str) -> None:
        """Tell which step comes next; raise InterruptedDrillError if a signal came."""
        self.signals.check()
        self.signals.step = step
        self.tell(step)

    def tell(self, step: str) -> None:
        """Tell which step comes next, where no signal stops it any more."""
        self._say(step)

    def sleep(self, seconds: float) -> None:
        """Wait; raise InterruptedDrillError if a signal came."""
        deadline = time.monotonic() + seconds
        while True:
            self.signals.check()
            left = deadline - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(left, 0.1))

    # Before

    def _begin(self, stack: ExitStack) -> None:
        """Hold the CPUs out of deep idle, see that all are alive."""
        stack.callback(os.sched_setaffinity, 0, os.sched_getaffinity(0))
        self.say(f"holding the CPUs out of their deeper idle states for {SETTLE_SECONDS:g} s")
        timers = self.row(TIMER_ROW)
        if self.host.has_cpu_latency:
            # Before the helpers, which thus hold it too: of a killed drill the last one lets go of it.
            stack.callback(os.close, fire_latency_request())
        self.sleep(SETTLE_SECONDS)
        self.check_idle()
        self.say("looking whether every CPU is alive")
        stuck = self.find_stuck(timers)
        if stuck:
            cpus = ", ".join(map(str, stuck))
            text = f"Nothing can be run on CPU {cpus}: it is stuck already, or not open to this process."
            raise DrillRefusedError(Reason(POLICY, text))

    def _write_down(self, held: ExitStack) -> None:
        """Take the lock, put the intent on disk."""
        # No signal ends it here: what is not yet written down cannot be ended.
        self.signals.step = "writing down what will be put back"
        self.tell(self.signals.step)
        try:
            self.lock = Lock()
            held.callback(self.lock.release)
            if os.path.exists(EXPERIMENT):
                text = "An experiment of `bench ab` has not ended: `sdeictl bench resume --stop` ends it."
                raise DrillRefusedError(Reason(POLICY, text))
            pending = read_journal()
            if pending:
                text = f"The drill {pending.id} was killed: `sdeictl drill resume` puts back what it left."
                raise DrillRefusedError(Reason(POLICY, text))
            write_journal(self.entry)
        except BusyError as error:
            raise DrillRefusedError(
                Reason(POLICY, "Another drill is running, or has not ended yet.")
            ) from error
        except JournalError as error:
            raise DrillRefusedError(Reason(PRIVILEGE, str(error))) from error

    def check_idle(self) -> None:
        """Raise DrillRefusedError if a CPU goes on to use a deeper idle state."""
        usage = read_idle_usage(self.root, self.host.online)
        self.sleep(QUIET_SECONDS)
        now = read_idle_usage(self.root, self.host.online)
        moved = sorted({cpu for cpu, state in now if now[cpu, state] != usage.get((cpu, state))})
        if moved:
            cpus = ", ".join(map(str, moved))
            text = f"CPU {cpus} still enters a deeper idle state although /dev/cpu_dma_latency is held at 0."
            raise DrillRefusedError(Reason(POLICY, text))

    def follow_log(self, stack: ExitStack) -> KmsgFollower:
        """Begin to follow the kernel log."""
        try:
            self.follower = KmsgFollower(open_end())
        except OSError as error:
            text = f"The kernel log cannot be read: {error.strerror}."
            raise DrillRefusedError(Reason(PRIVILEGE, text)) from error
        stack.callback(os.close, self.follower.descriptor)
        # Load what reads it now: the CPU that is masked then may have the interrupts of the disk it lies on.
        parse_log(b"")
        return self.follower

    def helper(
        self, stack: ExitStack, cpu: int, action: Callable[[], None], seconds: float = FINISH_SECONDS
    ) -> Helper:
        """Place a child on a CPU that waits there for its word; in the end it is waited for so long."""
        helper = Helper(cpu, action)
        stack.callback(helper.finish, seconds)
        try:
            helper.wait_ready(READY_SECONDS)
        except HelperError as error:
            raise DrillRefusedError(Reason(POLICY, str(error))) from error
        return helper

    def change_settings(self) -> None:
        """Make the changes that the journal has noted."""
        for setting in self.entry.settings:
            self.say(f"setting {setting.path} to {setting.chosen} (now {setting.found})")
            fire_setting(setting.path, setting.chosen)

    # After

    def find_stuck(self, timers: Count) -> tuple[int, ...]:
        """Return the CPUs whose timer has not ticked since and on which nothing runs either.

        An idle CPU, or one of nohz_full, may not tick for long: so one has to try.
        """
        now = self.row(TIMER_ROW)
        still = [
            cpu for cpu in self.host.online
            if timers is None or now is None or now.get(cpu) == timers.get(cpu)
        ]  # fmt: skip
        return find_stuck(tuple(still), ALIVE_SECONDS)

    def row(self, row: str) -> Count:
        """Return the counts of a row of /proc/interrupts; None without it."""
        try:
            return parse_interrupts(self.root.read(INTERRUPTS).decode("utf-8", "replace"), row)
        except OSError:
            return None

    def slice(self) -> Slice:
        """Return what has been logged since the log is followed."""
        if not self.follower:
            return Slice()
        return Slice(self.follower.data(), self.follower.overruns)

    def changed(self) -> bool:
        """Tell whether a CPU came or went since the drill began."""
        return read_online(self.root) != self.host.online
