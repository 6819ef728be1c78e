"""The table of checks, in chain order: firmware, table, kernel build, boot arguments, registration.

Each judge looks at the facts on its own and returns what every source says;
the first definite source decides. `unknown` is what is left when none is.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from sdeictl.bootlog import BootLog
from sdeictl.cmdline import PSEUDO_NMI, wants_pseudo_nmi
from sdeictl.collect import (
    ACPI_TABLES,
    CMDLINE,
    CONFIG_GZ,
    DEVICE_TREE,
    HOTPLUG_STATES,
    KALLSYMS,
    KMSG,
    PLATFORM_BUS,
)
from sdeictl.facts import HostFacts

PASS, FAIL, UNKNOWN, NOT_APPLICABLE = "pass", "fail", "unknown", "not-applicable"


class Witness(NamedTuple):
    """What one source says about one question."""

    holds: bool | None
    """None: it leaves the question open, `seen` says why."""
    seen: str
    source: str
    applies: bool = True
    """False: by this source the question does not arise."""


class Check(NamedTuple):
    """One question about one link of the chain."""

    id: str
    path: str
    """The nmi path that needs this link: `sdei` or `pseudo-nmi`."""
    title: str
    wanted: str
    remedy: str
    owner: str
    """Who can act: firmware | kernel | admin."""
    witnesses: Callable[[HostFacts], Iterator[Witness]]


class Finding(NamedTuple):
    """The judgement on one check, with its evidence."""

    id: str
    title: str
    outcome: str
    severity: str
    """error | notice | info; see verdict.settle()."""
    seen: str
    wanted: str
    sources: tuple[str, ...]
    remedy: str
    owner: str


def judge(check: Check, facts: HostFacts) -> Finding:
    """Return the finding of one check: the first definite witness decides, the agreeing ones are named."""
    witnesses = tuple(check.witnesses(facts))
    decisive = next((witness for witness in witnesses if witness.holds is not None), None)
    if decisive is None:
        outcome = UNKNOWN
        seen = (
            "; ".join(witness.seen for witness in witnesses)
            or "no source for this could be read; see the gaps"
        )
        sources = tuple(witness.source for witness in witnesses)
    else:
        outcome = (PASS if decisive.holds else FAIL) if decisive.applies else NOT_APPLICABLE
        others = [witness for witness in witnesses if witness is not decisive and witness.holds is not None]
        against = [witness for witness in others if witness.holds != decisive.holds]
        seen = "; ".join([decisive.seen, *(f"but {witness.seen}" for witness in against)])
        sources = (decisive.source, *(w.source for w in others if w not in against))
    severity = {PASS: "info", FAIL: "error", UNKNOWN: "notice"}.get(outcome, "info")
    return Finding(
        check.id, check.title, outcome, severity, seen, check.wanted, sources, check.remedy, check.owner
    )


def _answered(facts: HostFacts) -> Iterator[Witness]:
    log = facts.bootlog
    if log and log.sdei_error:
        yield Witness(False, f"the boot log says: {_explain(log)}", KMSG)
    if facts.hotplug_states and "SDEI" in facts.hotplug_states.names:
        yield Witness(True, "the SDEI hotplug state is installed: its probe came to the end", HOTPLUG_STATES)
    if log and log.sdei_version:
        yield Witness(True, f"the boot log says: SDEIv{log.sdei_version} detected in firmware", KMSG)
    for device in facts.sdei_devices or ():
        if device.bound is False and _is_advertised(facts):
            source = f"{PLATFORM_BUS}/devices/{device.name}"
            yield Witness(False, f"the driver did not accept the device {device.name}", source)
    if _is_advertised(facts) is False:
        source = next(witness.source for witness in _advertised(facts))
        yield Witness(False, "nobody asked: SDEI is not advertised", source, applies=False)
    elif log and log.complete and not (log.sdei_version or log.sdei_error):
        yield Witness(None, "the boot log has no line of the SDEI driver", KMSG)


def _explain(log: BootLog) -> str:
    """Return the driver's error line with what its number and the exception level mean."""
    line = log.sdei_error or ""
    meaning = _ERRNO.get(line.rpartition(" ")[2])
    if log.exception_level == 2 and log.complete and not log.vhe:
        meaning = "started at EL2 without VHE, the kernel is a caller that firmware refuses"
    return f"{line} ({meaning})" if meaning else line


# drivers/firmware/arm_sdei.c, sdei_to_linux_errno()
_ERRNO = {
    "-1": "EPERM: denied",
    "-5": "EIO: no firmware interface",
    "-12": "ENOMEM: firmware is out of resources",
    "-22": "EINVAL: invalid parameters",
    "-95": "EOPNOTSUPP: the firmware does not implement it",
}


def _advertised(facts: HostFacts) -> Iterator[Witness]:
    table = f"{ACPI_TABLES}/SDEI"
    if facts.acpi_sdei_broken:
        yield Witness(None, f"the ACPI table SDEI is damaged: {facts.acpi_sdei_broken}", table)
    elif "SDEI" in (facts.acpi_tables or ()):
        yield Witness(True, "there is an ACPI table SDEI", table)
    for node in facts.sdei_nodes or ():
        seen = f"there is a node compatible with arm,sdei-1.0 (method {node.method})"
        yield Witness(True, seen, node.path)
    if facts.bootlog and (facts.bootlog.sdei_version or facts.bootlog.sdei_error):
        yield Witness(True, "the boot log shows that the driver found it", KMSG)
    if facts.acpi_tables is not None and "SDEI" not in facts.acpi_tables:
        yield Witness(False, "there is no ACPI table SDEI", table)
    if facts.sdei_nodes == ():
        yield Witness(False, "no node is compatible with arm,sdei-1.0", f"{DEVICE_TREE}/firmware")


def _is_advertised(facts: HostFacts) -> bool | None:
    return next((witness.holds for witness in _advertised(facts) if witness.holds is not None), None)


def _configured(facts: HostFacts, symbol: str) -> Iterator[Witness]:
    for config in facts.configs:
        value = dict(config.values).get(symbol)
        if value is not None:
            word = "is not set" if value == "n" else f"={value}"
            yield Witness(value == "y", f"CONFIG_{symbol} {word}".replace(" =", "="), config.source)
        else:
            # Part of the kernel and whole: an option without a line is off in that kernel.
            holds = False if config.of_running_kernel else None
            yield Witness(holds, f"CONFIG_{symbol} is not listed", config.source)


def _interface_built(facts: HostFacts) -> Iterator[Witness]:
    if facts.bootlog and (facts.bootlog.sdei_version or facts.bootlog.sdei_error):
        yield Witness(True, "the boot log has lines of the SDEI driver (sdei:)", KMSG)
    if facts.symbols:
        if "sdei_probe" in facts.symbols.names:
            yield Witness(True, "the kernel has sdei_probe()", KALLSYMS)
        elif facts.symbols.complete:
            yield Witness(False, "the kernel has no sdei_probe()", KALLSYMS)
    yield from _configured(facts, "ARM_SDE_INTERFACE")


def _nmi_built(facts: HostFacts) -> Iterator[Witness]:
    if facts.bootlog and (facts.bootlog.sdei_nmi or facts.bootlog.sdei_nmi_error):
        yield Witness(True, "the boot log has lines of the service (sdei_nmi:)", KMSG)
    if facts.symbols:
        if "sdei_nmi_handler" in facts.symbols.names:
            yield Witness(True, "the kernel has sdei_nmi_handler()", KALLSYMS)
        elif facts.symbols.complete and "sdei_probe" in facts.symbols.names:
            yield Witness(False, "the kernel has sdei_probe() but no sdei_nmi_handler()", KALLSYMS)
    yield from _configured(facts, "ARM_SDEI_NMI")


def _pseudo_nmi_built(facts: HostFacts) -> Iterator[Witness]:
    if facts.bootlog and facts.bootlog.pseudo_nmi:
        yield Witness(True, "the boot log says: Pseudo-NMIs enabled", KMSG)
    yield from _configured(facts, "ARM64_PSEUDO_NMI")


def _pseudo_nmi_requested(facts: HostFacts) -> Iterator[Witness]:
    if facts.bootlog and facts.bootlog.pseudo_nmi:
        yield Witness(True, "the boot log says: Pseudo-NMIs enabled", KMSG)
    if facts.command_line is not None:
        wanted = wants_pseudo_nmi(facts.command_line)
        yield Witness(wanted, f"{PSEUDO_NMI} is {'on' if wanted else 'not on'}", CMDLINE)


def _pseudo_nmi_enabled(facts: HostFacts) -> Iterator[Witness]:
    log = facts.bootlog
    if log and log.pseudo_nmi:
        yield Witness(
            True, f"the boot log says: Pseudo-NMIs enabled using {log.pseudo_nmi} synchronisation", KMSG
        )
    if log and log.complete and not log.pseudo_nmi:
        why = f": {log.pseudo_nmi_error}" if log.pseudo_nmi_error else ""
        yield Witness(False, f'the boot log has no "Pseudo-NMIs enabled"{why}', KMSG)
    if facts.command_line is not None and not wants_pseudo_nmi(facts.command_line):
        yield Witness(False, f"{PSEUDO_NMI} is not on, and the default is off", CMDLINE)
    for witness in _configured(facts, "ARM64_PSEUDO_NMI"):
        if witness.holds is False:
            yield witness


def _nmi_registered(facts: HostFacts) -> Iterator[Witness]:
    log = facts.bootlog
    if log and log.sdei_nmi:
        yield Witness(True, "the boot log says: using SDEI cross-CPU NMI", KMSG)
    if log and log.sdei_nmi_error:
        yield Witness(False, f"the boot log says: {log.sdei_nmi_error}", KMSG)
    if log and log.complete and not log.sdei_nmi:
        yield Witness(False, 'the boot log has no "using SDEI cross-CPU NMI"', KMSG)
    states = facts.hotplug_states
    if states and states.complete and "SDEI" not in states.names:
        yield Witness(False, "there is no SDEI hotplug state", HOTPLUG_STATES)
    # A name in kallsyms proves only that the code is there; its absence proves that it cannot serve.
    for witness in _nmi_built(facts):
        if witness.holds is False and witness.source in (KALLSYMS, CONFIG_GZ):
            yield witness


CHECKS = (
    Check(
        "sdei-answered", "sdei", "The firmware answers SDEI calls",
        "SDEIv1.x detected in firmware, and the driver's probe completed",
        "Ask the firmware vendor for SDEI 1.x (Arm DEN0054) with event 0 signalable; with Trusted Firmware-A:"
        " SDEI_SUPPORT=1 EL3_EXCEPTION_HANDLING=1.",
        "firmware", _answered,
    ),
    Check(
        "sdei-advertised", "sdei", "The firmware advertises SDEI",
        "an ACPI table SDEI, or /firmware/sdei in the device tree",
        "Ask the firmware vendor to publish the ACPI table SDEI, or the device-tree node"
        ' compatible with "arm,sdei-1.0".',
        "firmware", _advertised,
    ),
    Check(
        "sdei-interface-built", "sdei", "The kernel has the SDEI driver",
        "CONFIG_ARM_SDE_INTERFACE=y", "Build the kernel with CONFIG_ARM_SDE_INTERFACE=y.",
        "kernel", _interface_built,
    ),
    Check(
        "sdei-nmi-built", "sdei", "The kernel has the SDEI cross-CPU NMI",
        "CONFIG_ARM_SDEI_NMI=y",
        "Build the kernel with CONFIG_ARM_SDEI_NMI=y (Linux 7.3 or a backport).",
        "kernel", _nmi_built,
    ),
    Check(
        "pseudo-nmi-built", "pseudo-nmi", "The kernel can do pseudo-NMI",
        "CONFIG_ARM64_PSEUDO_NMI=y",
        "Build the kernel with CONFIG_ARM64_PSEUDO_NMI=y, and CONFIG_HARDLOCKUP_DETECTOR_PREFER_BUDDY=y: else"
        " hard lockups are left to the perf detector, which does not run without the boot parameter.",
        "kernel", _pseudo_nmi_built,
    ),
    Check(
        "pseudo-nmi-requested", "pseudo-nmi", "The command line asks for pseudo-NMI",
        f"{PSEUDO_NMI}=1",
        f"Boot with {PSEUDO_NMI}=1 (needs a GICv3). It makes every interrupt mask and unmask slower:"
        " measure first.",
        "admin", _pseudo_nmi_requested,
    ),
    Check(
        "sdei-nmi-registered", "sdei", "The SDEI cross-CPU NMI is registered",
        "the boot log says: using SDEI cross-CPU NMI",
        "Mend the links before this one; where they hold, the boot log's lines of sdei_nmi name the error.",
        "kernel", _nmi_registered,
    ),
    Check(
        "pseudo-nmi-enabled", "pseudo-nmi", "Pseudo-NMI is on",
        "the boot log says: Pseudo-NMIs enabled",
        "Mend the links before this one; where they hold, the GIC is no GICv3, or a quirk forbids it.",
        "admin", _pseudo_nmi_enabled,
    ),
)  # fmt: skip
