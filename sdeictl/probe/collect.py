"""Root to HostFacts: everything the probe reads, and with it everything a capture holds."""

import re
from typing import NamedTuple

from sdeictl.formats.cmdline import wants_pseudo_nmi
from sdeictl.formats.cpuinfo import parse_architecture, parse_cpuinfo
from sdeictl.host.reader import Reader
from sdeictl.host.root import LiveRoot, Root
from sdeictl.klog.bootlog import BootLog, read_bootlog
from sdeictl.klog.log import KernelLog, parse_log
from sdeictl.probe.facts import KMSG, HostFacts, KernelConfig
from sdeictl.probe.firmware import with_firmware
from sdeictl.probe.kernel import (
    read_command_line,
    read_configs,
    read_devices,
    read_hotplug_states,
    read_symbols,
)
from sdeictl.probe.settings import (
    GICV3,
    read_drill_abilities,
    read_evidence,
    read_idle_states,
    read_interrupts,
    read_makedumpfile,
    read_settings,
    read_stored_drills,
)

CPUINFO = "/proc/cpuinfo"
VERSION = "/proc/version"

# It becomes part of paths.
_RELEASE = re.compile(r"Linux version ([\w.+~:-]{1,64}) ", re.ASCII)
_REQUEST = "Sending NMI from CPU "


class _Log(NamedTuple):
    source: str
    data: bytes


def collect(
    root: Root, kernel_log: bytes | None = None, *, deep: bool = False, journal: bool = False
) -> HostFacts:
    """Return everything that is known about a host; what cannot be read is in `gaps`.

    `kernel_log` is used in place of the root's own log. With `journal` the running host's
    journal stands in for a log that has rotated; with `deep` the kernel's memory is read besides.
    """
    reader = Reader(root)
    cpuinfo = reader.text(CPUINFO)
    version = reader.text(VERSION)
    release = _release(version)
    configs = read_configs(reader, release)
    architecture = _architecture(cpuinfo, configs)
    if architecture not in (None, "arm64"):
        return HostFacts(architecture=architecture, release=release)
    log = _read_log(reader, kernel_log)
    facts = HostFacts(
        architecture=architecture,
        release=release,
        configs=configs,
        command_line=read_command_line(reader),
        symbols=read_symbols(reader),
        hotplug_states=read_hotplug_states(reader),
        devices=read_devices(reader),
        cpus=parse_cpuinfo(cpuinfo) if cpuinfo is not None else None,
        interrupts=read_interrupts(reader),
        idle_states=read_idle_states(reader),
        settings=read_settings(reader),
        drills=read_drill_abilities(reader, release),
        evidence=read_evidence(reader),
        makedumpfile=read_makedumpfile(reader),
        stored_drills=read_stored_drills(reader),
    )
    facts = _with_log(reader, facts, log)
    if isinstance(root, LiveRoot):
        if deep:
            facts = _with_flag(reader, root, facts)
        if (deep or journal) and kernel_log is None:
            facts = _with_journal(reader, facts)
    facts = with_firmware(reader, facts)
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
    match = _RELEASE.match(version or "")
    return match[1] if match else None


def _read_log(reader: Reader, kernel_log: bytes | None) -> _Log | None:
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


def _with_log(reader: Reader, facts: HostFacts, log: _Log | None) -> HostFacts:
    if log is None:
        return facts
    parsed = parse_log(log.data)
    last = parsed.last_boot()
    if not last:
        reader.gap(KMSG, "broken", f"no kernel record in {log.source}")
        return facts
    bootlog = read_bootlog(last)
    bootlog = bootlog._replace(complete=bootlog.complete and not parsed.relayed)
    if foreign := _foreign(bootlog, facts):
        reader.gap(KMSG, "broken", f"{log.source} is not of this host's boot: {foreign}")
        return facts
    if not bootlog.started:
        first = f" at {bootlog.first_at:.0f} s" if bootlog.first_at is not None else ""
        reader.gap(
            KMSG, "broken", f"it starts{first}, after the boot's first line: a missing line proves nothing"
        )
    elif not bootlog.complete:
        why = "it came through syslog" if parsed.relayed else "records before the start of init are missing"
        reader.gap(KMSG, "broken", f"{why}: a missing line proves nothing")
    architecture = facts.architecture or ("arm64" if bootlog.started else None)
    return facts._replace(architecture=architecture, bootlog=bootlog, unanswered=_unanswered(parsed))


def _unanswered(log: KernelLog) -> tuple[int, ...]:
    """Return the CPUs that, in the log's last boot, did not answer a request for backtraces."""
    if not any(record.text.startswith(_REQUEST) for record in log.records):
        return ()
    from sdeictl.klog.analysis import analyze  # noqa: PLC0415 - the log of a healthy host has no request
    from sdeictl.klog.episodes import Backtrace  # noqa: PLC0415 - as above

    boot = log.last_boot()[0].boot
    silent = {
        cpu.cpu
        for episode in analyze(log).episodes
        if isinstance(episode, Backtrace) and episode.boot == boot
        for cpu in episode.cpus
        if cpu.state in ("silent", "late")
    }
    return tuple(sorted(silent))


def _with_flag(reader: Reader, root: LiveRoot, facts: HostFacts) -> HostFacts:
    from sdeictl.probe.deep import read_flag  # noqa: PLC0415 - only --deep pays for it

    return facts._replace(sdei_nmi_available=read_flag(reader, root))


def _with_journal(reader: Reader, facts: HostFacts) -> HostFacts:
    """Take the journal's records where the host's own log has lost its start."""
    if facts.bootlog and facts.bootlog.complete:
        return facts
    from sdeictl.probe.deep import JOURNAL, read_journal  # noqa: PLC0415 - as above

    data = read_journal(reader)
    log = parse_log(data or b"")
    bootlog = read_bootlog(log.last_boot())
    if not bootlog.started:
        if data is not None:
            reader.gap(JOURNAL, "broken", "it does not have the boot's first line")
        return facts
    return facts._replace(
        # What the journal lost does not show in it.
        bootlog=bootlog._replace(complete=False),
        log_source=JOURNAL,
        unanswered=tuple(sorted({*facts.unanswered, *_unanswered(log)})),
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
    kernel = facts.symbols
    if kernel and kernel.complete and "sdei_nmi_handler" not in kernel.names and bootlog.sdei_nmi:
        return "it has the SDEI NMI registered, but the kernel has no sdei_nmi_handler()"
    gic = facts.interrupts.gic if facts.interrupts else None
    if gic and gic not in GICV3 and (bootlog.gicv3 or bootlog.pseudo_nmi):
        return f"it has a GICv3, the host's interrupt controller is a {gic}"
    asked = None if facts.command_line is None else wants_pseudo_nmi(facts.command_line)
    if asked is False and bootlog.pseudo_nmi:
        return "it has pseudo-NMI enabled, the host's command line does not ask for it"
    if asked is not None and bootlog.command_line and wants_pseudo_nmi(bootlog.command_line) is not asked:
        return "its command line differs from the host's in what it says of pseudo-NMI"
    return None
