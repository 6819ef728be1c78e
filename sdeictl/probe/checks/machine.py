"""What else of the machine bears on the answer: other users of SDEI, FEAT_NMI, sources that disagree."""

from collections.abc import Iterator, Sequence

from sdeictl.probe.checks.check import Check, Witness
from sdeictl.probe.facts import KMSG, HostFacts
from sdeictl.probe.firmware import ACPI_TABLES
from sdeictl.probe.kernel import CONFIG_GZ, KALLSYMS

_FUNCTIONS = {"ARM_SDE_INTERFACE": "sdei_probe", "ARM_SDEI_NMI": "sdei_nmi_handler"}
"""A function that the kernel has if, and only if, the option is on."""


def _configs_agree(facts: HostFacts) -> Iterator[Witness]:
    stated = [(config.source, dict(config.values)) for config in facts.configs]
    differences = tuple(_differences(facts, stated))
    yield from differences
    if len(stated) > 1 and not differences:
        yield Witness(True, f"{len(stated)} copies were compared", stated[0][0])
    elif stated and not differences:
        source = stated[0][0]
        only = "it is part of the kernel" if source == CONFIG_GZ else "there is only one"
        yield Witness(True, only, source)


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
        yield Witness(False, "there is no ACPI table AGDI", path, applies=False)
        return
    bound = _bound(facts, "agdi.0")
    if facts.agdi and bound is not None:
        way = (
            f"SDEI event {facts.agdi.sdei_event}"
            if facts.agdi.gsiv is None
            else f"interrupt {facts.agdi.gsiv}"
        )
        seen = f"the table announces {way}; the device agdi.0 {'has' if bound else 'has no'} driver"
        yield Witness(bound, seen, path)


def _ghes(facts: HostFacts) -> Iterator[Witness]:
    path = f"{ACPI_TABLES}/HEST"
    if facts.tables == "devicetree" or (facts.acpi_tables is not None and "HEST" not in facts.acpi_tables):
        yield Witness(False, "there is no ACPI table HEST", path, applies=False)
        return
    if facts.hest is None:
        return
    sources = [source for source in facts.hest if source.enabled and source.sdei_event is not None]
    if not sources:
        yield Witness(False, "no error source is notified by SDEI", path, applies=False)
        return
    bound = [_bound(facts, f"GHES.{source.id}") for source in sources]
    events = ", ".join(str(source.sdei_event) for source in sources)
    if False in bound:
        lost = sources[bound.index(False)]
        yield Witness(False, f"error source {lost.id} (event {lost.sdei_event}) has no driver", path)
    elif None not in bound:
        yield Witness(True, f"{len(sources)} error sources, SDEI events {events}", path)


def _bound(facts: HostFacts, name: str) -> bool | None:
    """Tell whether a platform device has a driver; a device that is not there has none."""
    if facts.devices is None:
        return None
    return next((device.bound for device in facts.devices if device.name == name), False)


def _other_watchdog(facts: HostFacts) -> Iterator[Witness]:
    log = facts.bootlog
    if log and log.sdei_watchdog:
        yield Witness(True, f"the boot log says: SDEI NMI watchdog: {log.sdei_watchdog}", KMSG)
    if facts.symbols and "sdei_watchdog_callback" in facts.symbols.names:
        yield Witness(True, "the kernel has sdei_watchdog_callback()", KALLSYMS)
    if (facts.symbols and facts.symbols.complete) or (log and log.complete):
        source = KALLSYMS if facts.symbols and facts.symbols.complete else KMSG
        yield Witness(False, "the kernel has none", source, applies=False)


def _feat_nmi(facts: HostFacts) -> Iterator[Witness]:
    if facts.bootlog and facts.bootlog.feat_nmi:
        yield Witness(None, "the boot log says that it was detected", KMSG)
    for config in facts.configs:
        if dict(config.values).get("ARM64_NMI") == "y":
            seen = "CONFIG_ARM64_NMI=y: a use of FEAT_NMI that this tool does not know"
            yield Witness(None, seen, config.source)
            return
    if facts.configs and not (facts.bootlog and facts.bootlog.feat_nmi):
        seen = "not used by this kernel; whether the CPUs have it cannot be seen"
        yield Witness(False, seen, facts.configs[0].source, applies=False)


MACHINE_CHECKS = (
    Check(
        "kernel-config-agrees", "", "The copies of the kernel's configuration agree",
        "A file named after the release may be of another build than the kernel that runs.",
        "/proc/config.gz, /boot/config-RELEASE, /lib/modules/RELEASE/config and kallsyms say the same",
        "Reinstall the kernel's package, or boot the kernel that it installed.",
        "admin", _configs_agree,
    ),
    Check(
        "agdi-handled", "", "The BMC's diagnostic button reaches this kernel",
        "The ACPI table AGDI announces an SDEI event or an interrupt by which a BMC makes a kernel panic"
        " and dump, also one that no CPU of answers.",
        "a table AGDI, and a driver on agdi.0",
        "Build the kernel with CONFIG_ACPI_AGDI=y; where it is built, the boot log's lines of agdi name the"
        " error.",
        "kernel", _agdi,
    ),
    Check(
        "ghes-sdei-handled", "", "Errors that firmware reports by SDEI reach this kernel",
        "Hardware errors may be notified by SDEI events of their own: the same firmware, the same masking.",
        "every error source of the table HEST that is notified by SDEI has a driver",
        "Build the kernel with CONFIG_ACPI_APEI_GHES=y and CONFIG_ARM_SDE_INTERFACE=y; the boot log's lines"
        " of GHES name the error.",
        "kernel", _ghes,
    ),
    Check(
        "sdei-watchdog", "", "The SDEI watchdog of openEuler and Anolis is recognised",
        "It detects hard lockups by an SDEI event of a secure timer. It is another user of SDEI: it does"
        " not carry requests for backtraces, and says nothing about event 0.",
        "SDEI NMI watchdog in the boot log, or sdei_watchdog_callback()",
        "Nothing is to be mended.",
        "kernel", _other_watchdog,
    ),
    Check(
        "feat-nmi", "", "FEAT_NMI",
        "Armv8.8 has real non-maskable interrupts. Linux 7.3 does not use them on a host, and a program"
        " cannot see whether the CPUs have them.",
        "a kernel that uses it",
        "Nothing is to be mended.",
        "kernel", _feat_nmi,
    ),
)  # fmt: skip
