"""Messages of printk about lost records: kernel/printk/printk.c (Linux 7.3)."""

from __future__ import annotations

import re

DROPPED = "printk messages dropped"
_DROPPED = re.compile(rf"\*\* (\d{{1,9}}) {DROPPED} \*\*", re.ASCII)

MISSED = "kernel messages"
"""In the line of systemd-journald, which misses records that the kernel overwrites."""
_MISSED = re.compile(rf"systemd-journald\[\d{{1,10}}\]: Missed (\d{{1,9}}) {MISSED}", re.ASCII)


def is_drop_notice(text: str) -> bool:
    """Tell whether a text only says that a console dropped records. The kernel logs no such record."""
    return _DROPPED.fullmatch(text) is not None


def dropped_records(line: str) -> int:
    """Return how many records a console or the journal lost, as this line says; 0 if it is another line."""
    match = _DROPPED.search(line) if DROPPED in line else None
    match = _MISSED.search(line) if MISSED in line else match
    return int(match[1]) if match else 0
