"""The words of the contract that benchmarks use."""

from __future__ import annotations

from sdeictl.text import Word


class PseudoNmi(Word):
    """The state of pseudo-NMI in one boot. None stands for an unknown state."""

    ON = "on"
    OFF = "off"
    NOT_APPLICABLE = "not-applicable"
    """The host is not arm64."""


class LoopKind(Word):
    """What runs the timed loop."""

    C = "c"
    """The C library of loop.c."""
    PYTHON = "python"
    """The interpreter, in an installation without the library."""
