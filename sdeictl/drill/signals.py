"""Signals while a drill runs: they are acted upon between its steps, never in the middle of one."""

import signal
from types import FrameType

from sdeictl.drill.helper import IGNORED


class InterruptedDrillError(Exception):
    """A signal came; the message is a sentence."""


class Signals:
    """Notes a signal, to be acted upon where the drill looks.

    `note` is for good: after the drill its result is still to be stored and
    shown, and a signal must not keep it from that either.
    """

    def __init__(self) -> None:
        self.step = "beginning"
        self.armed = True
        self._received: int | None = None

    def note(self) -> None:
        """Note signals from now on, until this process ends."""
        for number in IGNORED:
            signal.signal(number, self._note)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self._received = self._received or number

    def check(self) -> None:
        """Raise InterruptedDrillError if a signal came, once."""
        if self._received and self.armed:
            self.armed = False
            name = signal.Signals(self._received).name
            raise InterruptedDrillError(f"Interrupted by {name} while {self.step}.")
