"""The links of the GICv3 pseudo-NMI path: interrupt controller, kernel build, boot parameter."""

from collections.abc import Iterator

from sdeictl.formats.cmdline import PSEUDO_NMI, wants_pseudo_nmi
from sdeictl.formats.interrupts import BACKTRACE_ROW
from sdeictl.probe.checks.check import Check, Witness, configured, has_function
from sdeictl.probe.facts import KMSG, HostFacts
from sdeictl.probe.firmware import ACPI_TABLES
from sdeictl.probe.kernel import CMDLINE, CONFIG_GZ
from sdeictl.probe.settings import GICV3, INTERRUPTS


def _gic(facts: HostFacts) -> Iterator[Witness]:
    log = facts.bootlog
    if log and log.pseudo_nmi_error:
        yield Witness(False, f"the boot log says: {log.pseudo_nmi_error}", KMSG)
    if log and log.gicv3:
        yield Witness(True, "the boot log says: detected: GICv3 CPU interface", KMSG)
    if facts.interrupts and facts.interrupts.gic:
        seen = f"the interrupt controller is a {facts.interrupts.gic}"
        yield Witness(facts.interrupts.gic in GICV3, seen, INTERRUPTS)
    if facts.madt and facts.madt.gic_version:
        version = facts.madt.gic_version
        yield Witness(version in (3, 4), f"the table APIC says GICv{version}", f"{ACPI_TABLES}/APIC")
    if log and log.complete and not log.gicv3:
        yield Witness(False, "the boot log has no GICv3 CPU interface", KMSG)


def _built(facts: HostFacts) -> Iterator[Witness]:
    if facts.bootlog and facts.bootlog.pseudo_nmi:
        yield Witness(True, "the boot log says: Pseudo-NMIs enabled", KMSG)
    yield from configured(facts, "ARM64_PSEUDO_NMI")


def _backtrace(facts: HostFacts) -> Iterator[Witness]:
    yield from has_function(facts, "nmi_trigger_cpumask_backtrace")
    if facts.interrupts and facts.interrupts.backtrace_row:
        yield Witness(True, f'there is a row "{BACKTRACE_ROW}"', INTERRUPTS)


def _requested(facts: HostFacts) -> Iterator[Witness]:
    if facts.bootlog and facts.bootlog.pseudo_nmi:
        yield Witness(True, "the boot log says: Pseudo-NMIs enabled", KMSG)
    if facts.command_line is not None:
        wanted = wants_pseudo_nmi(facts.command_line)
        words = {True: "on", False: "not on", None: "given a value that not every kernel takes"}
        yield Witness(wanted, f"{PSEUDO_NMI} is {words[wanted]}", CMDLINE)


def _enabled(facts: HostFacts) -> Iterator[Witness]:
    log = facts.bootlog
    if log and log.pseudo_nmi:
        yield Witness(
            True, f"the boot log says: Pseudo-NMIs enabled using {log.pseudo_nmi} synchronisation", KMSG
        )
    if log and log.complete and not log.pseudo_nmi:
        why = f": {log.pseudo_nmi_error}" if log.pseudo_nmi_error else ""
        yield Witness(False, f'the boot log has no "Pseudo-NMIs enabled"{why}', KMSG)
    if facts.command_line is not None and wants_pseudo_nmi(facts.command_line) is False:
        yield Witness(False, f"{PSEUDO_NMI} is not on, and the default is off", CMDLINE)
    for witness in _gic(facts):
        if witness.holds is False and witness.source == INTERRUPTS:
            yield witness
    # A configuration in a file may be of another build.
    for witness in configured(facts, "ARM64_PSEUDO_NMI"):
        if witness.holds is False and witness.source == CONFIG_GZ:
            yield witness


PSEUDO_NMI_CHECKS = (
    Check(
        "pseudo-nmi-gic", "pseudo-nmi", "The interrupt controller can do pseudo-NMI",
        "Pseudo-NMI masks by priority in the CPU interface of a GICv3; a GICv2 or a GICv5 has none that"
        " serves, and quirks of some systems forbid it.",
        "a GICv3 or GICv4, used by its system registers",
        "Nothing can be done on this hardware: see to the SDEI path.",
        "firmware", _gic,
    ),
    Check(
        "pseudo-nmi-built", "pseudo-nmi", "The kernel can do pseudo-NMI",
        "Interrupt priorities in place of the mask bit are built into every entry to the kernel, or not at"
        " all.",
        "CONFIG_ARM64_PSEUDO_NMI=y",
        "Build the kernel with CONFIG_ARM64_PSEUDO_NMI=y, and CONFIG_HARDLOCKUP_DETECTOR_PREFER_BUDDY=y: else"
        " hard lockups are left to the perf detector, which does not run without the boot parameter.",
        "kernel", _built,
    ),
    Check(
        "pseudo-nmi-backtrace", "pseudo-nmi", "The kernel asks for backtraces by pseudo-NMI",
        "Before Linux 6.7 pseudo-NMI served the performance counters alone: its line was logged, and requests"
        " for backtraces reached no CPU that had its interrupts masked.",
        "nmi_trigger_cpumask_backtrace() is in the kernel, or /proc/interrupts has its row",
        "Take a kernel that has it: Linux 6.7, or a backport.",
        "kernel", _backtrace,
    ),
    Check(
        "pseudo-nmi-requested", "pseudo-nmi", "The command line asks for pseudo-NMI",
        "It is off by default, and is switched at boot only: it costs time at every masking and unmasking.",
        f"{PSEUDO_NMI}=1",
        f"Boot with {PSEUDO_NMI}=1 (needs a GICv3). It makes every interrupt mask and unmask slower:"
        " measure first.",
        "admin", _requested,
    ),
    Check(
        "pseudo-nmi-enabled", "pseudo-nmi", "Pseudo-NMI is on",
        "Only then are the interrupts that ask for a backtrace or stop a CPU taken where interrupts are"
        " masked.",
        "the boot log says: Pseudo-NMIs enabled",
        "Mend the links before this one; where they hold, the GIC is no GICv3, or a quirk forbids it.",
        "admin", _enabled,
    ),
)  # fmt: skip
