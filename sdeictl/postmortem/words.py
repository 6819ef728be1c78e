"""The words of `sdeictl.postmortem/1`."""

from __future__ import annotations

from sdeictl.text import Word

POSTMORTEM_SCHEMA = "sdeictl.postmortem/1"


class End(Word):
    """How a boot ended."""

    CLEAN = "clean"
    """By a reboot, a halt or a power-off in good order."""
    PANIC = "panic"
    HARD_LOCKUP = "hard-lockup"
    """By a panic of the hard-lockup detector."""
    RESET = "reset"
    """The log simply stops: a reset, a power cut, or a crash that left no other evidence."""
    UNKNOWN = "unknown"
    RUNNING = "running"
    """It has not ended."""

    @property
    def is_crash(self) -> bool:
        """Tell whether the kernel did not end in good order."""
        return self in (End.PANIC, End.HARD_LOCKUP, End.RESET)


class DumpState(Word):
    """What became of the crash dump."""

    COMPLETE = "complete"
    INCOMPLETE = "incomplete"
    """It was not written to its end."""
    NONE = "none"
    UNKNOWN = "unknown"
    """There is a file, and it cannot be read."""
