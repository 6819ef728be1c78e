"""Facts in the log of one boot about SDEI, pseudo-NMI and the lockup detectors. No I/O."""

from __future__ import annotations

from collections.abc import Iterable

from sdeictl.klog.messages import boot, lockups, pseudo_nmi, sdei
from sdeictl.klog.records import Record
from sdeictl.text import NamedTuple


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
    gic_security: str | None = None
    """The line in which the driver of the GICv3 says how firmware shares it."""
    sdei_watchdog: str | None = None
    """The line of the "SDEI NMI watchdog", a hard-lockup detector of openEuler and Anolis."""
    detector_on: str | None = None
    """The line that says that the perf hard-lockup detector has started."""
    detector_off: str | None = None
    """The line that says that the perf hard-lockup detector does not run."""
    agdi_error: str | None = None
    """The line in which the driver of the diagnostic dump device gives up."""
    mpidrs: tuple[int, ...] = ()
    """MPIDR_EL1 of each CPU that the log names; the boot CPU is the first."""
    midrs: tuple[int, ...] = ()
    """MIDR_EL1 of the same CPUs."""
    cpus_online: int | None = None
    """How many CPUs were online after the boot."""
    model: str | None = None
    """The machine, from the device tree or from DMI."""
    firmware: str | None = None
    """Version and date of the firmware, from DMI."""
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
    ("gic_security", pseudo_nmi.GIC_SECURITY),
    ("sdei_watchdog", sdei.WATCHDOG),
    *(("detector_on", message) for message in lockups.DETECTOR_ON),
    *(("detector_off", message) for message in lockups.DETECTOR_OFF),
    ("agdi_error", sdei.AGDI_ERROR),
    ("cpus_online", boot.CPUS_ONLINE),
    ("model", boot.MODEL),
    ("model", boot.DMI_MODEL),
    ("firmware", boot.DMI_FIRMWARE),
    ("feat_nmi", pseudo_nmi.FEAT_NMI),
    ("vhe", boot.VHE),
    ("command_line", boot.COMMAND_LINE),
)
_BEGINNINGS = tuple({message.begins for _field, message in _FIELDS})
_CPUS = (boot.BOOT_CPU, boot.SECONDARY_CPU)
_CPU_BEGINNINGS = tuple(message.begins for message in _CPUS)
_MAX_TROUBLES = 3
"""How many lines of trouble are kept."""
_MAX_CPUS = 20_000
"""How many CPUs are kept. A kernel names each of its CPUs once."""


BEGINNINGS = (
    boot.BOOTING, boot.INIT.begins, sdei.DISABLED, *sdei.TROUBLES, *_BEGINNINGS, *_CPU_BEGINNINGS
)  # fmt: skip
"""How the lines begin that have a fact."""


def read_bootlog(records: Iterable[Record]) -> BootLog:
    """Return the facts in the records of one boot."""
    reader = BootLogReader()
    for record in records:
        reader.read(record)
    return reader.bootlog()


class BootLogReader:
    """Takes the records of one boot in order.

    The first line of each kind before the start of init counts: a program may have written a later one.
    Lines that report trouble with SDEI count at any time.
    """

    def __init__(self) -> None:
        self._first: Record | None = None
        self._whole = True
        """No record is missing so far."""
        self._init_seen = False
        self._facts: dict[str, str] = {}
        self._cpus: list[tuple[int, int]] = []
        """MPIDR_EL1 and MIDR_EL1."""
        self._troubles: list[str] = []
        self._disabled = False

    def read(self, record: Record) -> None:
        """Take the next record."""
        if self._first is None:
            self._first = record
        elif record.lost_before and not self._init_seen:
            self._whole = False
        if record.text.startswith(BEGINNINGS):
            self._read_text(record.text)

    def _read_text(self, text: str) -> None:
        if text.startswith(sdei.TROUBLES) and len(self._troubles) < _MAX_TROUBLES:
            self._troubles += [said for message in sdei.TROUBLE if (said := message.first(text))]
        self._disabled = self._disabled or text.startswith(sdei.DISABLED)
        if self._init_seen:
            return
        if boot.INIT.match(text):
            self._init_seen = True
        elif text.startswith(_BEGINNINGS):
            self._read_fields(text)
        if text.startswith(_CPU_BEGINNINGS) and len(self._cpus) < _MAX_CPUS:
            self._cpus += _cpus(text)

    def _read_fields(self, text: str) -> None:
        for field, message in _FIELDS:
            value = message.first(text)
            if value is not None:
                self._facts.setdefault(field, value)

    def registers_sdei(self) -> bool:
        """Tell whether the kernel has registered SDEI event 0 by now."""
        return "sdei_nmi" in self._facts

    def release(self) -> str | None:
        """Return the release of the kernel as far as it is known by now."""
        return self._facts.get("release")

    def bootlog(self) -> BootLog:
        """Return the facts in the records so far."""
        if self._first is None:
            return BootLog()
        facts = self._facts
        started = boot.BOOT_CPU.match(self._first.text) is not None
        level, online = facts.get("exception_level"), facts.get("cpus_online")
        return BootLog(
            started=started,
            complete=started and self._init_seen and self._whole,
            first_at=self._first.at,
            release=facts.get("release"),
            sdei_version=facts.get("sdei_version"),
            sdei_error=facts.get("sdei_error"),
            sdei_disabled=self._disabled,
            sdei_troubles=tuple(self._troubles),
            sdei_nmi=self.registers_sdei(),
            sdei_nmi_error=facts.get("sdei_nmi_error"),
            pseudo_nmi=facts.get("pseudo_nmi"),
            pseudo_nmi_error=facts.get("pseudo_nmi_error"),
            exception_level=int(level) if level else None,
            vhe="vhe" in facts,
            gicv3="gicv3" in facts,
            gic_security=facts.get("gic_security"),
            sdei_watchdog=facts.get("sdei_watchdog"),
            detector_on=facts.get("detector_on"),
            detector_off=facts.get("detector_off"),
            agdi_error=facts.get("agdi_error"),
            mpidrs=tuple(mpidr for mpidr, _midr in self._cpus),
            midrs=tuple(midr for _mpidr, midr in self._cpus),
            cpus_online=int(online) if online else None,
            model=facts.get("model"),
            firmware=facts.get("firmware"),
            feat_nmi="feat_nmi" in facts,
            command_line=facts.get("command_line"),
        )


def _cpus(text: str) -> list[tuple[int, int]]:
    """Return MPIDR_EL1 and MIDR_EL1 of the CPU that a line names."""
    return [(int(match[1], 16), int(match[2], 16)) for message in _CPUS if (match := message.match(text))]
