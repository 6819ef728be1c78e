"""Other facts about the machine: other users of SDEI, FEAT_NMI, sources that contradict each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sdeictl.formats.cmdline import FEAT_NMI as FEAT_NMI_PARAMETER
from sdeictl.formats.cmdline import parse_parameters
from sdeictl.host.paths import ACPI_TABLES, CMDLINE, CONFIG_GZ, KALLSYMS, KMSG, config_files
from sdeictl.klog.messages.sdei import WATCHDOG
from sdeictl.probe.checks.check import Check, Witness
from sdeictl.probe.facts import HostFacts
from sdeictl.probe.words import Owner

_FUNCTIONS = {"ARM_SDE_INTERFACE": "sdei_probe", "ARM_SDEI_NMI": "sdei_nmi_handler"}
"""A function that the kernel has if and only if the option is on."""


def _configs_agree(facts: HostFacts) -> Iterator[Witness]:
    stated = [(config.source, dict(config.values)) for config in facts.configs]
    differences = tuple(_differences(facts, stated))
    yield from differences
    if len(stated) > 1 and not differences:
        yield Witness(True, f"{len(stated)} copies of the configuration agree", stated[0][0])
    elif stated and not differences:
        source = stated[0][0]
        seen = (
            "the configuration is part of the kernel"
            if source == CONFIG_GZ
            else "only one copy of the configuration exists"
        )
        yield Witness(True, seen, source)


def _differences(facts: HostFacts, stated: Sequence[tuple[str, dict[str, str]]]) -> Iterator[Witness]:
    for source, values in stated[1:]:
        first, known = stated[0]
        for symbol in sorted(values.keys() & known.keys()):
            if values[symbol] != known[symbol]:
                seen = f"CONFIG_{symbol} is {known[symbol]} in {first}, {values[symbol]} in {source}"
                yield Witness(False, seen, source)
    if not (facts.symbols and facts.symbols.complete):
        return
    for source, values in stated:
        for symbol, function in _FUNCTIONS.items():
            built, there = values.get(symbol), function in facts.symbols.names
            if built in ("y", "n") and (built == "y") != there:
                word = "has" if there else "has no"
                seen = f"CONFIG_{symbol} is {built} in {source}, the kernel {word} {function}()"
                yield Witness(False, seen, KALLSYMS)


def _agdi(facts: HostFacts) -> Iterator[Witness]:
    path = f"{ACPI_TABLES}/AGDI"
    if facts.tables == "devicetree" or (facts.acpi_tables is not None and "AGDI" not in facts.acpi_tables):
        yield Witness(False, "the ACPI table AGDI does not exist", path, applies=False)
        return
    if facts.bootlog and facts.bootlog.agdi_error:
        yield Witness(False, f"the boot log says: {facts.bootlog.agdi_error}", KMSG)
    bound = _bound(facts, "agdi.0")
    if facts.agdi and bound is not None:
        way = (
            f"SDEI event {facts.agdi.sdei_event}"
            if facts.agdi.gsiv is None
            else f"interrupt {facts.agdi.gsiv}"
        )
        seen = f"the ACPI table AGDI announces {way}; the device agdi.0 {'has' if bound else 'has no'} driver"
        yield Witness(bound, seen, path)


def _ghes(facts: HostFacts) -> Iterator[Witness]:
    path = f"{ACPI_TABLES}/HEST"
    if facts.tables == "devicetree" or (facts.acpi_tables is not None and "HEST" not in facts.acpi_tables):
        yield Witness(False, "the ACPI table HEST does not exist", path, applies=False)
        return
    if facts.hest is None:
        return
    sources = [source for source in facts.hest if source.enabled and source.sdei_event is not None]
    if not sources:
        yield Witness(False, "no error source uses SDEI for notification", path, applies=False)
        return
    bound = [_bound(facts, f"GHES.{source.id}") for source in sources]
    events = ", ".join(str(source.sdei_event) for source in sources)
    if False in bound:
        lost = sources[bound.index(False)]
        yield Witness(False, f"error source {lost.id} (event {lost.sdei_event}) has no driver", path)
    elif None not in bound:
        yield Witness(True, f"{len(sources)} error sources have a driver, SDEI events {events}", path)


def _bound(facts: HostFacts, name: str) -> bool | None:
    """Tell whether a platform device has a driver; a device that does not exist has none."""
    if facts.devices is None:
        return None
    return next((device.bound for device in facts.devices if device.name == name), False)


def _other_watchdog(facts: HostFacts) -> Iterator[Witness]:
    log, symbols = facts.bootlog, facts.symbols
    if log and log.sdei_watchdog:
        yield Witness(True, f"the boot log says: {WATCHDOG.begins}{log.sdei_watchdog}", KMSG)
    if symbols and "sdei_watchdog_callback" in symbols.names:
        yield Witness(True, "the kernel has sdei_watchdog_callback()", KALLSYMS)
    elif not (log and log.sdei_watchdog) and ((symbols and symbols.complete) or (log and log.complete)):
        source = KALLSYMS if symbols and symbols.complete else KMSG
        yield Witness(False, "the kernel does not have this watchdog", source, applies=False)


def _feat_nmi(facts: HostFacts) -> Iterator[Witness]:
    """No kernel that was booted uses FEAT_NMI: whatever says so leaves the question open."""
    log = facts.bootlog
    shown = [("the boot log says that FEAT_NMI was detected", KMSG)] if log and log.feat_nmi else []
    for name, value in parse_parameters(facts.command_line or ""):
        if name == FEAT_NMI_PARAMETER:
            shown.append((f"the command line has {name}={value or ''}", CMDLINE))
    for config in facts.configs:
        for symbol in ("ARM64_NMI", "ARM64_USES_NMI"):
            if dict(config.values).get(symbol) == "y":
                shown.append((f"CONFIG_{symbol}=y", config.source))
    for seen, source in shown:
        text = f"{seen}: sdeictl does not know how that kernel uses FEAT_NMI"
        yield Witness(None, text, source)
    if facts.configs and not shown:
        seen = "this kernel does not use FEAT_NMI; a program cannot see whether the CPUs have it"
        yield Witness(False, seen, facts.configs[0].source, applies=False)


MACHINE_CHECKS = (
    Check(
        "kernel-config-agrees", None, "The copies of the kernel's configuration agree",
        "A file named after the release may belong to another build than the kernel that runs.",
        f"{CONFIG_GZ}, {' and '.join(config_files('RELEASE'))} agree with kallsyms",
        "Reinstall the package of the kernel, or boot the kernel that it installed.",
        Owner.ADMIN, _configs_agree,
    ),
    Check(
        "agdi-handled", None, "The BMC's diagnostic button reaches this kernel",
        "The ACPI table AGDI announces an SDEI event or an interrupt with which a BMC makes the kernel"
        " panic and dump, even if no CPU answers any more.",
        "the table AGDI exists, and the device agdi.0 has a driver",
        "Build the kernel with CONFIG_ACPI_AGDI=y. If it has it, the agdi lines of the boot log name the"
        " error.",
        Owner.KERNEL, _agdi,
    ),
    Check(
        "ghes-sdei-handled", None, "Errors that firmware reports through SDEI reach this kernel",
        "Firmware may report hardware errors by further SDEI events, through the same code and the same"
        " masking.",
        "every error source in the table HEST that uses SDEI has a driver",
        "Build the kernel with CONFIG_ACPI_APEI_GHES=y and CONFIG_ARM_SDE_INTERFACE=y. If it has both, the"
        " GHES lines of the boot log name the error.",
        Owner.KERNEL, _ghes,
    ),
    Check(
        "sdei-watchdog", None, "The SDEI watchdog of openEuler and Anolis is recognised",
        "It detects hard lockups by an SDEI event of a secure timer. It is a separate user of SDEI: it does"
        " not carry backtrace requests, and does not show whether event 0 works.",
        "the boot log names the SDEI NMI watchdog, or the kernel has sdei_watchdog_callback()",
        "No action needed.",
        Owner.KERNEL, _other_watchdog,
    ),
    Check(
        "feat-nmi", None, "FEAT_NMI",
        "Armv8.8 has real non-maskable interrupts. Linux 7.3 does not use them on a host, and a program"
        " cannot see whether the CPUs have them.",
        "a kernel that uses FEAT_NMI",
        "No action needed.",
        Owner.KERNEL, _feat_nmi,
    ),
)  # fmt: skip
