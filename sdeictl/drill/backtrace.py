"""`sdeictl drill backtrace`: ask every CPU for its backtrace, one of them masked, and see who answers."""

import os
import time
from collections.abc import Callable
from contextlib import ExitStack

from sdeictl.drill.fire import fire_console_level, fire_latency_request, fire_sysrq
from sdeictl.drill.guard import POLICY, PRIVILEGE, PROVIDER, Reason
from sdeictl.drill.helper import Helper, HelperError, find_stuck
from sdeictl.drill.host import DrillHost, read_boot_id, read_console_level, read_idle_usage, read_online
from sdeictl.drill.journal import (
    BusyError,
    Entry,
    JournalError,
    Lock,
    end_journal,
    read_journal,
    write_journal,
)
from sdeictl.drill.kmsg import KmsgFollower, open_kmsg
from sdeictl.drill.plan import QUIET_CONSOLE, SETTLE_SECONDS, Plan
from sdeictl.drill.result import Observed
from sdeictl.drill.signals import InterruptedDrillError, Signals
from sdeictl.drill.window import Window, WindowEvidence, make_window
from sdeictl.interrupts import BACKTRACE_ROW, TIMER_ROW, parse_interrupts
from sdeictl.klog import parse_log
from sdeictl.root import Root

INTERRUPTS = "/proc/interrupts"
QUIET_SECONDS = 0.5
"""How long no CPU may have used a deeper idle state, once they are held out of them."""
READY_SECONDS = 10.0
ALIVE_SECONDS = 10.0
"""How long something pinned to a CPU may take to run there."""
OPEN_SECONDS = 10.0
ANSWER_SECONDS = 120.0
"""The kernel waits for 10,000 times a millisecond, which took up to 16 s where emulated."""
FINISH_SECONDS = 30.0
POLL_SECONDS = 0.01

Say = Callable[[str], None]
Count = dict[int, int] | None


class DrillRefusedError(Exception):
    """Something came up against the drill before its trigger."""

    def __init__(self, *reasons: Reason) -> None:
        super().__init__(" ".join(reason.text for reason in reasons))
        self.reasons = reasons


def put_back(root: Root, entry: Entry) -> None:
    """Put back what a drill has changed, and note that it is done."""
    if entry.console_level is not None and read_console_level(root) == entry.quiet_level:
        fire_console_level(entry.console_level)
    end_journal()


class BacktraceDrill:
    """One run. Whatever way it ends, the host is as it was found, or the journal says what is not."""

    def __init__(self, root: Root, host: DrillHost, plan: Plan, identifier: str, say: Say) -> None:
        self._root = root
        self._host = host
        self._plan = plan
        self._id = identifier
        self._tell = say
        self._signals = Signals()
        self._window: Window | None = None
        self._evidence: WindowEvidence | None = None
        self._triggered = False
        self._stuck: tuple[int, ...] = ()
        self._row_moved: bool | None = None
        self._trouble: list[str] = []

    def run(self) -> Observed:
        """Do it and return what was observed; raise DrillRefusedError if it was not begun."""
        self._signals.note()
        with ExitStack() as stack:
            try:
                self._prepare(stack)
                self._ask()
                self._wait()
            except InterruptedDrillError as interruption:
                self._trouble.append(str(interruption))
            # From here on nothing is gained by stopping early.
            self._signals.armed = False
            self._after()
            self._say("putting everything back")
        return self._observed()

    def _say(self, step: str) -> None:
        self._signals.check()
        self._signals.step = step
        self._tell(step)

    # Before

    def _prepare(self, stack: ExitStack) -> None:
        stack.callback(os.sched_setaffinity, 0, os.sched_getaffinity(0))
        self._say("writing down what will be put back")
        self._begin(stack)
        self._say(f"holding the CPUs out of their deeper idle states for {SETTLE_SECONDS:g} s")
        timers = self._row(TIMER_ROW)
        if self._host.has_cpu_latency:
            # Before the helpers, which thus hold it too: of a killed drill the last one lets go of it.
            stack.callback(os.close, fire_latency_request())
        self._sleep(SETTLE_SECONDS)
        self._check_idle()
        self._say("looking whether every CPU is alive")
        stuck = self._find_stuck(timers)
        if stuck:
            cpus = ", ".join(map(str, stuck))
            text = f"Nothing can be run on CPU {cpus}: it is stuck already, or not open to this process."
            raise DrillRefusedError(Reason(POLICY, text))
        self._say("placing the helpers")
        self._place(stack)
        self._quieten()

    def _begin(self, stack: ExitStack) -> None:
        try:
            stack.callback(Lock().release)
            pending = read_journal()
            if pending:
                text = f"The drill {pending.id} was killed: `sdeictl drill resume` puts back what it left."
                raise DrillRefusedError(Reason(POLICY, text))
            level = read_console_level(self._root)
            lower = level is not None and level > QUIET_CONSOLE
            entry = Entry(
                self._id, "backtrace", read_boot_id(self._root), os.getpid(),
                level if lower else None, QUIET_CONSOLE if lower else None,
            )  # fmt: skip
            write_journal(entry)
        except BusyError as error:
            raise DrillRefusedError(
                Reason(POLICY, "Another drill is running, or has not ended yet.")
            ) from error
        except JournalError as error:
            raise DrillRefusedError(Reason(PRIVILEGE, str(error))) from error
        stack.callback(put_back, self._root, entry)
        self._entry = entry

    def _check_idle(self) -> None:
        usage = read_idle_usage(self._root, self._plan.online)
        self._sleep(QUIET_SECONDS)
        now = read_idle_usage(self._root, self._plan.online)
        moved = sorted({cpu for cpu, state in now if now[cpu, state] != usage.get((cpu, state))})
        if moved:
            cpus = ", ".join(map(str, moved))
            text = f"CPU {cpus} still enters a deeper idle state although /dev/cpu_dma_latency is held at 0."
            raise DrillRefusedError(Reason(POLICY, text))

    def _place(self, stack: ExitStack) -> None:
        try:
            self._window = make_window(self._plan, self._host)
        except OSError as error:
            text = f"The kernel does not take the BPF program: {error.strerror}."
            raise DrillRefusedError(Reason(PROVIDER, text)) from error
        if self._window:
            stack.callback(self._window.close)
        try:
            self._follower = KmsgFollower(open_kmsg())
        except OSError as error:
            text = f"The kernel log cannot be read: {error.strerror}."
            raise DrillRefusedError(Reason(PRIVILEGE, text)) from error
        stack.callback(os.close, self._follower.descriptor)
        self._masker = self._helper(stack, self._window.cpu, self._window.opens) if self._window else None
        self._trigger = self._helper(stack, self._plan.trigger, lambda: fire_sysrq("l"))
        # What would run on the masked CPU would not run until it is over.
        os.sched_setaffinity(0, {self._plan.watcher})

    def _helper(self, stack: ExitStack, cpu: int, action: Callable[[], None]) -> Helper:
        helper = Helper(cpu, action)
        stack.callback(helper.finish, FINISH_SECONDS)
        try:
            helper.wait_ready(READY_SECONDS)
        except HelperError as error:
            raise DrillRefusedError(Reason(POLICY, str(error))) from error
        return helper

    def _quieten(self) -> None:
        if self._entry.quiet_level is not None:
            self._say(f"lowering the console level from {self._entry.console_level} to {QUIET_CONSOLE}")
            fire_console_level(QUIET_CONSOLE)

    # The request

    def _ask(self) -> None:
        self._requests = self._row(BACKTRACE_ROW)
        if self._window and self._masker:
            self._say(f"masking CPU {self._plan.target} for {self._plan.request.seconds:g} s")
            self._masker.go()
            deadline = time.monotonic() + OPEN_SECONDS
            while not self._see().opened and self._masker.poll() is None and time.monotonic() < deadline:
                self._sleep(POLL_SECONDS)
            if not self._see().opened:
                problem = self._masker.poll() or "it was not seen to open"
                self._trouble.append(f"The window on CPU {self._plan.target} did not open: {problem}.")
                return
        # Nothing between the window's opening and this: it does not stay open for long.
        self._trigger.go()
        self._triggered = True
        self._say("waiting for every CPU's answer, which takes 10 s and more if one is silent")

    def _see(self) -> WindowEvidence:
        self._follower.drain()
        assert self._window is not None  # noqa: S101 - only asked of a masked drill
        self._evidence = self._window.see(parse_log(self._follower.data()).records)
        return self._evidence

    def _wait(self) -> None:
        deadline = time.monotonic() + ANSWER_SECONDS
        while self._is_open() and time.monotonic() < deadline:
            if self._follower.drain() and self._evidence and not self._evidence.held:
                self._see()
            self._sleep(POLL_SECONDS)

    def _is_open(self) -> bool:
        helpers = (self._masker, self._trigger if self._triggered else None)
        return any(helper and helper.poll() is None for helper in helpers)

    # After

    def _after(self) -> None:
        """See what has become of the CPUs; also after an interruption, for the request may be out."""
        if not self._triggered:
            return
        self._wait()
        if self._window:
            self._see()
        self._follower.drain()
        error = self._trigger.poll()
        if error:
            self._trouble.append(f"The request could not be sent: {error}.")
        self._say("looking whether every CPU is still alive")
        timers = self._row(TIMER_ROW)
        requests = self._row(BACKTRACE_ROW)
        if requests is not None and self._requests is not None:
            self._row_moved = requests != self._requests
        self._sleep(SETTLE_SECONDS)
        self._stuck = self._find_stuck(timers)

    def _find_stuck(self, timers: Count) -> tuple[int, ...]:
        """Return the CPUs whose timer has not ticked since and on which nothing runs either.

        An idle CPU, or one of nohz_full, may not tick for long: so one has to try.
        """
        now = self._row(TIMER_ROW)
        still = [
            cpu for cpu in self._plan.online
            if timers is None or now is None or now.get(cpu) == timers.get(cpu)
        ]  # fmt: skip
        return find_stuck(tuple(still), ALIVE_SECONDS)

    def _row(self, row: str) -> Count:
        try:
            return parse_interrupts(self._root.read(INTERRUPTS).decode("utf-8", "replace"), row)
        except OSError:
            return None

    def _sleep(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while True:
            self._signals.check()
            left = deadline - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(left, 0.1))

    def _observed(self) -> Observed:
        return Observed(
            log=self._follower.data() if self._triggered else b"",
            overruns=self._follower.overruns if self._triggered else 0,
            triggered=self._triggered,
            returned=self._triggered and self._trigger.poll() == "",
            window=self._evidence or (WindowEvidence() if self._plan.target is not None else None),
            row_moved=self._row_moved,
            stuck=self._stuck,
            changed=read_online(self._root) != self._plan.online,
            trouble=tuple(self._trouble),
        )
