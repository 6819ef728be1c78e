"""The links of the SDEI path: firmware, its table, the kernel's drivers, the registration of event 0."""

from __future__ import annotations

from collections.abc import Iterator

from sdeictl.host.paths import (
    ACPI_TABLES,
    CONFIG_GZ,
    DEVICE_TREE,
    HOTPLUG_STATES,
    KALLSYMS,
    KCORE,
    KMSG,
    PLATFORM_BUS,
)
from sdeictl.klog.bootlog import BootLog
from sdeictl.klog.messages import sdei
from sdeictl.klog.words import NmiPath
from sdeictl.probe.checks.check import Check, Witness, configured, has_function
from sdeictl.probe.facts import HostFacts, PlatformDevice
from sdeictl.probe.kernel import FLAG
from sdeictl.probe.words import Owner


def _answered(facts: HostFacts) -> Iterator[Witness]:
    log = facts.bootlog
    # Firmware that serves one exception level refuses a caller at another.
    refused = log is not None and _is_nvhe(log)
    if log and log.sdei_error:
        yield Witness(None if refused else False, f"the boot log says: {_explain(log)}", KMSG)
    if facts.hotplug_states and "SDEI" in facts.hotplug_states.names:
        yield Witness(
            True, "the SDEI hotplug state is installed, so the driver's probe completed", HOTPLUG_STATES
        )
    if log and log.sdei_version:
        yield Witness(True, f"the boot log says: SDEIv{log.sdei_version} detected in firmware", KMSG)
    for device in _sdei_devices(facts):
        if device.bound is False and _is_advertised(facts) and not refused:
            source = f"{PLATFORM_BUS}/devices/{device.name}"
            if facts.sdei_driver is False:
                seen = (
                    f"the kernel lacks the driver of the device {device.name}, so it did not ask the firmware"
                )
                remedy = "Build the kernel with CONFIG_ARM_SDE_INTERFACE=y: only then can it ask."
                yield Witness(False, seen, source, owner=Owner.KERNEL, remedy=remedy)
            else:
                yield Witness(False, f"the driver did not accept the device {device.name}", source)
    if _is_advertised(facts) is False:
        source = next(witness.source for witness in _advertised(facts))
        yield Witness(
            False, "the kernel did not ask the firmware: SDEI is not advertised", source, applies=False
        )
    elif log and log.complete and not (log.sdei_version or log.sdei_error):
        yield Witness(None, "the boot log has no line of the SDEI driver", KMSG)


def _sdei_devices(facts: HostFacts) -> Iterator[PlatformDevice]:
    for device in facts.devices or ():
        if device.name.startswith("sdei.") or device.name.endswith(":sdei"):
            yield device


def _is_nvhe(log: BootLog) -> bool:
    return log.exception_level == 2 and log.complete and not log.vhe


def _explain(log: BootLog) -> str:
    """Return the driver's error line with what its number and the exception level mean."""
    line = log.sdei_error or ""
    meaning = _ERRNO.get(line.rpartition(" ")[2])
    if _is_nvhe(log):
        meaning = "the kernel started at EL2 without VHE, and firmware refuses such a caller"
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
        yield Witness(True, "the ACPI table SDEI exists", table)
    for node in facts.sdei_nodes or ():
        seen = f"a device-tree node is compatible with arm,sdei-1.0 (method {node.method})"
        yield Witness(True, seen, node.path)
    if facts.bootlog and (facts.bootlog.sdei_version or facts.bootlog.sdei_error):
        yield Witness(True, "the boot log shows that the driver found SDEI", KMSG)
    if facts.acpi_tables is not None and "SDEI" not in facts.acpi_tables:
        yield Witness(False, "the ACPI table SDEI does not exist", table)
    if facts.sdei_nodes == ():
        yield Witness(
            False, "no device-tree node in use is compatible with arm,sdei-1.0", f"{DEVICE_TREE}/firmware"
        )


def _is_advertised(facts: HostFacts) -> bool | None:
    return next((witness.holds for witness in _advertised(facts) if witness.holds is not None), None)


def _not_advertised(facts: HostFacts) -> Iterator[Witness]:
    """Where SDEI is not advertised, the other questions about it do not apply."""
    if _is_advertised(facts) is False:
        source = next(witness.source for witness in _advertised(facts))
        yield Witness(False, "SDEI is not advertised", source, applies=False)


def _conduit(facts: HostFacts) -> Iterator[Witness]:
    log = facts.bootlog
    if log and '"method"' in (log.sdei_error or ""):
        yield Witness(False, f"the boot log says: {log.sdei_error}", KMSG)
    yield from _not_advertised(facts)
    for node in facts.sdei_nodes or ():
        if node.method_known:
            seen = f"the method of the device-tree node is {node.method or 'missing'}"
            yield Witness(node.method in ("smc", "hvc"), seen, f"{node.path}/method")
    if facts.fadt:
        word = "HVC" if facts.fadt.hvc else "SMC"
        yield Witness(True, f"the table FACP says {word}", f"{ACPI_TABLES}/FACP")


def _exception_level(facts: HostFacts) -> Iterator[Witness]:
    log = facts.bootlog
    if log and _is_nvhe(log):
        seen = "the CPUs started at EL2 and the kernel runs at EL1 (no VHE), but firmware serves EL2 only"
        yield Witness(False, seen, KMSG)
    elif log and log.exception_level:
        vhe = " and the kernel runs there (VHE)" if log.vhe else ""
        known = log.exception_level == 1 or log.vhe
        yield Witness(True if known else None, f"the CPUs started at EL{log.exception_level}{vhe}", KMSG)
    if facts.hotplug_states and "SDEI" in facts.hotplug_states.names:
        yield Witness(True, "the driver's probe completed", HOTPLUG_STATES)


def _affinity(facts: HostFacts) -> Iterator[Witness]:
    yield from _not_advertised(facts)
    sources = [(facts.madt.mpidrs, f"{ACPI_TABLES}/APIC")] if facts.madt else []
    if facts.bootlog and facts.bootlog.complete:
        sources.append((facts.bootlog.mpidrs, KMSG))
    for mpidrs, source in sources:
        beyond = [mpidr for mpidr in mpidrs if mpidr & 0xFF > MAX_AFF0]
        if beyond:
            yield Witness(
                False,
                f"Aff0 is above {MAX_AFF0} on {len(beyond)} CPUs, the first one with MPIDR {beyond[0]:#x}",
                source,
            )
        elif mpidrs:
            seen = f"{len(mpidrs)} CPUs is {max(m & 0xFF for m in mpidrs)} or less"
            online = facts.cpus.online if facts.cpus else len(mpidrs)
            if len(mpidrs) < online:
                yield Witness(None, f"Aff0 of {len(mpidrs)} of the {online} CPUs is known", source)
            else:
                yield Witness(True, f"Aff0 of all {seen}", source)


def _interface_built_by_devices(facts: HostFacts) -> Iterator[Witness]:
    for device in _sdei_devices(facts):
        if device.name.startswith("sdei."):
            yield Witness(
                True, "the driver created the device sdei.0", f"{PLATFORM_BUS}/devices/{device.name}"
            )


def _interface_built(facts: HostFacts) -> Iterator[Witness]:
    if facts.bootlog and (facts.bootlog.sdei_version or facts.bootlog.sdei_error):
        yield Witness(True, "the boot log has lines of the SDEI driver (sdei:)", KMSG)
    yield from has_function(facts, "sdei_probe")
    yield from _interface_built_by_devices(facts)
    yield from configured(facts, "ARM_SDE_INTERFACE")


def _ghes_built(facts: HostFacts) -> Iterator[Witness]:
    if facts.tables == "devicetree":
        seen = "with a device tree the driver finds SDEI without this code"
        yield Witness(False, seen, DEVICE_TREE, applies=False)
        return
    yield from _interface_built_by_devices(facts)
    yield from has_function(facts, "ghes_probe")
    yield from configured(facts, "ACPI_APEI_GHES")


def _nmi_built(facts: HostFacts) -> Iterator[Witness]:
    if facts.bootlog and (facts.bootlog.sdei_nmi or facts.bootlog.sdei_nmi_error):
        yield Witness(True, "the boot log has lines of the SDEI cross-CPU NMI (sdei_nmi:)", KMSG)
    if facts.symbols:
        if "sdei_nmi_handler" in facts.symbols.names:
            yield Witness(True, "the kernel has sdei_nmi_handler()", KALLSYMS)
        elif facts.symbols.complete and "sdei_probe" in facts.symbols.names:
            yield Witness(False, "the kernel has sdei_probe() but no sdei_nmi_handler()", KALLSYMS)
    yield from configured(facts, "ARM_SDEI_NMI")
    log = facts.bootlog
    if log and log.complete and log.sdei_version and not (log.sdei_nmi or log.sdei_nmi_error):
        yield Witness(False, _SAID_NOTHING, KMSG)


# It registers in any case, or says why not (sdei_nmi_init() in drivers/firmware/arm_sdei_nmi.c).
_SAID_NOTHING = "the boot log has the line of the SDEI driver, but none of the SDEI cross-CPU NMI"


def _nmi_registered(facts: HostFacts) -> Iterator[Witness]:
    log = facts.bootlog
    if log and log.sdei_disabled:
        yield Witness(False, f"the boot log says: {sdei.DISABLED}", KMSG)
    else:
        yield from _serves(facts)
    if log and log.sdei_nmi_error:
        yield Witness(False, f"the boot log says: {log.sdei_nmi_error}", KMSG)
    if log and log.complete and not log.sdei_nmi and facts.proven_path is not NmiPath.SDEI:
        seen = f'the boot log has no "{sdei.USING}"'
        if _may_word_it_otherwise(facts):
            seen += ", and no error either, although the kernel has the code and the driver's probe completed"
            yield Witness(None, seen, KMSG)
        else:
            yield Witness(False, seen, KMSG)
    states = facts.hotplug_states
    if states and states.complete and "SDEI" not in states.names:
        yield Witness(False, "the SDEI hotplug state is not installed", HOTPLUG_STATES)
    # A name in kallsyms proves only that the code exists; without the name the service cannot exist.
    for witness in _nmi_built(facts):
        if witness.holds is False and witness.source in (KALLSYMS, CONFIG_GZ):
            yield witness


def _serves(facts: HostFacts) -> Iterator[Witness]:
    """Yield what shows that the service works, as long as nothing has switched SDEI off since."""
    if facts.sdei_nmi_available is not None:
        seen = f"the kernel's {FLAG} reads {int(facts.sdei_nmi_available)}"
        yield Witness(facts.sdei_nmi_available, seen, KCORE)
    if facts.bootlog and facts.bootlog.sdei_nmi:
        yield Witness(True, f"the boot log says: {sdei.USING}", KMSG)
    yield from _answer_shows(facts)


def _may_word_it_otherwise(facts: HostFacts) -> bool:
    """Tell whether the service must have said something, and said none of the lines that are known."""
    states, symbols = facts.hotplug_states, facts.symbols
    said = facts.bootlog and facts.bootlog.sdei_nmi_error
    built = symbols and "sdei_nmi_handler" in symbols.names
    return bool(built and states and "SDEI" in states.names and not said)


def _answer_shows(facts: HostFacts) -> Iterator[Witness]:
    if facts.proven_path is NmiPath.SDEI:
        yield Witness(True, "a masked CPU answered a request by SDEI in this log", KMSG)
    if facts.proven_path is NmiPath.PSEUDO_NMI:
        seen = "a masked CPU answered by pseudo-NMI in this log, and a kernel with SDEI uses nothing else"
        yield Witness(False, seen, KMSG)


MAX_AFF0 = 15
"""The highest Aff0 in the target list of an SGI (Arm IHI 0069, ICC_SGI0R_EL1.TargetList)."""

SDEI_CHECKS = (
    Check(
        "sdei-answered", NmiPath.SDEI, "The firmware answers SDEI calls",
        "SDEI is a service of the firmware at EL3, or of a hypervisor. Without it no event can interrupt a"
        " CPU that has its interrupts masked.",
        "SDEIv1.x detected in firmware, and the driver's probe completed",
        "Ask the firmware vendor for SDEI 1.x (Arm DEN0054) with event 0 signalable; with Trusted Firmware-A:"
        " SDEI_SUPPORT=1 EL3_EXCEPTION_HANDLING=1.",
        Owner.FIRMWARE, _answered,
    ),
    Check(
        "sdei-affinity", None, "Every CPU's Aff0 is 15 or less",
        "Trusted Firmware-A signals event 0 by a software-generated interrupt, which can address only 16"
        " CPUs by Aff0. Such firmware would not reach a CPU with a higher Aff0.",
        "no MPIDR has an Aff0 of 16 or more",
        "Ask the firmware vendor how event 0 reaches those CPUs, and prove it: sdeictl drill backtrace"
        " --masked --cpu N.",
        Owner.FIRMWARE, _affinity,
    ),
    Check(
        "sdei-advertised", NmiPath.SDEI, "The firmware advertises SDEI",
        "The kernel calls SDEI only if an ACPI table or a device-tree node advertises it.",
        "an ACPI table SDEI, or /firmware/sdei in the device tree",
        "Ask the firmware vendor to publish the ACPI table SDEI, or the device-tree node"
        ' compatible with "arm,sdei-1.0".',
        Owner.FIRMWARE, _advertised,
    ),
    Check(
        "sdei-conduit", NmiPath.SDEI, "The firmware says how to call it",
        "The driver calls firmware by SMC or by HVC. With a device tree it gives up if the node does not"
        " say which.",
        "SMC or HVC, in the table FACP or in the node's property method",
        'Ask the firmware vendor to give the node a property method = "smc" (or "hvc").',
        Owner.FIRMWARE, _conduit,
    ),
    Check(
        "sdei-interface-built", NmiPath.SDEI, "The kernel has the SDEI driver",
        "Without the driver, firmware has nothing in the kernel to call.",
        "CONFIG_ARM_SDE_INTERFACE=y", "Build the kernel with CONFIG_ARM_SDE_INTERFACE=y.",
        Owner.KERNEL, _interface_built,
    ),
    Check(
        "sdei-ghes-built", NmiPath.SDEI, "The kernel looks for the ACPI table SDEI",
        "With ACPI, the code of the generic hardware error source starts the SDEI driver (acpi_ghes_init())."
        " Without that code the kernel never looks at the table, and logs nothing.",
        "CONFIG_ACPI_APEI_GHES=y", "Build the kernel with CONFIG_ACPI_APEI_GHES=y.",
        Owner.KERNEL, _ghes_built,
    ),
    Check(
        "sdei-nmi-built", NmiPath.SDEI, "The kernel has the SDEI cross-CPU NMI",
        "The driver alone serves firmware-first errors. Only the service that Linux 7.3 added sends backtrace"
        " requests and stops CPUs through SDEI.",
        "CONFIG_ARM_SDEI_NMI=y",
        "Build the kernel with CONFIG_ARM_SDEI_NMI=y (Linux 7.3 or a backport).",
        Owner.KERNEL, _nmi_built,
    ),
    Check(
        "sdei-exception-level", NmiPath.SDEI, "The kernel runs at the exception level that firmware serves",
        "Firmware accepts SDEI calls only from the highest exception level below its own. It refuses a kernel"
        " that started at EL2 and runs at EL1.",
        "started at EL1, or at EL2 with VHE",
        "Boot without kvm-arm.mode=nvhe or kvm-arm.mode=protected. On CPUs without VHE ask the firmware"
        " vendor to start the kernel at EL1.",
        Owner.ADMIN, _exception_level,
    ),
    Check(
        "sdei-nmi-registered", NmiPath.SDEI, "The SDEI cross-CPU NMI is registered",
        "The kernel sends requests through SDEI only once event 0 is registered and enabled on every CPU."
        " From then on it uses nothing else.",
        f"the boot log says: {sdei.USING}",
        "Fix the earlier links first. If they all pass, the sdei_nmi lines of the boot log name the error.",
        Owner.KERNEL, _nmi_registered, decides=True,
    ),
)  # fmt: skip
