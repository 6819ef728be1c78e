"""Messages of the SDEI driver, the SDEI cross-CPU NMI and the SDEI watchdog.

drivers/firmware/arm_sdei.c and arm_sdei_nmi.c, arch/arm64/kernel/sdei.c (Linux 7.3). The watchdog,
arch/arm64/kernel/watchdog_sdei.c, exists only in the kernels of openEuler and Anolis.
"""

from __future__ import annotations

from sdeictl.klog.messages.message import Message

DISABLED = "sdei: disabling SDEI firmware interface"
"""From this line on every SDEI call fails, and the kernel has no replacement for SDEI."""
USING = "using SDEI cross-CPU NMI"

VERSION = Message("sdei: SDEIv", r"sdei: SDEIv(\d+\.\d+) \(0x[0-9a-f]+\) detected in firmware\.")
"""The firmware answered. Group: its SDEI version."""
ERROR = Message(
    "sdei: ",
    r"(sdei: (?:Failed to get SDEI version: -?\d+|Failed to reset platform: -?\d+"
    r"|Not supported on this hardware/boot configuration|Conflicting SDEI version detected\."
    r'|(?:missing|invalid) "method" property.*|disabling SDEI firmware interface))',
)
"""The SDEI driver gives up. Group: the whole line."""
NMI = Message(f"sdei_nmi: {USING}", f"sdei_nmi: {USING}")
"""Event 0 is registered and enabled: backtraces and the stop ladder use it."""
NMI_ERROR = Message(
    "sdei_nmi: sdei_event_", r"(sdei_nmi: sdei_event_(?:register|enable)\(\d+\) failed: -?\d+)"
)
"""Event 0 could not be registered or enabled. Group: the whole line."""
WATCHDOG = Message("SDEI NMI watchdog: ", r"SDEI NMI watchdog: (.*)")
"""Group: the rest of the line."""
WATCHDOG_REGISTERED = "registered successfully"

AGDI_ERROR = Message(
    "agdi",
    r"(agdi agdi\.\d+: Failed to .*|agdi(?: agdi\.\d+)?: probe (?:of|with) .* failed with error -?\d+)",
)
"""The driver of the diagnostic dump device gives up. Group: the whole line."""

TROUBLES = (
    "sdei_nmi: SDEI_EVENT_SIGNAL to CPU ",
    "sdei: Failed to re-enable event 0",
    "sdei: Failed to re-register event 0",
    "sdei: failed to unmask CPU",
)
"""Beginnings of lines, at any time of a boot, after which SDEI did not or may not reach a CPU."""

PUBLIC = (r"sdei(?:_nmi)?[: ]", WATCHDOG.begins, "agdi[: ]")
