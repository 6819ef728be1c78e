"""What a mark on a page stands for. It has a sign beside its colour, for who sees no colours."""

from __future__ import annotations

from sdeictl.text import Word


class Kind(Word):
    """The value is the class of the style sheet."""

    GOOD = "good"
    RISK = "risk"
    BAD = "bad"
    UNKNOWN = "unknown"
    OTHER = "other"
    """It does not count."""
    MISSING = "missing"
    """Nobody looked."""


SIGNS = {
    Kind.GOOD: "\u2713",
    Kind.RISK: "!",
    Kind.BAD: "\u2717",
    Kind.UNKNOWN: "?",
    Kind.OTHER: "\u2013",
    Kind.MISSING: "\u2205",
}
"""One sign for each kind: check mark, exclamation mark, cross, question mark, dash, empty set."""
