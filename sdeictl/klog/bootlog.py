"""What the log of one boot says about SDEI and pseudo-NMI.

drivers/firmware/arm_sdei.c, arm_sdei_nmi.c, drivers/irqchip/irq-gic-v3.c,
arch/arm64/kernel/{cpufeature,smp,sdei}.c (Linux 7.3). Pure.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from sdeictl.klog.log import Record


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
    sdei_disabled: bool = False
    """ "disabling SDEI firmware interface": from then on every call fails, and nothing takes its place."""
    sdei_troubles: tuple[str, ...] = ()
    """Lines of this boot, at any time, by which a CPU was not reached or may not be."""
    sdei_nmi: bool = False
    """ "using SDEI cross-CPU NMI": event 0 is registered."""
    sdei_nmi_error: str | None = None
    pseudo_nmi: str | None = None
    """`relaxed` or `forced` (PMR synchronisation) from "Pseudo-NMIs enabled"."""
    pseudo_nmi_error: str | None = None
    exception_level: int | None = None
    """Where the CPUs started: 1 or 2."""
    vhe: bool = False
    gicv3: bool = False
    """ "GICv3 CPU interface" was detected: what pseudo-NMI needs."""
    sdei_watchdog: str | None = None
    """The line of the "SDEI NMI watchdog" of openEuler and Anolis, a detector of its own."""
    hard_watchdog: str | None = None
    """The line with which the perf hard-lockup detector started, or was left out."""
    mpidrs: tuple[int, ...] = ()
    """MPIDR_EL1 of each CPU that the log names, the boot CPU first."""
    feat_nmi: bool = False
    """FEAT_NMI was detected by a kernel that knows it."""
    command_line: str | None = None


# (field, how its line begins, pattern): most lines are none of these, and a pattern that is not
# needed is not compiled.
_CPU = ("Booting Linux on physical CPU 0x", "CPU")
_MPIDR = r"(?:Booting Linux on physical CPU|CPU\d+: Booted secondary processor) 0x([0-9a-f]{10}) "
_START = r"Booting Linux on physical CPU 0x[0-9a-f]{10} \[0x[0-9a-f]{8}\]"
_INIT = r"Run \S+ as init process"
_LINES = (
    ("release", "Linux version ", r"Linux version (\S+)"),
    ("sdei_version", "sdei: SDEIv", r"sdei: SDEIv(\d+\.\d+) \(0x[0-9a-f]+\) detected in firmware\."),
    (
        "sdei_error",
        "sdei: ",
        r"(sdei: (?:Failed to get SDEI version: -?\d+|Failed to reset platform: -?\d+"
        r"|Not supported on this hardware/boot configuration|Conflicting SDEI version detected\."
        r'|(?:missing|invalid) "method" property.*|disabling SDEI firmware interface))',
    ),
    ("sdei_nmi", "sdei_nmi: using", r"sdei_nmi: using SDEI cross-CPU NMI"),
    (
        "sdei_nmi_error",
        "sdei_nmi: sdei_event_",
        r"(sdei_nmi: sdei_event_(?:register|enable)\(\d+\) failed: -?\d+)",
    ),
    (
        "pseudo_nmi",
        "GICv3: Pseudo-NMIs",
        r"GICv3: Pseudo-NMIs enabled using (relaxed|forced) ICC_PMR_EL1 synchronisation",
    ),
    ("pseudo_nmi_error", "GICv3: Broken", r"(GICv3: Broken GIC integration, pNMI forbidden)"),
    ("pseudo_nmi_error", "CPU features: Pseudo", r"(CPU features: Pseudo-NMI disabled due to .*)"),
    ("exception_level", "CPU: All", r"CPU: All CPU\(s\) started at EL([12])"),
    ("gicv3", "CPU features: ", r"CPU features: detected: GIC(?:v3| system register) CPU interface"),
    ("sdei_watchdog", "SDEI NMI watchdog: ", r"SDEI NMI watchdog: (.*)"),
    (
        "hard_watchdog",
        ("NMI watchdog: ", "watchdog: "),
        r"((?:NMI )?watchdog: (?:Enabled\. Permanently consumes .*|NMI not fully supported"
        r"|(?:Hard|Perf NMI) watchdog permanently disabled|Delayed init of .*))",
    ),
    ("feat_nmi", "CPU features: ", r"CPU features: detected: (?:Non-maskable Interrupts|NMI)$"),
    ("vhe", "CPU features: ", r"CPU features: detected: Virtualization Host Extensions"),
    ("command_line", "Kernel command line: ", r"Kernel command line: (.*)"),
)
_DISABLED = "sdei: disabling SDEI firmware interface"
_TROUBLES = (
    "sdei_nmi: SDEI_EVENT_SIGNAL to CPU ",
    "sdei: Failed to re-enable event 0",
    "sdei: Failed to re-register event 0",
    "sdei: failed to unmask CPU",
)
_MAX_TROUBLES = 3
_BEGINNINGS = tuple(
    beginning
    for _field, start, _pattern in _LINES
    for beginning in (start if isinstance(start, tuple) else (start,))
)


def read_bootlog(records: Sequence[Record]) -> BootLog:
    """Return the facts of one boot's records; the first line of each kind counts, before the start of init.

    What comes later may be what a program wrote, but for trouble.
    """
    if not records:
        return BootLog()
    facts: dict[str, str] = {}
    init_at = None
    mpidrs = []
    troubles = [record.text for record in records if record.text.startswith(_TROUBLES)]
    for index, record in enumerate(records):
        text = record.text
        if text.startswith("Run ") and re.match(_INIT, text):
            init_at = index
            break
        if text.startswith(_CPU) and (cpu := re.match(_MPIDR, text)):
            mpidrs.append(int(cpu[1], 16))
        if not text.startswith(_BEGINNINGS):
            continue
        for field, start, pattern in _LINES:
            if field not in facts and text.startswith(start) and (match := re.match(pattern, text)):
                facts[field] = match[1] if match.groups() else match[0]
    started = bool(re.match(_START, records[0].text))
    whole = init_at is not None and not any(record.lost_before for record in records[1 : init_at + 1])
    level = facts.get("exception_level")
    return BootLog(
        started=started,
        complete=started and whole,
        first_at=records[0].at,
        release=facts.get("release"),
        sdei_version=facts.get("sdei_version"),
        sdei_error=facts.get("sdei_error"),
        sdei_disabled=any(record.text.startswith(_DISABLED) for record in records),
        sdei_troubles=tuple(troubles[:_MAX_TROUBLES]),
        sdei_nmi="sdei_nmi" in facts,
        sdei_nmi_error=facts.get("sdei_nmi_error"),
        pseudo_nmi=facts.get("pseudo_nmi"),
        pseudo_nmi_error=facts.get("pseudo_nmi_error"),
        exception_level=int(level) if level else None,
        vhe="vhe" in facts,
        gicv3="gicv3" in facts,
        sdei_watchdog=facts.get("sdei_watchdog"),
        hard_watchdog=facts.get("hard_watchdog"),
        mpidrs=tuple(mpidrs),
        feat_nmi="feat_nmi" in facts,
        command_line=facts.get("command_line"),
    )
