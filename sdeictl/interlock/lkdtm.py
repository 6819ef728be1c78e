"""LKDTM, the kernel's own way to break itself: drivers/misc/lkdtm/core.c. fire.py writes to it."""

from sdeictl.host.root import Root

DIRECT = "/sys/kernel/debug/provoke-crash/DIRECT"
HARDLOCKUP, PANIC, PANIC_STOP_IRQOFF = "HARDLOCKUP", "PANIC", "PANIC_STOP_IRQOFF"
CRASH_TYPES = (HARDLOCKUP, PANIC, PANIC_STOP_IRQOFF)
"""Those that drills use."""
ENTRY = "lkdtm: Performing direct entry "
"""What the kernel logs right before it does it."""
HARDLOCKUP_FRAME = "lkdtm_HARDLOCKUP"
STOP_FRAME = "panic_stop_irqoff_fn"


def read_crash_types(root: Root) -> tuple[str, ...]:
    """Return what LKDTM can do here, () where there is none or it may not be asked."""
    try:
        text = root.read(DIRECT).decode("utf-8", "replace")
    except OSError:
        return ()
    return tuple(text.split("\n")[1:-1])
