"""Reads how the kernel was built and booted: configuration, symbols, command line, hotplug, devices."""

from __future__ import annotations

import re

from sdeictl.formats.cmdline import public_part
from sdeictl.formats.kconfig import gunzip, parse_kconfig
from sdeictl.host.gap import GapKind
from sdeictl.host.paths import CMDLINE, CONFIG_GZ, HOTPLUG_STATES, KALLSYMS, PLATFORM_BUS, config_files
from sdeictl.host.reader import NOT_ONE_LINE, Reader
from sdeictl.probe.facts import HotplugStates, KernelConfig, PlatformDevice, Symbols
from sdeictl.probe.kept import Kept
from sdeictl.probe.names import DEVICE_BEGINS, PLATFORM_DEVICE
from sdeictl.text import lines_of

FLAG = "sdei_nmi_available"
"""The kernel sets it when event 0 is enabled on every CPU (drivers/firmware/arm_sdei_nmi.c)."""
NOTIFIER = "sdei_pm_notifier"
"""The kernel calls it where a CPU enters or leaves an idle state that loses context, and it masks SDEI there
(drivers/firmware/arm_sdei.c)."""
MAX_CMDLINE_BYTES = 1 << 16
"""Limit; arm64 accepts 2,048 (COMMAND_LINE_SIZE)."""

CONFIG_SYMBOLS = (
    "ARM64", "X86", "ARM_SDE_INTERFACE", "ARM_SDEI_NMI", "ARM64_PSEUDO_NMI", "ARM64_NMI",
    "ARM64_USES_NMI", "SDEI_WATCHDOG",
    "ACPI_APEI_GHES", "ACPI_AGDI",
    "HARDLOCKUP_DETECTOR", "HARDLOCKUP_DETECTOR_PERF", "HARDLOCKUP_DETECTOR_BUDDY",
    "SOFTLOCKUP_DETECTOR", "DETECT_HUNG_TASK", "CPU_IDLE",
    "LKDTM", "TEST_LOCKUP", "BPF_JIT", "BPF_EVENTS",
    "CRASH_DUMP", "ARM64_4K_PAGES", "ARM64_16K_PAGES", "ARM64_64K_PAGES", "ARM64_VA_BITS",
)  # fmt: skip
SYMBOLS = (
    "sdei_probe", "sdei_nmi_handler", "sdei_nmi_stop_cpus", "ghes_probe", "sdei_watchdog_callback",
    "nmi_trigger_cpumask_backtrace",
)  # fmt: skip
_LAST_SYMBOLS = ("_einittext", "_end")
"""The symbol behind all functions, and the one behind all data. A kernel with CONFIG_KALLSYMS_ALL=n, such as
Debian's 5.10 and 6.1, lists functions only."""
KEPT_SYMBOLS = (*SYMBOLS, *_LAST_SYMBOLS)
"""All that the probe looks for in /proc/kallsyms."""
_CONFIG_VALUE = re.compile(r"[ymn]|-?\d{1,20}|0x[0-9a-f]{1,16}", re.ASCII)


def read_configs(reader: Reader, release: str | None, kept: Kept) -> tuple[KernelConfig, ...]:
    """Return every copy of the kernel's configuration; note one gap if there are none."""
    found = []
    data = reader.optional(CONFIG_GZ, reader.root.read)
    if data is not None:
        try:
            found.append(parse_config(CONFIG_GZ, gunzip(data), kept))
        except ValueError as error:
            reader.gap(CONFIG_GZ, GapKind.BROKEN, str(error))
    places = config_files(release or "RELEASE")
    for path in places if release else ():
        data = reader.optional(path, reader.root.read)
        if data:
            found.append(parse_config(path, data, kept))
    if not found:
        text = f"the kernel configuration is neither here nor in {' nor in '.join(places)}"
        reader.gap(CONFIG_GZ, GapKind.ABSENT, text)
    return tuple(found)


def parse_config(source: str, text: bytes, kept: Kept) -> KernelConfig:
    """Return what a copy of the kernel's configuration says of CONFIG_SYMBOLS.

    A value that none of these options can have is no evidence.
    """
    values = parse_kconfig(text, CONFIG_SYMBOLS)
    known = tuple((symbol, value) for symbol, value in values if _CONFIG_VALUE.fullmatch(value))
    # Another version may have made the capture, which kept the lines of other options.
    whole = kept.options is None or kept.options.issuperset(CONFIG_SYMBOLS)
    return KernelConfig(source, source == CONFIG_GZ and whole, known)


def read_command_line(reader: Reader) -> str | None:
    """Return the public part of the kernel command line; None and a gap if it is not one whole line."""
    text = reader.text(CMDLINE, MAX_CMDLINE_BYTES)
    if text is not None and not (text.endswith("\n") and text[:-1].isprintable()):
        reader.gap(CMDLINE, GapKind.BROKEN, NOT_ONE_LINE)
        return None
    return None if text is None else f"{public_part(text)}\n"


def read_symbols(reader: Reader, kept: Kept) -> Symbols | None:
    """Return which of SYMBOLS the kernel has."""
    # A compiler may append to the name of a static function: `.llvm.1234`, `.cold`.
    words = {b" %b" % name.encode(): name for name in KEPT_SYMBOLS}
    # Search bytes: to split the 250,000 lines of a server kernel takes longer than the rest of the probe.
    found = reader.attempt(KALLSYMS, lambda path: reader.root.search(path, words, b"\n."))
    if found is None:
        return None
    names = frozenset(words[word] for word in found)
    complete = bool(names & set(_LAST_SYMBOLS))
    if not complete:
        text = f"it ends before the symbols {' and '.join(_LAST_SYMBOLS)}: a missing name proves nothing"
        reader.gap(KALLSYMS, GapKind.BROKEN, text)
    elif kept.symbols is not None and not kept.symbols.issuperset(KEPT_SYMBOLS):
        complete = False
        text = "another version of sdeictl kept other names in the capture: a missing name proves nothing"
        reader.gap(KALLSYMS, GapKind.BROKEN, text)
    return Symbols(names - set(_LAST_SYMBOLS), complete)


def read_hotplug_states(reader: Reader) -> HotplugStates | None:
    """Return the names of the CPU hotplug states. The SDEI driver installs one at the end of its probe."""
    text = reader.text(HOTPLUG_STATES)
    if text is None:
        return None
    names = tuple(line.partition(":")[2].strip() for line in lines_of(text) if ":" in line)
    complete = text.endswith("\n") and names[-1:] == ("online",)
    if not complete:
        reader.gap(
            HOTPLUG_STATES, GapKind.BROKEN, "it ends before the state online: a missing name proves nothing"
        )
    return HotplugStates(names, complete)


def read_sdei_driver(reader: Reader) -> bool | None:
    """Tell whether the SDEI driver is on the platform bus; None if the tree does not show drivers."""
    drivers = reader.listing(f"{PLATFORM_BUS}/drivers")
    return None if drivers is None else "sdei" in drivers


def read_devices(reader: Reader) -> tuple[PlatformDevice, ...] | None:
    """Return the platform devices of SDEI, GHES and AGDI, and which of them have a driver."""
    listed = reader.attempt(f"{PLATFORM_BUS}/devices", reader.root.names)
    if listed is None:
        return None
    # A copy of the tree may lack all symbolic links; then the drivers are unknown.
    links_kept = reader.optional(f"{PLATFORM_BUS}/drivers", reader.root.names) is not None
    devices = []
    for name in listed:
        if name.startswith(DEVICE_BEGINS) and re.fullmatch(PLATFORM_DEVICE, name, re.ASCII):
            link = reader.optional(f"{PLATFORM_BUS}/devices/{name}/driver", reader.root.link)
            devices.append(PlatformDevice(name, True if link else (False if links_kept else None)))
    return tuple(devices)
