"""Signals during a drill: the drill acts on them between its steps, never in the middle of one."""

from __future__ import annotations

import signal
from types import FrameType

from sdeictl.drill.helper import IGNORED


class InterruptedDrillError(Exception):
    """A signal interrupts the drill; the message is a sentence."""


class Signals:
    """Notes the first signal, until the drill calls check().

    Signals stay noted until this process ends: no signal must prevent the drill from storing and showing
    its result.
    """

    def __init__(self) -> None:
        self.step = "beginning"
        """The present step of the drill, a participle for the message."""
        self.armed = True
        """check() raises; a drill that can no longer stop turns this off."""
        self._received: int | None = None

    def note(self) -> None:
        """Note signals from now on instead of being ended by them."""
        for number in IGNORED:
            signal.signal(number, self._note)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self._received = self._received or number

    def check(self) -> None:
        """Raise InterruptedDrillError once if a signal was noted."""
        if self._received and self.armed:
            self.armed = False
            name = signal.Signals(self._received).name
            raise InterruptedDrillError(f"Interrupted by {name} while {self.step}.")
