"""The bounded time in which a CPU is masked: who opens it, and what proves from inside that it was open."""

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from sdeictl.drill.plan import Plan
from sdeictl.interlock.bpf import CLOSED, NOT_OPENED, OPEN, BpfWindow
from sdeictl.interlock.host import DrillHost
from sdeictl.interlock.writes import fire_bpf_window, fire_test_lockup
from sdeictl.klog.log import Record

SENDING = re.compile(r"Sending NMI from CPU \d{1,5} to CPUs ", re.ASCII)


class WindowEvidence(NamedTuple):
    """What was seen of a window, each from inside; False is "not seen"."""

    opened: bool = False
    """It was open before the request."""
    held: bool = False
    """It was still open after the request had been sent."""
    closed: bool = False
    """It has ended."""


class Window(Protocol):
    """One window on one CPU."""

    cpu: int
    """Where the helper that opens it must run."""
    opens: Callable[[], None]
    """What the helper does; it returns when the window is over."""

    def see(self, records: Sequence[Record]) -> WindowEvidence:
        """Look at it once more, with all records of the log so far; return everything seen until now."""

    def close(self) -> None:
        """Give back what it took."""


class _BpfMask:
    """The program marks its map; each look tells what it says at that time."""

    def __init__(self, plan: Plan, target: int, caller: int) -> None:
        self.cpu = caller
        self._window = BpfWindow(plan.request.seconds)
        self.opens = lambda: fire_bpf_window(self._window, target)
        self._seen = WindowEvidence()

    def see(self, records: Sequence[Record]) -> WindowEvidence:
        state = self._window.state()
        sent = any(map(_is_sending, records))
        self._seen = WindowEvidence(
            opened=self._seen.opened or (state != NOT_OPENED and not sent),
            held=self._seen.held or (state == OPEN and sent),
            closed=state == CLOSED,
        )
        return self._seen

    def close(self) -> None:
        self._window.close()


class _ModuleMask:
    """test_lockup logs "Start" right before it masks the CPU, and "Finish" right before it unmasks it."""

    def __init__(self, plan: Plan, target: int, host: DrillHost) -> None:
        self.cpu = target
        module = host.test_lockup
        assert module is not None  # noqa: S101 - the plan was made from the same host
        self.opens = lambda: fire_test_lockup(module, plan.request.seconds)

    def see(self, records: Sequence[Record]) -> WindowEvidence:
        return read_marks(records, self.cpu)

    def close(self) -> None:
        pass


def make_window(plan: Plan, host: DrillHost) -> Window | None:
    """Return the window of a plan, not yet open; None if the plan has none. Raises OSError."""
    if plan.target is None:
        return None
    if plan.caller is not None:
        return _BpfMask(plan, plan.target, plan.caller)
    return _ModuleMask(plan, plan.target, host)


def read_marks(records: Sequence[Record], target: int) -> WindowEvidence:
    """Return what the order of the records says of a window of test_lockup (lib/test_lockup.c)."""
    marks = {f"test_lockup: Start on CPU{target}": "start"}
    opened = held = sent = closed = False
    for record in records:
        if record.text in marks:
            opened = not sent
        elif _is_sending(record):
            sent = True
            held = opened and not closed
        elif record.text.startswith(f"test_lockup: Finish on CPU{target} in "):
            closed = True
    return WindowEvidence(opened, held, closed)


def _is_sending(record: Record) -> bool:
    return bool(SENDING.match(record.text))
