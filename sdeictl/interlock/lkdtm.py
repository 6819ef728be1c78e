"""LKDTM, the kernel code that crashes or hangs the kernel on purpose; writes.py fires it.

drivers/misc/lkdtm/core.c and bugs.c (Linux 7.3).
"""

from __future__ import annotations

from sdeictl.host.paths import LKDTM_DIRECT
from sdeictl.host.root import Root

HARDLOCKUP, PANIC, PANIC_STOP_IRQOFF = "HARDLOCKUP", "PANIC", "PANIC_STOP_IRQOFF"
CRASH_TYPES = (HARDLOCKUP, PANIC, PANIC_STOP_IRQOFF)
"""The crash types that drills use."""
HARDLOCKUP_FRAME = "lkdtm_HARDLOCKUP"
"""Function on the stack of the CPU that HARDLOCKUP masks."""
STOP_FRAME = "panic_stop_irqoff_fn"
"""Function on the stack of each CPU that PANIC_STOP_IRQOFF masks."""


def read_crash_types(root: Root) -> tuple[str, ...]:
    """Return the crash types that LKDTM offers; () if this kernel has no LKDTM or does not show it."""
    try:
        text = root.read(LKDTM_DIRECT).decode("utf-8", "replace")
    except OSError:
        return ()
    return tuple(text.split("\n")[1:-1])
