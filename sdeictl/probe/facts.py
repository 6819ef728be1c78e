"""The facts about a host. Frozen, without behaviour; None means "not known", never "no"."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdeictl.formats.cpuinfo import Cpus
from sdeictl.formats.interrupts import Interrupts
from sdeictl.host.gap import Gap
from sdeictl.host.paths import KMSG
from sdeictl.klog.bootlog import BootLog
from sdeictl.klog.words import NmiPath
from sdeictl.probe.stored_drills import StoredDrill
from sdeictl.text import NamedTuple

if TYPE_CHECKING:  # a host with a device tree does without
    from sdeictl.formats.acpi import Agdi, ErrorSource, Fadt, Madt
    from sdeictl.formats.lpi import LpiStates


class KernelConfig(NamedTuple):
    """One copy of the kernel configuration, reduced to the symbols that the checks ask for."""

    source: str
    of_running_kernel: bool
    """True for /proc/config.gz, which is part of the kernel; a file named after the release may differ."""
    values: tuple[tuple[str, str], ...]
    """(symbol, value), `n` for "is not set"; a symbol without a line is left out."""


class Symbols(NamedTuple):
    """Which of the names that the checks ask for /proc/kallsyms has."""

    names: frozenset[str]
    complete: bool
    """The symbol behind all functions was seen: a name that is missing here is not in the kernel."""


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


class SocId(NamedTuple):
    """The system on chip, /sys/bus/soc (drivers/firmware/smccc/soc_id.c)."""

    id: str
    """`jep106:036b:0241` is NVIDIA Grace."""
    revision: str | None
    machine: str | None


class DrillAbilities(NamedTuple):
    """What drills can use to mask a CPU. None: could not be seen."""

    lkdtm: bool | None
    """debugfs has provoke-crash."""
    test_lockup: bool | None
    """This kernel has a module test_lockup."""
    bpf_jit: bool | None
    """net.core.bpf_jit_enable is on."""
    lockdown: str | None
    """`none`, `integrity` or `confidentiality`."""


class Evidence(NamedTuple):
    """The channels that carry the last lines of a kernel across a reset."""

    consoles: tuple[str, ...]
    """Names of the registered consoles, /proc/consoles."""
    pstore: str | None
    """The pstore backend, such as `ramoops` or `efi_pstore`; None if none is registered."""
    ramoops_console: int | None
    """Bytes that ramoops keeps of the console."""


class IdleState(NamedTuple):
    """One idle state of the first CPU, as sysfs shows it."""

    name: str
    description: str
    latency: int | None
    """Microseconds."""
    residency: int | None
    """Microseconds."""


class IdleStates(NamedTuple):
    """The CPUs' idle states, /sys/devices/system/cpu/cpu*/cpuidle."""

    driver: str
    used: tuple[str, ...]
    """Names of the states, other than the first, that a CPU has entered."""
    states: tuple[IdleState, ...] = ()
    """All states, if the driver is that of ACPI and a deeper one is in use."""
    own_drivers: bool = False
    """A CPU has another driver than `driver`, which then says nothing."""


class MaskCount(NamedTuple):
    """How often idle CPUs masked SDEI in a short time; the kernel does that in sdei_pm_notifier()."""

    seconds: float
    times: int
    """Calls of sdei_pm_notifier() on all CPUs: two for each use of a state that masks SDEI."""
    saw_each_state: bool
    """Each CPU entered, in this time, each state that it has ever entered, other than the first."""


class HostFacts(NamedTuple):
    """Everything the checks may look at."""

    architecture: str | None = None
    release: str | None = None
    # firmware
    tables: str | None = None
    """How the firmware describes the machine: `acpi` or `devicetree`."""
    model: str | None = None
    firmware: str | None = None
    """Vendor, version and date of the firmware, from DMI."""
    virtual: str | None = None
    """What shows that this is a virtual machine; None if nothing does."""
    soc: SocId | None = None
    acpi_tables: tuple[str, ...] | None = None
    acpi_sdei_broken: str | None = None
    lpi: LpiStates | None = None
    """The idle states that the ACPI tables describe, alike for all CPUs; read only if it matters."""
    lpi_unknown: str = ""
    """Why the ACPI tables do not tell, a clause."""
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
    sdei_driver: bool | None = None
    """The SDEI driver is on the platform bus."""
    bootlog: BootLog | None = None
    log_source: str = KMSG
    """The source of the boot log: /dev/kmsg, or with --deep the journal."""
    sdei_nmi_available: bool | None = None
    """The kernel's own flag that event 0 is registered; only --deep reads it."""
    proven_path: NmiPath | None = None
    """The path by which a masked CPU answered a backtrace request in the log of this boot."""
    seen_rungs: tuple[NmiPath, ...] = ()
    """The rungs of the stop ladder, after the plain IPI, that the kernel climbed in this log."""
    unanswered: tuple[int, ...] = ()
    """CPUs that did not answer a backtrace request in the log of this boot."""
    # the running host
    cpus: Cpus | None = None
    interrupts: Interrupts | None = None
    idle_states: IdleStates | None = None
    cpuidle_off: bool = False
    """The parameter cpuidle.off is set: the CPUs have no idle states but the one of the architecture."""
    mask_count: MaskCount | None = None
    """Only --deep counts."""
    settings: tuple[tuple[str, str], ...] | None = None
    """(path, value) of the files of settings.SETTINGS that exist; None if none could be read."""
    drills: DrillAbilities | None = None
    evidence: Evidence | None = None
    makedumpfile: bool | None = None
    stored_drills: tuple[StoredDrill, ...] = ()
    """The last results that `sdeictl drill` kept on the host, oldest first."""
    gaps: tuple[Gap, ...] = ()
