"""Messages of printk about lost records: kernel/printk/printk.c (Linux 7.3)."""

from __future__ import annotations

import re

_DROPPED = re.compile(r"\*\* (\d{1,9}) printk messages dropped \*\*", re.ASCII)

PUBLIC = (r"\*\* \d+ printk messages dropped",)


def dropped_records(line: str) -> int:
    """Return how many records a console dropped, as this line says; 0 if it is another line."""
    match = _DROPPED.search(line)
    return int(match[1]) if match else 0
