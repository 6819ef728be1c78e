"""What the log of one boot says about SDEI and pseudo-NMI.

drivers/firmware/arm_sdei.c, arm_sdei_nmi.c, drivers/irqchip/irq-gic-v3.c,
arch/arm64/kernel/{cpufeature,smp,sdei}.c (Linux 7.3). Pure.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from sdeictl.klog import Record


class BootLog(NamedTuple):
    """Facts of one boot's log. A missing line counts only if `complete`."""

    started: bool = False
    """The log begins at "Booting Linux"."""
    complete: bool = False
    """It begins there and goes on, nothing lost, to the start of init: past all initcalls."""
    first_at: float | None = None
    release: str | None = None
    """The kernel that wrote it, from "Linux version"."""
    sdei_version: str | None = None
    """`1.0` from "SDEIv1.0 (0x0) detected in firmware."."""
    sdei_error: str | None = None
    """The line with which the SDEI driver gave up."""
    sdei_nmi: bool = False
    """ "using SDEI cross-CPU NMI": event 0 is registered."""
    sdei_nmi_error: str | None = None
    pseudo_nmi: str | None = None
    """`relaxed` or `forced` (PMR synchronisation) from "Pseudo-NMIs enabled"."""
    pseudo_nmi_error: str | None = None
    exception_level: int | None = None
    """Where the CPUs started: 1 or 2."""
    vhe: bool = False


_START = re.compile(r"Booting Linux on physical CPU 0x[0-9a-f]{10} \[0x[0-9a-f]{8}\]")
_INIT = re.compile(r"Run \S+ as init process")
_LINES = tuple(
    (field, re.compile(pattern))
    for field, pattern in (
        ("release", r"Linux version (\S+)"),
        ("sdei_version", r"sdei: SDEIv(\d+\.\d+) \(0x[0-9a-f]+\) detected in firmware\."),
        (
            "sdei_error",
            r"(sdei: (?:Failed to get SDEI version: -?\d+|Failed to reset platform: -?\d+"
            r"|Not supported on this hardware/boot configuration|Conflicting SDEI version detected\."
            r'|(?:missing|invalid) "method" property.*|disabling SDEI firmware interface))',
        ),
        ("sdei_nmi", r"sdei_nmi: using SDEI cross-CPU NMI"),
        ("sdei_nmi_error", r"(sdei_nmi: sdei_event_(?:register|enable)\(\d+\) failed: -?\d+)"),
        ("pseudo_nmi", r"GICv3: Pseudo-NMIs enabled using (relaxed|forced) ICC_PMR_EL1 synchronisation"),
        (
            "pseudo_nmi_error",
            r"(GICv3: Broken GIC integration, .*|CPU features: Pseudo-NMI disabled due to .*)",
        ),
        ("exception_level", r"CPU: All CPU\(s\) started at EL([12])"),
        ("vhe", r"CPU features: detected: Virtualization Host Extensions"),
    )
)


def read_bootlog(records: Sequence[Record]) -> BootLog:
    """Return the facts of one boot's records; the first line of each kind counts."""
    if not records:
        return BootLog()
    facts: dict[str, str] = {}
    init_at = None
    for index, record in enumerate(records):
        if init_at is None and _INIT.match(record.text):
            init_at = index
        for field, pattern in _LINES:
            if field not in facts and (match := pattern.match(record.text)):
                facts[field] = match[1] if match.groups() else match[0]
    started = bool(_START.match(records[0].text))
    whole = init_at is not None and not any(record.lost_before for record in records[1 : init_at + 1])
    level = facts.get("exception_level")
    return BootLog(
        started=started,
        complete=started and whole,
        first_at=records[0].at,
        release=facts.get("release"),
        sdei_version=facts.get("sdei_version"),
        sdei_error=facts.get("sdei_error"),
        sdei_nmi="sdei_nmi" in facts,
        sdei_nmi_error=facts.get("sdei_nmi_error"),
        pseudo_nmi=facts.get("pseudo_nmi"),
        pseudo_nmi_error=facts.get("pseudo_nmi_error"),
        exception_level=int(level) if level else None,
        vhe="vhe" in facts,
    )
