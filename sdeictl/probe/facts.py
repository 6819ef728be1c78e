"""What is known about a host. Frozen, no behaviour; None means "not known", never "no"."""

from typing import NamedTuple

from sdeictl.klog.bootlog import BootLog

KMSG = "/dev/kmsg"


class Gap(NamedTuple):
    """A source that could not be read, or not to its end."""

    source: str
    """Path as on the host."""
    kind: str
    """absent | denied | broken"""
    detail: str


class KernelConfig(NamedTuple):
    """One copy of the kernel's configuration, reduced to the symbols that are asked for."""

    source: str
    of_running_kernel: bool
    """/proc/config.gz is part of the kernel; a file named after the release may differ from it."""
    values: tuple[tuple[str, str], ...]
    """(symbol, value) with `n` for "is not set"; a symbol that is not listed is not here."""


class Symbols(NamedTuple):
    """Which of the asked names /proc/kallsyms has."""

    names: frozenset[str]
    complete: bool
    """`_end` was seen: a name that is not here is not in the kernel."""


class HotplugStates(NamedTuple):
    """CPU hotplug states, /sys/devices/system/cpu/hotplug/states."""

    names: tuple[str, ...]
    complete: bool
    """The last state, `online`, was seen."""


class PlatformDevice(NamedTuple):
    """A device on the platform bus."""

    name: str
    bound: bool | None
    """It has a driver; None if the tree could not show one."""


class SdeiNode(NamedTuple):
    """A child of the device tree's /firmware that is compatible with arm,sdei-1.0."""

    path: str
    method: str | None
    method_known: bool = True
    """False: the property could not be read."""


class AcpiTable(NamedTuple):
    """The header of an ACPI table (ACPI 6.5, section 5.2.6)."""

    signature: str
    length: int
    revision: int
    oem_id: str
    oem_table_id: str


class Fadt(NamedTuple):
    """What the ACPI table FACP says of PSCI (ACPI 6.5, section 5.2.9.4)."""

    psci: bool
    hvc: bool
    """Firmware is called by HVC: a hypervisor serves, or EL2 firmware. Else by SMC."""


class Madt(NamedTuple):
    """What the ACPI table APIC says of CPUs and interrupt controller (ACPI 6.5, section 5.2.12)."""

    gic_version: int | None
    """1 to 5; None where the table leaves it open."""
    mpidrs: tuple[int, ...]
    """MPIDR_EL1 of each CPU that can be used, in the table's order."""


class ErrorSource(NamedTuple):
    """One entry of the ACPI table HEST (ACPI 6.5, section 18.3.2)."""

    id: int
    type: int
    """9: generic, 10: generic, version 2; the others are notified otherwise."""
    enabled: bool
    sdei_event: int | None
    """The SDEI event that notifies of it, if one does."""


class Agdi(NamedTuple):
    """How the BMC's diagnostic button reaches the OS, by the ACPI table AGDI (Arm DEN0093)."""

    sdei_event: int | None
    gsiv: int | None


class SocId(NamedTuple):
    """The system on chip, /sys/bus/soc (drivers/firmware/smccc/soc_id.c)."""

    id: str
    """`jep106:036b:0241` is NVIDIA Grace."""
    revision: str | None
    machine: str | None


class Cpus(NamedTuple):
    """The CPUs as /proc/cpuinfo lists them."""

    online: int
    midr: int | None
    """MIDR_EL1 of the first CPU; None off arm64."""
    name: str | None
    """The core's name, if this tool knows it."""
    kinds: tuple[tuple[str, int], ...] = ()
    """(core's name or MIDR, how many CPUs) of each kind of core."""


class Interrupts(NamedTuple):
    """What /proc/interrupts shows besides its counts."""

    gic: str | None
    """The interrupt controller's name there: `GICv3`, `GICv2`..."""
    cpus: int | None
    """How many CPUs have a column: those that are online."""
    backtrace_row: bool
    """It has the row "CPU backtrace interrupts": sysrq-l exists as an IPI."""


class DrillAbilities(NamedTuple):
    """What the kernel offers to provoke a stuck CPU with. None: could not be seen."""

    lkdtm: bool | None
    """debugfs has provoke-crash."""
    test_lockup: bool | None
    """There is a module test_lockup for this kernel."""
    bpf_jit: bool | None
    """net.core.bpf_jit_enable is on."""
    lockdown: str | None
    """`none`, `integrity` or `confidentiality`."""


class Evidence(NamedTuple):
    """The channels that carry a kernel's last words across a reset."""

    consoles: tuple[str, ...]
    """Names of the registered consoles, /proc/consoles."""
    pstore: str | None
    """The pstore backend: `ramoops`, `efi_pstore`...; None where none is registered."""
    ramoops_console: int | None
    """Bytes of ramoops kept for the console."""


class IdleStates(NamedTuple):
    """The CPUs' idle states, /sys/devices/system/cpu/cpu*/cpuidle."""

    driver: str
    used: tuple[str, ...]
    """Names of the states other than the first that a CPU has been in."""


class StoredDrill(NamedTuple):
    """What a stored drill result says of CPUs that did not answer, or were lost."""

    id: str
    kernel: str | None
    firmware: str | None
    path: str
    silent: tuple[int, ...]
    lost: tuple[int, ...]


class HostFacts(NamedTuple):
    """Everything the checks may look at."""

    architecture: str | None = None
    release: str | None = None
    # firmware
    tables: str | None = None
    """How the firmware describes the machine: `acpi` or `devicetree`."""
    model: str | None = None
    firmware: str | None = None
    """The firmware's vendor, version and date, from DMI."""
    virtual: str | None = None
    """What shows that this is a virtual machine; None where nothing does."""
    soc: SocId | None = None
    acpi_tables: tuple[str, ...] | None = None
    acpi_sdei_broken: str | None = None
    fadt: Fadt | None = None
    madt: Madt | None = None
    hest: tuple[ErrorSource, ...] | None = None
    agdi: Agdi | None = None
    sdei_nodes: tuple[SdeiNode, ...] | None = None
    # kernel
    configs: tuple[KernelConfig, ...] = ()
    command_line: str | None = None
    symbols: Symbols | None = None
    hotplug_states: HotplugStates | None = None
    devices: tuple[PlatformDevice, ...] | None = None
    """The platform devices of SDEI, GHES and AGDI."""
    bootlog: BootLog | None = None
    log_source: str = KMSG
    """Where the boot log is from: /dev/kmsg, or by --deep the journal."""
    sdei_nmi_available: bool | None = None
    """The kernel's own flag that event 0 is registered; only --deep reads it."""
    unanswered: tuple[int, ...] = ()
    """CPUs that, by this boot's log, did not answer a backtrace request."""
    # the running host
    cpus: Cpus | None = None
    interrupts: Interrupts | None = None
    idle_states: IdleStates | None = None
    settings: tuple[tuple[str, str], ...] | None = None
    """(path, value) of the files of livestate.SETTINGS that are there; None if none could be read."""
    drills: DrillAbilities | None = None
    evidence: Evidence | None = None
    makedumpfile: bool | None = None
    stored_drills: tuple[StoredDrill, ...] = ()
    """The last results that `sdeictl drill` has kept on the host, oldest first."""
    gaps: tuple[Gap, ...] = ()
