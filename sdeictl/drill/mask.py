"""Masks a CPU for a bounded time, and collects what shows that the window was open."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from sdeictl.drill.plan import Plan
from sdeictl.drill.result import WindowEvidence
from sdeictl.interlock.bpf import CLOSED, NOT_OPENED, OPEN, BpfWindow
from sdeictl.interlock.survey import Survey
from sdeictl.interlock.writes import fire_bpf_window, fire_test_lockup
from sdeictl.klog.messages.backtrace import SHOW_CPU
from sdeictl.klog.messages.drills import lockup_finished, lockup_started
from sdeictl.klog.messages.request import is_request
from sdeictl.klog.records import Record


class Mask(Protocol):
    """One window on one CPU."""

    cpu: int
    """Where the helper that opens it must run."""
    opens: Callable[[], None]
    """What the helper does; it returns when the window is over."""

    def see(self, records: Sequence[Record]) -> WindowEvidence:
        """Take the new records of the log; return everything seen so far."""

    def close(self) -> None:
        """Release what the window took."""


class _Requests:
    """Whether the request has gone out.

    Before Linux 6.7 the kernel does not say so: the CPU that asks prints itself, and then each CPU that was
    asked does.
    """

    def __init__(self) -> None:
        self.sent = False
        self._shown = 0

    def see(self, text: str) -> bool:
        """Take a line of the log; tell whether it shows that the request has gone out."""
        self._shown += bool(SHOW_CPU.match(text))
        shows = is_request(text) or (self._shown > 1 and not self.sent)
        self.sent = self.sent or shows
        return shows


class LockupMarks:
    """The marks of test_lockup: it logs "Start" before it masks the CPU, "Finish" before it unmasks it.

    lib/test_lockup.c. The order of the records decides.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._requests = _Requests()
        self.seen = WindowEvidence()

    def see(self, records: Sequence[Record]) -> WindowEvidence:
        """Take the new records; return everything seen so far."""
        for record in records:
            if lockup_started(record.text, self._target):
                self.seen = self.seen._replace(opened=not self._requests.sent)
            elif self._requests.see(record.text):
                self.seen = self.seen._replace(held=self.seen.opened and not self.seen.closed)
            elif lockup_finished(record.text, self._target):
                self.seen = self.seen._replace(closed=True)
        return self.seen


class _BpfMask:
    """The program marks its map; each look shows the state at that moment."""

    def __init__(self, plan: Plan, target: int, caller: int) -> None:
        self.cpu = caller
        self._window = BpfWindow(plan.request.seconds)
        self.opens = lambda: fire_bpf_window(self._window, target)
        self._requests = _Requests()
        self._seen = WindowEvidence()

    def see(self, records: Sequence[Record]) -> WindowEvidence:
        state = self._window.state()
        for record in records:
            self._requests.see(record.text)
        sent = self._requests.sent
        self._seen = WindowEvidence(
            opened=self._seen.opened or (state != NOT_OPENED and not sent),
            held=self._seen.held or (state == OPEN and sent),
            closed=state == CLOSED,
        )
        return self._seen

    def close(self) -> None:
        self._window.close()


class _ModuleMask:
    def __init__(self, plan: Plan, target: int, survey: Survey) -> None:
        self.cpu = target
        module = survey.providers.test_lockup
        assert module is not None  # noqa: S101 - the plan was made from the same survey
        self.opens = lambda: fire_test_lockup(module, plan.request.seconds)
        self.see = LockupMarks(target).see

    def close(self) -> None:
        pass


def make_mask(plan: Plan, survey: Survey) -> Mask | None:
    """Return the window of a plan, not yet open; None if the plan masks no CPU. Raises OSError."""
    if plan.target is None:
        return None
    if plan.caller is not None:
        return _BpfMask(plan, plan.target, plan.caller)
    return _ModuleMask(plan, plan.target, survey)
