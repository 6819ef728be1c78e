"""How the kernel was built and booted: configuration, symbols, command line, hotplug states, devices."""

from sdeictl.formats.kconfig import gunzip, parse_kconfig
from sdeictl.host.reader import Reader
from sdeictl.probe.facts import HotplugStates, KernelConfig, PlatformDevice, Symbols

PLATFORM_BUS = "/sys/bus/platform"
CPU_DEVICES = "/sys/devices/system/cpu"
HOTPLUG_STATES = f"{CPU_DEVICES}/hotplug/states"
KCORE = "/proc/kcore"
FLAG = "sdei_nmi_available"
"""drivers/firmware/arm_sdei_nmi.c: set once event 0 is registered and enabled on every CPU."""
KALLSYMS = "/proc/kallsyms"
CONFIG_GZ = "/proc/config.gz"
CMDLINE = "/proc/cmdline"
MAX_CMDLINE_BYTES = 1 << 16
"""arm64 takes 2,048 (COMMAND_LINE_SIZE)."""

CONFIG_SYMBOLS = (
    "ARM64", "X86", "ARM_SDE_INTERFACE", "ARM_SDEI_NMI", "ARM64_PSEUDO_NMI", "ARM64_NMI", "SDEI_WATCHDOG",
    "ACPI_APEI_GHES", "ACPI_AGDI",
    "HARDLOCKUP_DETECTOR", "HARDLOCKUP_DETECTOR_PERF", "HARDLOCKUP_DETECTOR_BUDDY",
    "SOFTLOCKUP_DETECTOR", "DETECT_HUNG_TASK",
    "LKDTM", "TEST_LOCKUP", "BPF_JIT", "BPF_EVENTS",
    "CRASH_DUMP", "ARM64_4K_PAGES", "ARM64_16K_PAGES", "ARM64_64K_PAGES", "ARM64_VA_BITS",
)  # fmt: skip
SYMBOLS = (
    "sdei_probe", "sdei_nmi_handler", "ghes_probe", "sdei_watchdog_callback", "nmi_trigger_cpumask_backtrace",
)  # fmt: skip
_DEVICES = ("sdei.", "GHES.", "agdi.")
"""How the platform devices of the ACPI tables SDEI, HEST and AGDI begin; the device tree's end with :sdei."""


def read_configs(reader: Reader, release: str | None) -> tuple[KernelConfig, ...]:
    """Read every copy of the kernel's configuration; none at all is one gap."""
    found = []
    data = reader.optional(CONFIG_GZ, reader.root.read)
    if data is not None:
        try:
            found.append(KernelConfig(CONFIG_GZ, True, parse_kconfig(gunzip(data), CONFIG_SYMBOLS)))
        except ValueError as error:
            reader.gap(CONFIG_GZ, "broken", str(error))
    for path in (f"/boot/config-{release}", f"/lib/modules/{release}/config") if release else ():
        data = reader.optional(path, reader.root.read)
        if data:
            found.append(KernelConfig(path, False, parse_kconfig(data, CONFIG_SYMBOLS)))
    if not found:
        reader.gap(
            CONFIG_GZ,
            "absent",
            f"no kernel configuration there, nor in /boot/config-{release or 'RELEASE'}"
            f", nor in /lib/modules/{release or 'RELEASE'}/config",
        )
    return tuple(found)


def read_command_line(reader: Reader) -> str | None:
    """Read the command line; one that is no whole line of text is broken."""
    text = reader.text(CMDLINE, MAX_CMDLINE_BYTES)
    if text is not None and not (text.endswith("\n") and text[:-1].isprintable()):
        reader.gap(CMDLINE, "broken", "it is no whole line of text: it was cut, or is something else")
        return None
    return text


def read_symbols(reader: Reader) -> Symbols | None:
    """Read which of SYMBOLS the kernel has."""
    # A compiler may add to a static function's name: `.llvm.1234`, `.cold`.
    words = {b" %b" % name.encode(): name for name in (*SYMBOLS, "_end")}
    # By its bytes: splitting a server kernel's 250,000 lines costs more than the whole probe.
    found = reader.attempt(KALLSYMS, lambda path: reader.root.search(path, words, b"\n."))
    if found is None:
        return None
    names = frozenset(words[word] for word in found)
    if "_end" not in names:
        reader.gap(KALLSYMS, "broken", "it ends before the symbol _end: a missing name proves nothing")
    return Symbols(names - {"_end"}, "_end" in names)


def read_hotplug_states(reader: Reader) -> HotplugStates | None:
    """Read the names of the CPU hotplug states; the SDEI driver installs one when its probe is done."""
    text = reader.text(HOTPLUG_STATES)
    if text is None:
        return None
    names = tuple(line.partition(":")[2].strip() for line in text.splitlines() if ":" in line)
    complete = text.endswith("\n") and names[-1:] == ("online",)
    if not complete:
        reader.gap(HOTPLUG_STATES, "broken", "it ends before the state online: a missing name proves nothing")
    return HotplugStates(names, complete)


def read_devices(reader: Reader) -> tuple[PlatformDevice, ...] | None:
    """Read which devices of SDEI, GHES and AGDI there are, and which have a driver."""
    names = reader.attempt(f"{PLATFORM_BUS}/devices", reader.root.names)
    if names is None:
        return None
    # Links may not have survived the copying of a tree: then no driver can be seen at all.
    links_kept = reader.optional(f"{PLATFORM_BUS}/drivers", reader.root.names) is not None
    devices = []
    for name in names:
        if name.startswith(_DEVICES) or name.endswith(":sdei"):
            link = reader.optional(f"{PLATFORM_BUS}/devices/{name}/driver", reader.root.link)
            devices.append(PlatformDevice(name, True if link else (False if links_kept else None)))
    return tuple(devices)
