"""Values of JSON that this process did not write: each function checks one value and gives it a type."""

from __future__ import annotations

import math

DAMAGE = (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError)
"""The errors that parsing raises for a document of another shape."""
_COUNT_END = 1 << 64
"""The kernel numbers its log records with 64 bits (kernel/printk/printk_ringbuffer.h)."""


def whole(value: object) -> int:
    """Return a count; raise ValueError for anything but an integer from 0 to 2**64 - 1."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < _COUNT_END:
        raise ValueError(f"{value!r} is not a count")
    return value


def number(value: object) -> float:
    """Return a finite number; raise ValueError for anything else, OverflowError for a huge integer."""
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
        raise ValueError(f"{value!r} is not a number")
    return float(value)


def text(value: object) -> str:
    """Return a text; raise ValueError for anything else, also for one with half of a surrogate pair."""
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not text")
    value.encode()
    return value
