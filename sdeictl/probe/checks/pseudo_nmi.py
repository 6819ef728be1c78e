"""The links of the GICv3 pseudo-NMI path: interrupt controller, kernel build, boot parameter."""

from __future__ import annotations

from collections.abc import Iterator

from sdeictl.formats.cmdline import PSEUDO_NMI, wants_pseudo_nmi
from sdeictl.formats.interrupts import BACKTRACE_ROW
from sdeictl.host.paths import ACPI_TABLES, CMDLINE, CONFIG_GZ, INTERRUPTS, KMSG
from sdeictl.klog.messages import pseudo_nmi as messages
from sdeictl.klog.words import NmiPath
from sdeictl.probe.checks.check import Check, Witness, configured, has_function
from sdeictl.probe.facts import HostFacts
from sdeictl.probe.settings import GICV3
from sdeictl.probe.words import Owner


def _gic(facts: HostFacts) -> Iterator[Witness]:
    log = facts.bootlog
    if log and log.pseudo_nmi_error:
        yield Witness(False, f"the boot log says: {log.pseudo_nmi_error}", KMSG)
    if log and log.gicv3:
        yield Witness(True, f"the boot log says: detected: {messages.GICV3_INTERFACE}", KMSG)
    if log and log.gic_security:
        yield Witness(True, f"the boot log says: {log.gic_security}", KMSG)
    if facts.interrupts and facts.interrupts.gic:
        is_v3 = facts.interrupts.gic in GICV3
        seen = f"the driver of the interrupt controller is {facts.interrupts.gic}"
        yield Witness(is_v3, seen if is_v3 else f"{seen}, which is not a GICv3", INTERRUPTS)
    if facts.madt and facts.madt.gic_version:
        version = facts.madt.gic_version
        yield Witness(version in (3, 4), f"the table APIC says GICv{version}", f"{ACPI_TABLES}/APIC")
    if log and log.complete and not log.gicv3:
        yield Witness(False, f"the boot log has no {messages.GICV3_INTERFACE}", KMSG)


def _built(facts: HostFacts) -> Iterator[Witness]:
    if facts.bootlog and facts.bootlog.pseudo_nmi:
        yield Witness(True, f"the boot log says: {messages.PSEUDO_NMIS}", KMSG)
    yield from configured(facts, "ARM64_PSEUDO_NMI")


def _backtrace(facts: HostFacts) -> Iterator[Witness]:
    if facts.proven_path is NmiPath.PSEUDO_NMI:
        yield Witness(True, "a masked CPU answered a request by pseudo-NMI in this log", KMSG)
    yield from has_function(facts, "nmi_trigger_cpumask_backtrace")
    if facts.interrupts and facts.interrupts.backtrace_row:
        yield Witness(True, f'{INTERRUPTS} has the row "{BACKTRACE_ROW}"', INTERRUPTS)


def _requested(facts: HostFacts) -> Iterator[Witness]:
    if facts.bootlog and facts.bootlog.pseudo_nmi:
        yield Witness(True, f"the boot log says: {messages.PSEUDO_NMIS}", KMSG)
    if facts.command_line is not None:
        wanted = wants_pseudo_nmi(facts.command_line)
        words = {True: "on", False: "not on", None: "set to a value that not every kernel accepts"}
        yield Witness(wanted, f"{PSEUDO_NMI} is {words[wanted]}", CMDLINE)


def _enabled(facts: HostFacts) -> Iterator[Witness]:
    log = facts.bootlog
    if log and log.pseudo_nmi:
        yield Witness(
            True, f"the boot log says: {messages.PSEUDO_NMIS} using {log.pseudo_nmi} synchronisation", KMSG
        )
    if log and log.complete and not log.pseudo_nmi:
        why = f": {log.pseudo_nmi_error}" if log.pseudo_nmi_error else ""
        yield Witness(False, f'the boot log has no "{messages.PSEUDO_NMIS}"{why}', KMSG)
    if facts.command_line is not None and wants_pseudo_nmi(facts.command_line) is False:
        yield Witness(False, f"{PSEUDO_NMI} is not on, and the default is off", CMDLINE)
    for witness in _gic(facts):
        if witness.holds is False and witness.source == INTERRUPTS:
            yield witness
    # A configuration file may belong to another build.
    for witness in configured(facts, "ARM64_PSEUDO_NMI"):
        if witness.holds is False and witness.source == CONFIG_GZ:
            yield witness


PSEUDO_NMI_CHECKS = (
    Check(
        "pseudo-nmi-gic", NmiPath.PSEUDO_NMI, "The interrupt controller can do pseudo-NMI",
        "Pseudo-NMI masks interrupts by priority in the CPU interface of a GICv3. A GICv2 or a GICv5 has no"
        " such interface, and quirks of some systems forbid it.",
        "a GICv3 or GICv4, used through its system registers",
        "This hardware cannot do it: use the SDEI path.",
        Owner.FIRMWARE, _gic,
    ),
    Check(
        "pseudo-nmi-built", NmiPath.PSEUDO_NMI, "The kernel can do pseudo-NMI",
        "A kernel uses interrupt priorities instead of the mask bit in every entry path, or in none: the"
        " build decides.",
        "CONFIG_ARM64_PSEUDO_NMI=y",
        "Build the kernel with CONFIG_ARM64_PSEUDO_NMI=y and CONFIG_HARDLOCKUP_DETECTOR_PREFER_BUDDY=y."
        " Without the second option the kernel uses the perf detector, which does not run without the boot"
        " parameter.",
        Owner.KERNEL, _built,
    ),
    Check(
        "pseudo-nmi-backtrace", NmiPath.PSEUDO_NMI, "The kernel asks for backtraces by pseudo-NMI",
        "Before Linux 6.7 pseudo-NMI served only the performance counters. Such a kernel logs that it is"
        " enabled, but its backtrace requests do not reach a masked CPU.",
        "the kernel has nmi_trigger_cpumask_backtrace(), or /proc/interrupts has its row",
        "Use a kernel that has it: Linux 6.7, or a backport.",
        Owner.KERNEL, _backtrace, decides=True,
    ),
    Check(
        "pseudo-nmi-requested", NmiPath.PSEUDO_NMI, "The command line asks for pseudo-NMI",
        "It is off by default and can be switched only at boot. It costs time at every mask and unmask.",
        f"{PSEUDO_NMI}=1",
        f"Boot with {PSEUDO_NMI}=1 (needs a GICv3). It makes every interrupt mask and unmask slower:"
        " measure the cost first (sdeictl bench).",
        Owner.ADMIN, _requested,
    ),
    Check(
        "pseudo-nmi-enabled", NmiPath.PSEUDO_NMI, "Pseudo-NMI is on",
        "Only then does a masked CPU take the interrupts that ask for a backtrace or stop a CPU.",
        f"the boot log says: {messages.PSEUDO_NMIS}",
        "Fix the earlier links first. If they all pass, the GIC is not a GICv3, or a quirk forbids"
        " pseudo-NMI.",
        Owner.ADMIN, _enabled, decides=True,
    ),
)  # fmt: skip
