"""What is known about a host. Frozen, no behaviour; None means "not known", never "no"."""

from typing import NamedTuple

from sdeictl.bootlog import BootLog


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


class AcpiTable(NamedTuple):
    """The header of an ACPI table (ACPI 6.5, section 5.2.6)."""

    signature: str
    length: int
    revision: int
    oem_id: str
    oem_table_id: str


class Cpus(NamedTuple):
    """The CPUs as /proc/cpuinfo lists them."""

    online: int
    midr: int | None
    """MIDR_EL1 of the first CPU; None off arm64."""
    name: str | None
    """The core's name, if this tool knows it."""


class IdleStates(NamedTuple):
    """The CPUs' idle states, /sys/devices/system/cpu/cpu*/cpuidle."""

    driver: str
    used: tuple[str, ...]
    """Names of the states other than the first that a CPU has been in."""


class HostFacts(NamedTuple):
    """Everything the checks may look at."""

    architecture: str | None = None
    release: str | None = None
    model: str | None = None
    tables: str | None = None
    """How the firmware describes the machine: `acpi` or `devicetree`."""
    acpi_tables: tuple[str, ...] | None = None
    acpi_sdei: AcpiTable | None = None
    acpi_sdei_broken: str | None = None
    sdei_nodes: tuple[SdeiNode, ...] | None = None
    sdei_devices: tuple[PlatformDevice, ...] | None = None
    configs: tuple[KernelConfig, ...] = ()
    command_line: str | None = None
    symbols: Symbols | None = None
    hotplug_states: HotplugStates | None = None
    bootlog: BootLog | None = None
    unanswered: tuple[int, ...] = ()
    """CPUs that, by this boot's log, did not answer a backtrace request."""
    cpus: Cpus | None = None
    idle_states: IdleStates | None = None
    gaps: tuple[Gap, ...] = ()
