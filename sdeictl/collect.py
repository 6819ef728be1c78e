"""Root to HostFacts: the only host reads. OSError is caught here, once, and becomes a Gap."""

import posixpath
import re
from collections.abc import Callable
from typing import NamedTuple, TypeVar

from sdeictl.acpi import AcpiError, parse_header
from sdeictl.analysis import analyze
from sdeictl.bootlog import BootLog, read_bootlog
from sdeictl.cpus import parse_architecture, parse_cpuinfo
from sdeictl.episodes import Backtrace
from sdeictl.facts import (
    AcpiTable,
    Gap,
    HostFacts,
    HotplugStates,
    IdleStates,
    KernelConfig,
    PlatformDevice,
    SdeiNode,
    Symbols,
)
from sdeictl.kconfig import gunzip, parse_kconfig
from sdeictl.klog import parse_log
from sdeictl.root import Root

ACPI_TABLES = "/sys/firmware/acpi/tables"
DEVICE_TREE = "/sys/firmware/devicetree/base"
PLATFORM_BUS = "/sys/bus/platform"
CPU_DEVICES = "/sys/devices/system/cpu"
HOTPLUG_STATES = f"{CPU_DEVICES}/hotplug/states"
KALLSYMS = "/proc/kallsyms"
CONFIG_GZ = "/proc/config.gz"
CMDLINE = "/proc/cmdline"
CPUINFO = "/proc/cpuinfo"
VERSION = "/proc/version"
KMSG = "/dev/kmsg"
SDEI_COMPATIBLE = "arm,sdei-1.0"

CONFIG_SYMBOLS = ("ARM64", "X86", "ARM_SDE_INTERFACE", "ARM_SDEI_NMI", "ARM64_PSEUDO_NMI")
SYMBOLS = ("sdei_probe", "sdei_nmi_handler")

DENIED_HERE = "permission denied: run as root"
DENIED_THERE = "was denied to the capture: capture again as root"

CPU_NAME = re.compile(r"cpu\d{1,4}", re.ASCII)
# Devicetree Specification 0.4, section 2.2.4: <stringlist>
_STRING_LIST = re.compile(rb"(?:[\x20-\x7e]+\0)+")

T = TypeVar("T")


class _Log(NamedTuple):
    source: str
    data: bytes


class _Reader:
    """Reads a root and notes why something could not be read."""

    def __init__(self, root: Root) -> None:
        self.root = root
        self.gaps: list[Gap] = []

    def gap(self, source: str, kind: str, detail: str) -> None:
        self.gaps.append(Gap(source, kind, detail))

    def has_gap(self, source: str) -> bool:
        return any(gap.source == source for gap in self.gaps)

    def attempt(self, path: str, call: Callable[[str], T], source: str | None = None) -> T | None:
        """Return what `call` returns for the path, or None and a gap in `source`, by default the path."""
        source = source or path
        try:
            return call(path)
        except (FileNotFoundError, NotADirectoryError):
            self.gap(source, "absent", "not there")
        except PermissionError:
            self.gap(source, "denied", DENIED_HERE if self.root.live else DENIED_THERE)
        except OSError as error:
            self.gap(source, "broken", error.strerror or str(error))
        return None

    def text(self, path: str) -> str | None:
        data = self.attempt(path, self.root.read)
        return None if data is None else data.decode("utf-8", "replace")

    def optional(self, path: str, call: Callable[[str], T], source: str | None = None) -> T | None:
        """Like attempt, for a source whose absence alone is no gap."""
        known = len(self.gaps)
        value = self.attempt(path, call, source)
        if value is None and self.gaps[known].kind == "absent":
            del self.gaps[known:]
        return value


def collect(root: Root, kernel_log: bytes | None = None) -> HostFacts:
    """Return everything that is known about a host; what cannot be read is in `gaps`.

    `kernel_log` is used in place of the root's own log.
    """
    reader = _Reader(root)
    cpuinfo = reader.text(CPUINFO)
    version = reader.text(VERSION)
    release = _release(version)
    configs = _read_configs(reader, release)
    architecture = _architecture(cpuinfo, configs)
    if architecture not in (None, "arm64"):
        return HostFacts(architecture=architecture, release=release)
    log = _read_log(reader, kernel_log)
    facts = HostFacts(
        architecture=architecture,
        release=release,
        configs=configs,
        command_line=_read_command_line(reader),
        symbols=_read_symbols(reader),
        hotplug_states=_read_hotplug_states(reader),
        sdei_devices=_read_sdei_devices(reader),
        cpus=parse_cpuinfo(cpuinfo) if cpuinfo is not None else None,
        idle_states=_read_idle_states(reader),
    )
    facts = _with_log(reader, facts, log)
    facts = _with_firmware(reader, facts)
    return facts._replace(gaps=tuple(reader.gaps))


def _architecture(cpuinfo: str | None, configs: tuple[KernelConfig, ...]) -> str | None:
    found = parse_architecture(cpuinfo) if cpuinfo is not None else None
    if found:
        return found
    values = {symbol for config in configs for symbol, value in config.values if value == "y"}
    if "ARM64" in values:
        return "arm64"
    return "x86" if "X86" in values else None


def _release(version: str | None) -> str | None:
    words = (version or "").split()
    return words[2] if words[:2] == ["Linux", "version"] and len(words) > 2 else None


def _read_configs(reader: _Reader, release: str | None) -> tuple[KernelConfig, ...]:
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


def _read_command_line(reader: _Reader) -> str | None:
    text = reader.text(CMDLINE)
    if text is not None and not (text.endswith("\n") and text[:-1].isprintable()):
        reader.gap(CMDLINE, "broken", "it is no whole line of text: it was cut, or is something else")
        return None
    return text


def _read_symbols(reader: _Reader) -> Symbols | None:
    data = reader.attempt(KALLSYMS, reader.root.read)
    if data is None:
        return None
    # As bytes: splitting a server kernel's 250,000 lines costs more than the whole probe.
    names = frozenset(name for name in (*SYMBOLS, "_end") if b" %b\n" % name.encode() in data)
    if "_end" not in names:
        reader.gap(KALLSYMS, "broken", "it ends before the symbol _end: a missing name proves nothing")
    return Symbols(names - {"_end"}, "_end" in names)


def _read_hotplug_states(reader: _Reader) -> HotplugStates | None:
    text = reader.text(HOTPLUG_STATES)
    if text is None:
        return None
    names = tuple(line.partition(":")[2].strip() for line in text.splitlines() if ":" in line)
    complete = text.endswith("\n") and names[-1:] == ("online",)
    if not complete:
        reader.gap(HOTPLUG_STATES, "broken", "it ends before the state online: a missing name proves nothing")
    return HotplugStates(names, complete)


def _read_sdei_devices(reader: _Reader) -> tuple[PlatformDevice, ...] | None:
    names = reader.attempt(f"{PLATFORM_BUS}/devices", reader.root.names)
    if names is None:
        return None
    # Links may not have survived the copying of a tree: then no driver can be seen at all.
    links_kept = reader.optional(f"{PLATFORM_BUS}/drivers", reader.root.names) is not None
    devices = []
    for name in names:
        if name.startswith("sdei.") or name.endswith(":sdei"):
            link = reader.optional(f"{PLATFORM_BUS}/devices/{name}/driver", reader.root.link)
            devices.append(PlatformDevice(name, True if link else (False if links_kept else None)))
    return tuple(devices)


def _read_idle_states(reader: _Reader) -> IdleStates | None:
    driver = reader.optional(f"{CPU_DEVICES}/cpuidle/current_driver", reader.root.read)
    if driver is None:
        return None
    used: set[str] = set()
    for cpu in reader.optional(CPU_DEVICES, reader.root.names) or ():
        directory = f"{CPU_DEVICES}/{cpu}/cpuidle"
        states = reader.optional(directory, reader.root.names) if CPU_NAME.fullmatch(cpu) else None
        for state in states or ():
            name = _read_used_state(reader, f"{directory}/{state}") if state != "state0" else None
            used.update({name} if name else ())
    return IdleStates(driver.decode("utf-8", "replace").strip(), tuple(sorted(used)))


def _read_used_state(reader: _Reader, directory: str) -> str | None:
    """Return the name of an idle state if its CPU has been in it."""
    usage = reader.optional(f"{directory}/usage", reader.root.read)
    if not (usage and usage.strip().isdigit() and int(usage)):
        return None
    name = reader.optional(f"{directory}/name", reader.root.read)
    return (name or b"").decode("utf-8", "replace").strip() or posixpath.basename(directory)


def _read_log(reader: _Reader, kernel_log: bytes | None) -> _Log | None:
    if kernel_log is not None:
        return _Log("the given log", kernel_log)
    if reader.root.live:
        data = reader.attempt(KMSG, reader.root.read)
        return None if data is None else _Log(KMSG, data)
    for path in ("/kmsg.txt", "/dmesg.txt"):
        data = reader.optional(path, reader.root.read, source=KMSG)
        if data is not None:
            return _Log(path, data)
    if not reader.has_gap(KMSG):
        reader.gap(KMSG, "absent", "the tree has neither kmsg.txt nor dmesg.txt")
    return None


def _with_log(reader: _Reader, facts: HostFacts, log: _Log | None) -> HostFacts:
    if log is None:
        return facts
    parsed = parse_log(log.data)
    last = parsed.last_boot()
    if not last:
        reader.gap(KMSG, "broken", f"no kernel record in {log.source}")
        return facts
    bootlog = read_bootlog(last)
    if foreign := _foreign(bootlog, facts):
        reader.gap(KMSG, "broken", f"{log.source} is not of this host's boot: {foreign}")
        return facts
    if not bootlog.started:
        first = f" at {bootlog.first_at:.0f} s" if bootlog.first_at is not None else ""
        reader.gap(
            KMSG, "broken", f"it starts{first}, after the boot's first line: a missing line proves nothing"
        )
    elif not bootlog.complete:
        reader.gap(
            KMSG, "broken", "records before the start of init are missing: a missing line proves nothing"
        )
    unanswered = {
        cpu.cpu
        for episode in analyze(parsed).episodes
        if isinstance(episode, Backtrace) and episode.boot == last[0].boot
        for cpu in episode.cpus
        if cpu.state in ("silent", "late")
    }
    architecture = facts.architecture or ("arm64" if bootlog.started else None)
    return facts._replace(
        architecture=architecture,
        bootlog=bootlog,
        unanswered=tuple(sorted(unanswered)),
    )


def _foreign(bootlog: BootLog, facts: HostFacts) -> str | None:
    """Tell what in the host's live state shows that a log is of another boot."""
    if bootlog.release and facts.release and bootlog.release != facts.release:
        return f"it is of Linux {bootlog.release}, the host runs {facts.release}"
    states = facts.hotplug_states
    if states and "SDEI" in states.names and bootlog.complete and not bootlog.sdei_version:
        return "it has no line of the SDEI driver, whose hotplug state is installed"
    if states and states.complete and "SDEI" not in states.names and bootlog.sdei_nmi:
        return "it has the SDEI NMI registered, but there is no SDEI hotplug state"
    return None


def _with_firmware(reader: _Reader, facts: HostFacts) -> HostFacts:
    """Read how the firmware describes the machine. A populated ACPI directory means ACPI."""
    tables = reader.optional(ACPI_TABLES, reader.root.names)
    if tables:
        header, broken = _read_acpi_sdei(reader, tables)
        return facts._replace(
            tables="acpi", acpi_tables=tables, acpi_sdei=header, acpi_sdei_broken=broken,
            model=_read_dmi_model(reader),
        )  # fmt: skip
    base = reader.optional(DEVICE_TREE, reader.root.names)
    if base and "compatible" in base and not reader.has_gap(ACPI_TABLES):
        model = reader.optional(f"{DEVICE_TREE}/model", reader.root.read)
        return facts._replace(
            tables="devicetree",
            sdei_nodes=_read_sdei_nodes(reader, base),
            model=_strings(model)[0] if model else None,
        )
    for source in (ACPI_TABLES, DEVICE_TREE):
        if not reader.has_gap(source):
            reader.gap(source, "absent", "not there, or empty")
    return facts


def _read_acpi_sdei(reader: _Reader, tables: tuple[str, ...]) -> tuple[AcpiTable | None, str | None]:
    if "SDEI" not in tables:
        return None, None
    data = reader.attempt(f"{ACPI_TABLES}/SDEI", reader.root.read)
    if data is None:
        return None, None
    try:
        return parse_header(data, "SDEI"), None
    except AcpiError as error:
        reader.gap(f"{ACPI_TABLES}/SDEI", "broken", str(error))
        return None, str(error)


def _read_sdei_nodes(reader: _Reader, base: tuple[str, ...]) -> tuple[SdeiNode, ...] | None:
    if "firmware" not in base:
        return ()
    children = reader.attempt(f"{DEVICE_TREE}/firmware", reader.root.names)
    if children is None:
        return None
    nodes = []
    for child in children:
        path = f"{DEVICE_TREE}/firmware/{child}"
        compatible = reader.optional(f"{path}/compatible", reader.root.read)
        if compatible is not None and not _STRING_LIST.fullmatch(compatible):
            reader.gap(f"{path}/compatible", "broken", "it is no device-tree string list")
        if reader.has_gap(f"{path}/compatible"):
            return None
        if compatible and SDEI_COMPATIBLE in _strings(compatible):
            method = reader.optional(f"{path}/method", reader.root.read)
            nodes.append(SdeiNode(path, _strings(method)[0] if method else None))
    return tuple(nodes)


def _read_dmi_model(reader: _Reader) -> str | None:
    parts = [
        data.decode("utf-8", "replace").strip()
        for name in ("sys_vendor", "product_name")
        if (data := reader.optional(f"/sys/class/dmi/id/{name}", reader.root.read))
    ]
    return " ".join(parts) or None


def _strings(data: bytes) -> list[str]:
    """Split a device-tree string list."""
    return data.decode("utf-8", "replace").rstrip("\0").split("\0")
