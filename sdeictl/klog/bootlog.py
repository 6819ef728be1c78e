"""Facts in the log of one boot about SDEI, pseudo-NMI and the lockup detectors. No I/O."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from sdeictl.klog.messages import boot, lockups, pseudo_nmi, sdei
from sdeictl.klog.records import Record


class BootLog(NamedTuple):
    """Facts in the log of one boot. A missing line is evidence only if the log is `complete`."""

    started: bool = False
    """The log begins with the first line of the boot, "Booting Linux"."""
    complete: bool = False
    """It has started, and no record is missing up to the start of init, after all initcalls."""
    first_at: float | None = None
    """The time of the first record, in seconds since the boot."""
    release: str | None = None
    """The release of the kernel, from "Linux version"."""
    sdei_version: str | None = None
    """`1.0` from "SDEIv1.0 (0x0) detected in firmware."."""
    sdei_error: str | None = None
    """The line in which the SDEI driver gives up."""
    sdei_disabled: bool = False
    """ "disabling SDEI firmware interface": from this line on every SDEI call fails."""
    sdei_troubles: tuple[str, ...] = ()
    """The first lines, at any time of the boot, that say that SDEI did not or may not reach a CPU."""
    sdei_nmi: bool = False
    """ "using SDEI cross-CPU NMI": event 0 is registered."""
    sdei_nmi_error: str | None = None
    """The line that says that event 0 could not be registered."""
    pseudo_nmi: str | None = None
    """`relaxed` or `forced`, the PMR synchronisation in "Pseudo-NMIs enabled"."""
    pseudo_nmi_error: str | None = None
    """The line that says why the kernel does not enable pseudo-NMI."""
    exception_level: int | None = None
    """The exception level at which the CPUs started: 1 or 2."""
    vhe: bool = False
    """The kernel found the Virtualization Host Extensions, so that it can run at EL2."""
    gicv3: bool = False
    """ "GICv3 CPU interface" was detected; pseudo-NMI needs it."""
    sdei_watchdog: str | None = None
    """The line of the "SDEI NMI watchdog", a hard-lockup detector of openEuler and Anolis."""
    hard_watchdog: str | None = None
    """The line that says that the perf hard-lockup detector started or was disabled."""
    mpidrs: tuple[int, ...] = ()
    """MPIDR_EL1 of each CPU that the log names; the boot CPU is the first."""
    feat_nmi: bool = False
    """The kernel detected FEAT_NMI."""
    command_line: str | None = None


# The message that fills each field.
_FIELDS = (
    ("release", boot.VERSION),
    ("sdei_version", sdei.VERSION),
    ("sdei_error", sdei.ERROR),
    ("sdei_nmi", sdei.NMI),
    ("sdei_nmi_error", sdei.NMI_ERROR),
    ("pseudo_nmi", pseudo_nmi.ENABLED),
    ("pseudo_nmi_error", pseudo_nmi.BROKEN),
    ("pseudo_nmi_error", pseudo_nmi.QUIRK),
    ("exception_level", boot.EXCEPTION_LEVEL),
    ("gicv3", pseudo_nmi.GICV3),
    ("sdei_watchdog", sdei.WATCHDOG),
    *(("hard_watchdog", message) for message in lockups.DETECTOR),
    ("feat_nmi", pseudo_nmi.FEAT_NMI),
    ("vhe", boot.VHE),
    ("command_line", boot.COMMAND_LINE),
)
_BEGINNINGS = tuple({message.begins for _field, message in _FIELDS})
_CPUS = (boot.BOOT_CPU, boot.SECONDARY_CPU)
_CPU_BEGINNINGS = tuple(message.begins for message in _CPUS)
_MAX_TROUBLES = 3
"""How many lines of trouble are kept."""


def read_bootlog(records: Sequence[Record]) -> BootLog:
    """Return the facts in the records of one boot.

    The first line of each kind before the start of init counts: a program may have written a later one.
    Lines that report trouble with SDEI count at any time.
    """
    if not records:
        return BootLog()
    init_at = next((at for at, record in enumerate(records) if boot.INIT.match(record.text)), None)
    early = [record.text for record in records[:init_at]]
    facts = _first_lines(early)
    started = boot.FIRST_LINE.match(records[0].text) is not None
    whole = init_at is not None and not any(record.lost_before for record in records[1 : init_at + 1])
    level = facts.get("exception_level")
    troubles = [record.text for record in records if record.text.startswith(sdei.TROUBLES)]
    return BootLog(
        started=started,
        complete=started and whole,
        first_at=records[0].at,
        release=facts.get("release"),
        sdei_version=facts.get("sdei_version"),
        sdei_error=facts.get("sdei_error"),
        sdei_disabled=any(record.text.startswith(sdei.DISABLED) for record in records),
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
        mpidrs=tuple(_mpidrs(early)),
        feat_nmi="feat_nmi" in facts,
        command_line=facts.get("command_line"),
    )


def _first_lines(texts: Sequence[str]) -> dict[str, str]:
    """Return the value of each field in the first line that has it."""
    facts: dict[str, str] = {}
    for text in texts:
        if not text.startswith(_BEGINNINGS):
            continue
        for field, message in _FIELDS:
            value = message.first(text)
            if value is not None:
                facts.setdefault(field, value)
    return facts


def _mpidrs(texts: Sequence[str]) -> Iterator[int]:
    """Yield MPIDR_EL1 of each CPU that the log names, in log order."""
    for text in texts:
        if text.startswith(_CPU_BEGINNINGS):
            for message in _CPUS:
                if mpidr := message.first(text):
                    yield int(mpidr, 16)
