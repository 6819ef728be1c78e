"""The reports that a backtrace request may follow from: the nearest of its CPU is the trigger. No I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from sdeictl.klog.records import Record
from sdeictl.klog.words import Trigger
from sdeictl.text import NamedTuple

TRIGGER_SECONDS = 30.0
"""A lockup or stall report does not count as the trigger of a request that comes later than this."""


class Cause(NamedTuple):
    """A line that a request may follow from."""

    kind: Trigger
    at: float | None
    cpu: int | None = None
    """The only CPU that will send the request; None if unknown."""
    target: int | None = None
    """The only CPU that the request will ask; None if unknown."""

    def fits(self, initiator: int, targets: Sequence[int], *, latest: bool) -> bool:
        """Tell whether a request follows from this line."""
        if self.cpu is not None:
            return self.cpu == initiator
        return latest or tuple(targets) == (self.target,)


class Causes:
    """The latest causes, in log order."""

    def __init__(self) -> None:
        self._latest: deque[Cause] = deque(maxlen=8)

    def add(self, cause: Cause) -> None:
        """Note a cause."""
        self._latest.append(cause)

    def latest_kind(self) -> Trigger | None:
        """Return what the latest cause is; None if there was none."""
        return self._latest[-1].kind if self._latest else None

    def trigger_of(self, record: Record, initiator: int, targets: Sequence[int]) -> Trigger:
        """Return the trigger of a request. A sysrq-l sends one request; a report may send many."""
        last = len(self._latest) - 1
        for index in range(last, -1, -1):
            cause = self._latest[index]
            if cause.at is not None and record.at is not None and record.at - cause.at > TRIGGER_SECONDS:
                break
            if cause.fits(initiator, targets, latest=index == last):
                del self._latest[index]
                if cause.kind is not Trigger.SYSRQ_L:
                    # Its next request may come as late again, because each can wait for 10 s and more.
                    self._latest.append(cause._replace(at=record.at))
                return cause.kind
        return Trigger.OTHER
