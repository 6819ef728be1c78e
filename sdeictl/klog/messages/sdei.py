"""Messages of the SDEI driver, the SDEI cross-CPU NMI and the SDEI watchdog.

drivers/firmware/arm_sdei.c and arm_sdei_nmi.c, arch/arm64/kernel/sdei.c (Linux 7.3). The watchdog,
arch/arm64/kernel/watchdog_sdei.c, exists only in the kernels of openEuler and Anolis.
"""

from __future__ import annotations

from sdeictl.klog.messages.message import Message, run_of

DISABLED = "sdei: disabling SDEI firmware interface"
"""From this line on every SDEI call fails, and the kernel has no replacement for SDEI."""
USING = "using SDEI cross-CPU NMI"

VERSION = Message("sdei: SDEIv", r"sdei: SDEIv(\d+\.\d+) \(0x[0-9a-f]+\) detected in firmware\.")
"""The firmware answered. Group: its SDEI version."""
ERROR = Message(
    "sdei: ",
    r"(sdei: (?:Failed to get SDEI version: -?\d+|Failed to reset platform: -?\d+"
    r"|Not supported on this hardware/boot configuration|Conflicting SDEI version detected\."
    r'|(?:missing|invalid) "method" property|disabling SDEI firmware interface))',
)
"""The SDEI driver gives up. Group: the whole line."""
NMI = Message(f"sdei_nmi: {USING}", f"sdei_nmi: {USING}")
"""Event 0 is registered and enabled: backtraces and the stop ladder use it."""
NMI_ERROR = Message(
    "sdei_nmi: sdei_event_", r"(sdei_nmi: sdei_event_(?:register|enable)\(\d+\) failed: -?\d+)"
)
"""Event 0 could not be registered or enabled. Group: the whole line."""
_WATCHDOG_WORDS = run_of(
    "SDEI", "NMI", "Watchdog", "watchdog", "registered", "successfully", "register", "registering",
    "callback", "event", "Bind", "bind", "interrupt", "Unable", "to", "allocate", "failed", "Failed", "fail",
    "Firmware", "firmware", "may", "not", "support", "Disable", "disable", "disabled", "in", "VM", "enabled",
    "on", "CPU", "percpu",
)  # fmt: skip
WATCHDOG = Message("SDEI NMI watchdog: ", rf"SDEI NMI watchdog: ({_WATCHDOG_WORDS})")
"""Group: the rest of the line, as far as it has the words of that driver."""
WATCHDOG_REGISTERED = "registered successfully"

_AGDI_WORDS = run_of(
    "register", "for", "SDEI", "event", "enable", "interrupt", "get", "request", "irq", "IRQ"
)
AGDI_ERROR = Message(
    "agdi",
    rf"(agdi agdi\.\d+: Failed to {_AGDI_WORDS}"
    r"|agdi(?: agdi\.\d+)?: probe (?:of agdi\.\d+|with driver agdi) failed with error -?\d+)",
)
"""The driver of the diagnostic dump device gives up. Group: the whole line."""

TROUBLES = (
    "sdei_nmi: SDEI_EVENT_SIGNAL to CPU ",
    "sdei: Failed to re-enable event 0",
    "sdei: Failed to re-register event 0",
    "sdei: failed to unmask CPU",
)
"""Beginnings of lines, at any time of a boot, after which SDEI did not or may not reach a CPU."""
TROUBLE = tuple(
    Message(begins, rf"({begins}[ :\[]{{0,2}}{run_of('failed', 'error', 'on', 'CPU', 'event', 'with')})")
    for begins in TROUBLES
)
"""The same lines. Group: the line, as far as it has the words of the driver."""
