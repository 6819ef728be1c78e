"""`sdeictl drill backtrace`: ask every CPU for its backtrace, one of them masked, and see who answers."""

import os
import time
from contextlib import ExitStack

from sdeictl.drill.mask import Window, WindowEvidence, make_window
from sdeictl.drill.plan import SETTLE_SECONDS, Plan
from sdeictl.drill.result import Observed
from sdeictl.drill.session import POLL_SECONDS, DrillRefusedError, Say, Session
from sdeictl.formats.interrupts import BACKTRACE_ROW, TIMER_ROW
from sdeictl.host.root import Root
from sdeictl.interlock.host import DrillHost
from sdeictl.interlock.journal import Entry
from sdeictl.interlock.refusals import PROVIDER, Reason
from sdeictl.interlock.writes import fire_sysrq
from sdeictl.klog.log import parse_log

OPEN_SECONDS = 10.0
ANSWER_SECONDS = 120.0
"""The kernel waits for 10,000 times a millisecond, which took up to 16 s where emulated."""


class BacktraceDrill(Session[Observed]):
    """One run. Without a target nobody is masked."""

    def __init__(self, root: Root, host: DrillHost, plan: Plan, entry: Entry, say: Say) -> None:
        super().__init__(root, host, entry, say)
        self._plan = plan
        self._window: Window | None = None
        self._evidence: WindowEvidence | None = None
        self._triggered = False
        self._stuck: tuple[int, ...] = ()
        self._row_moved: bool | None = None

    def place(self, stack: ExitStack) -> None:
        """Make the window; place who masks and who asks."""
        try:
            self._window = make_window(self._plan, self.host)
        except OSError as error:
            text = f"The kernel does not take the BPF program: {error.strerror}."
            raise DrillRefusedError(Reason(PROVIDER, text)) from error
        if self._window:
            stack.callback(self._window.close)
        self._log = self.follow_log(stack)
        self._masker = self.helper(stack, self._window.cpu, self._window.opens) if self._window else None
        self._trigger = self.helper(stack, self._plan.trigger, lambda: fire_sysrq("l"))
        # What would run on the masked CPU would not run until it is over.
        os.sched_setaffinity(0, {self._plan.watcher})

    def fire(self) -> None:
        """Open the window, ask every CPU, wait for the answers."""
        self._ask()
        self._wait()

    def _ask(self) -> None:
        self._requests = self.row(BACKTRACE_ROW)
        if self._window and self._masker:
            self.say(f"masking CPU {self._plan.target} for {self._plan.request.seconds:g} s")
            self._masker.go()
            deadline = time.monotonic() + OPEN_SECONDS
            while not self._see().opened and self._masker.poll() is None and time.monotonic() < deadline:
                self.sleep(POLL_SECONDS)
            if not self._see().opened:
                problem = self._masker.poll() or "it was not seen to open"
                self.trouble.append(f"The window on CPU {self._plan.target} did not open: {problem}.")
                return
        # Nothing between the window's opening and this: it does not stay open for long.
        self._trigger.go()
        self._triggered = True
        self.say("waiting for every CPU's answer, which takes 10 s and more if one is silent")

    def _see(self) -> WindowEvidence:
        self._log.drain()
        assert self._window is not None  # noqa: S101 - only asked of a masked drill
        self._evidence = self._window.see(parse_log(self._log.data()).records)
        return self._evidence

    def _wait(self) -> None:
        deadline = time.monotonic() + ANSWER_SECONDS
        while self._is_open() and time.monotonic() < deadline:
            if self._log.drain() and self._evidence and not self._evidence.held:
                self._see()
            self.sleep(POLL_SECONDS)

    def _is_open(self) -> bool:
        helpers = (self._masker, self._trigger if self._triggered else None)
        return any(helper and helper.poll() is None for helper in helpers)

    def after(self) -> None:
        """See what has become of the CPUs; also after an interruption, for the request may be out."""
        if not self._triggered:
            return
        self._wait()
        if self._window:
            self._see()
        self._log.drain()
        error = self._trigger.poll()
        if error:
            self.trouble.append(f"The request could not be sent: {error}.")
        self.say("looking whether every CPU is still alive")
        timers = self.row(TIMER_ROW)
        requests = self.row(BACKTRACE_ROW)
        if requests is not None and self._requests is not None:
            self._row_moved = requests != self._requests
        self.sleep(SETTLE_SECONDS)
        self._stuck = self.find_stuck(timers)

    def observed(self) -> Observed:
        """Return what was observed."""
        seen = self.slice()
        return Observed(
            log=seen.log if self._triggered else b"",
            overruns=seen.overruns if self._triggered else 0,
            triggered=self._triggered,
            returned=self._triggered and self._trigger.poll() == "",
            window=self._evidence or (WindowEvidence() if self._plan.target is not None else None),
            row_moved=self._row_moved,
            stuck=self._stuck,
            changed=self.changed(),
            trouble=tuple(self.trouble),
        )
