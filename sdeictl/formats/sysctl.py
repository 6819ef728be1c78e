"""Values of sysctls, and of the files below /sys with the same format. No I/O."""

from __future__ import annotations

_MAX_DIGITS = 20
"""Of a number of 64 bits."""


def parse_number(text: str) -> int | None:
    """Return the first number of a value (kernel.printk has four); None if a field is not a number."""
    fields = text.split()
    if not fields or not all(field.isascii() and field.isdecimal() for field in fields):
        return None
    if max(map(len, fields)) > _MAX_DIGITS:
        return None
    return int(fields[0])
