"""Messages of the kernel code that drills use: drivers/misc/lkdtm/core.c, lib/test_lockup.c (Linux 7.3)."""

from __future__ import annotations

LKDTM_ENTRY = "lkdtm: Performing direct entry "
"""The crash type follows. LKDTM logs this line right before it crashes or hangs the kernel."""


def lockup_started(text: str, cpu: int) -> bool:
    """Tell whether a line says that test_lockup is about to mask this CPU."""
    return text == f"test_lockup: Start on CPU{cpu}"


def lockup_finished(text: str, cpu: int) -> bool:
    """Tell whether a line says that test_lockup is about to unmask this CPU."""
    return text.startswith(f"test_lockup: Finish on CPU{cpu} in ")
