"""Messages of printk about lost records: kernel/printk/printk.c (Linux 7.3)."""

from __future__ import annotations

import re

DROPPED = "printk messages dropped"
_DROPPED = re.compile(rf"\*\* (\d{{1,9}}) {DROPPED} \*\*", re.ASCII)

PUBLIC = (rf"\*\* \d+ {DROPPED}",)


def dropped_records(line: str) -> int:
    """Return how many records a console dropped, as this line says; 0 if it is another line."""
    match = _DROPPED.search(line) if DROPPED in line else None
    return int(match[1]) if match else 0
