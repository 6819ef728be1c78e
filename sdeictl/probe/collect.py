"""Collects the facts about a host. It reads everything that the probe needs, and so that a capture holds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sdeictl.formats.cmdline import wants_pseudo_nmi
from sdeictl.formats.cpuinfo import Cpus, cpus_of_midrs, parse_architecture, parse_cpuinfo
from sdeictl.host.gap import UNREAD_LOG, GapKind
from sdeictl.host.log_alone import LogRoot
from sdeictl.host.paths import CAPTURED_LOGS, CPUINFO, KMSG, VERSION
from sdeictl.host.reader import Reader
from sdeictl.host.root import Root
from sdeictl.klog.bootlog import BootLog, read_bootlog
from sdeictl.klog.log import read_last_boot
from sdeictl.klog.messages import boot, request, stop
from sdeictl.klog.records import KernelLog, Record
from sdeictl.klog.words import IN_TIME, NmiPath
from sdeictl.probe.facts import HostFacts, KernelConfig
from sdeictl.probe.firmware import with_firmware
from sdeictl.probe.kept import Kept, read_kept
from sdeictl.probe.kernel import (
    read_command_line,
    read_configs,
    read_devices,
    read_hotplug_states,
    read_sdei_driver,
    read_symbols,
)
from sdeictl.probe.settings import (
    GICV3,
    read_cpuidle_off,
    read_drill_abilities,
    read_evidence,
    read_idle_states,
    read_interrupts,
    read_makedumpfile,
    read_settings,
)
from sdeictl.probe.stored_drills import read_stored_drills
from sdeictl.text import NamedTuple

MAX_EPISODE_BYTES = 48 << 20
"""So much memory the backtrace requests of a log may take."""


class _Log(NamedTuple):
    source: str
    data: Iterable[bytes]
    """Its content, piece by piece."""
    given: bool = False
    """The user named it: it may be the log of another boot, or of another host."""


def collect(
    root: Root,
    kernel_log: bytes | Iterable[bytes] | None = None,
    *,
    deep: bool = False,
    journal: bool = False,
) -> HostFacts:
    """Return the facts about a host; `gaps` lists the sources that could not be read.

    `kernel_log`, whole or in pieces, replaces the host's own log. On the running host, `journal` lets the
    journal replace a log that has lost its start; `deep` does the same, reads a flag in the kernel's memory,
    and counts for some seconds how often idle CPUs mask SDEI, if they use states that may do so.
    """
    reader = Reader(root)
    cpuinfo = reader.text(CPUINFO)
    release = _release(reader.text(VERSION))
    kept = read_kept(reader)
    configs = read_configs(reader, release, kept)
    architecture = _architecture(cpuinfo, configs)
    if architecture not in (None, "arm64"):
        return HostFacts(architecture=architecture, release=release)
    log = _read_log(reader, kernel_log)
    facts = _read_live_state(reader, release, kept)._replace(
        architecture=architecture,
        configs=configs,
        cpus=parse_cpuinfo(cpuinfo) if cpuinfo is not None else None,
    )
    facts = _with_log(reader, facts, log)
    if root.live:
        if deep:
            facts = _with_kernel_state(reader, facts)
        if (deep or journal) and kernel_log is None:
            facts = _with_journal(reader, facts)
    facts = with_firmware(reader, facts, kept)
    return facts._replace(gaps=tuple(reader.gaps))


def facts_of_log(log: KernelLog) -> HostFacts:
    """Return the facts about a boot of which only the kernel log is known."""
    reader = Reader(LogRoot(b""))
    facts = _with_boot(reader, HostFacts(), log, _bootlog_of(log)) if log.records else HostFacts()
    return with_firmware(reader, facts, read_kept(reader))._replace(gaps=tuple(reader.gaps))


def _read_live_state(reader: Reader, release: str | None, kept: Kept) -> HostFacts:
    return HostFacts(
        release=release,
        command_line=read_command_line(reader),
        symbols=read_symbols(reader, kept),
        hotplug_states=read_hotplug_states(reader),
        devices=read_devices(reader),
        sdei_driver=read_sdei_driver(reader),
        interrupts=read_interrupts(reader),
        idle_states=read_idle_states(reader),
        cpuidle_off=read_cpuidle_off(reader),
        settings=read_settings(reader),
        drills=read_drill_abilities(reader, release),
        evidence=read_evidence(reader),
        makedumpfile=read_makedumpfile(reader),
        stored_drills=read_stored_drills(reader),
    )


def _architecture(cpuinfo: str | None, configs: tuple[KernelConfig, ...]) -> str | None:
    found = parse_architecture(cpuinfo) if cpuinfo is not None else None
    if found:
        return found
    symbols = {symbol for config in configs for symbol, value in config.values if value == "y"}
    if "ARM64" in symbols:
        return "arm64"
    return "x86" if "X86" in symbols else None


def _release(version: str | None) -> str | None:
    # It becomes a part of paths. VERSION takes no other characters than those of a name.
    return boot.VERSION.first(version or "")


def _read_log(reader: Reader, kernel_log: bytes | Iterable[bytes] | None) -> _Log | None:
    if kernel_log is not None:
        pieces = [kernel_log] if isinstance(kernel_log, bytes) else kernel_log
        return _Log("the given log", pieces, given=True)
    if reader.root.live:
        data = reader.attempt(KMSG, reader.root.read)
        return None if data is None else _Log(KMSG, [data])
    for path in CAPTURED_LOGS:
        data = reader.optional(path, reader.root.read, source=KMSG)
        if data is not None:
            return _Log(path, [data])
    if not reader.has_gap(KMSG):
        reader.gap(KMSG, GapKind.ABSENT, "the tree has neither kmsg.txt nor dmesg.txt")
    return None


def _with_log(reader: Reader, facts: HostFacts, log: _Log | None) -> HostFacts:
    if log is None:
        return facts
    parsed = read_last_boot(log.data)
    if parsed.unread:
        reader.gap(KMSG, GapKind.BROKEN, f"{log.source} {UNREAD_LOG}{parsed.unread}")
        return facts
    if not parsed.records:
        reader.gap(KMSG, GapKind.BROKEN, f"{log.source} contains no kernel record")
        return facts
    bootlog = _bootlog_of(parsed)
    if contradiction := _other_kernel(bootlog, facts) or (log.given and _other_boot(bootlog, facts)):
        reader.gap(KMSG, GapKind.BROKEN, f"{log.source} is not of this host's boot: {contradiction}")
        return facts
    return _with_boot(reader, facts, parsed, bootlog)


def _bootlog_of(log: KernelLog) -> BootLog:
    bootlog = read_bootlog(log.records)
    return bootlog._replace(complete=bootlog.complete and not log.relayed)


def _with_boot(reader: Reader, facts: HostFacts, parsed: KernelLog, bootlog: BootLog) -> HostFacts:
    """Return the facts with those in the log of the boot."""
    last = parsed.records
    if loss := _loss(parsed, bootlog):
        reader.gap(KMSG, GapKind.BROKEN, f"{loss}: a missing line proves nothing")
    requests = _read_requests(reader, parsed)
    return facts._replace(
        architecture=facts.architecture or _architecture_of(last, bootlog),
        release=facts.release or bootlog.release,
        cpus=facts.cpus or _cpus_of(bootlog),
        bootlog=bootlog,
        seen_rungs=_seen_rungs(last),
        unanswered=requests.unanswered,
        proven_path=requests.path,
    )


def _seen_rungs(records: Sequence[Record]) -> tuple[NmiPath, ...]:
    """Return the rungs of the stop ladder after the plain IPI that a log shows."""
    found = (stop.LADDER.match(record.text) for record in records if record.text.startswith(stop.RETRY))
    groups = {match.lastgroup for match in found if match}
    words = {"nmi": NmiPath.PSEUDO_NMI, "sdei": NmiPath.SDEI}
    return tuple(path for group, path in words.items() if group in groups)


def _architecture_of(records: Sequence[Record], bootlog: BootLog) -> str | None:
    """Return the architecture that a log shows; None if it shows none, or two."""
    if bootlog.started:
        return "arm64"
    from sdeictl.klog.kernel import Kernel  # noqa: PLC0415 - a complete log has said it

    kernel = Kernel(bootlog.release)
    for record in records:
        kernel.read(record)
    shown = kernel.all_architectures()
    return shown.pop() if len(shown) == 1 else None


def _cpus_of(bootlog: BootLog) -> Cpus | None:
    """Return the CPUs that a log shows; None if it does not say how many are online."""
    online = bootlog.cpus_online or (len(bootlog.midrs) if bootlog.complete else 0)
    midrs = bootlog.midrs if len(bootlog.midrs) == online else bootlog.midrs[:1]
    return cpus_of_midrs(online, midrs) if online else None


def _loss(log: KernelLog, bootlog: BootLog) -> str | None:
    """Return why a boot log may lack lines, a clause; None if it is complete."""
    if bootlog.complete:
        return None
    if not bootlog.started:
        first = f" at {bootlog.first_at:.0f} s" if bootlog.first_at is not None else ""
        return f"the log begins{first}, not with the first line of the boot"
    return "the log came through syslog" if log.relayed else "records before the start of init are missing"


class _Requests(NamedTuple):
    """What the backtrace requests of a boot show."""

    unanswered: tuple[int, ...] = ()
    """The CPUs that did not answer one of them."""
    path: NmiPath | None = None
    """The path by which a masked CPU answered the last of them that shows one."""


def _read_requests(reader: Reader, log: KernelLog) -> _Requests:
    """Return what the requests in a boot show; note a gap if there are too many."""
    if not any(record.text.startswith(request.FROM) for record in log.records):
        return _Requests()
    from sdeictl.klog.analysis import find_episodes  # noqa: PLC0415 - the log of a healthy host has no request
    from sdeictl.klog.episodes import Backtrace  # noqa: PLC0415 - as above
    from sdeictl.klog.requests import proven_path  # noqa: PLC0415 - as above

    found = find_episodes(log.records, limit=MAX_EPISODE_BYTES)
    requests = [episode for episode in found.episodes if isinstance(episode, Backtrace)]
    if found.ended_early or any(episode.cpus_omitted for episode in requests):
        reader.gap(KMSG, GapKind.BROKEN, "it has too many requests: one of them may have had no answer")
    cpus = [cpu for episode in requests for cpu in episode.cpus]
    silent = {cpu.cpu for cpu in cpus if IN_TIME[cpu.state] is False}
    paths = [path for path in map(proven_path, cpus) if path]
    return _Requests(tuple(sorted(silent)), paths[-1] if paths else None)


def _with_kernel_state(reader: Reader, facts: HostFacts) -> HostFacts:
    """Return the facts with those that the running kernel shows in no file."""
    from sdeictl.probe.deep import (  # noqa: PLC0415 - only --deep needs it
        count_masking,
        read_flag,
        read_symbol_table,
    )

    symbols = read_symbol_table(reader)
    facts = facts._replace(sdei_nmi_available=read_flag(reader, symbols))
    if facts.idle_states and facts.idle_states.used:
        facts = facts._replace(mask_count=count_masking(reader, symbols))
    return facts


def _with_journal(reader: Reader, facts: HostFacts) -> HostFacts:
    """Take the boot log from the journal if the kernel log has lost its start."""
    if facts.bootlog and facts.bootlog.complete:
        return facts
    from sdeictl.probe.deep import JOURNAL, read_journal  # noqa: PLC0415 - a complete log needs no journal

    data = read_journal(reader)
    log = read_last_boot([data or b""])
    bootlog = read_bootlog(log.records)
    if not bootlog.started:
        if data is not None:
            reader.gap(JOURNAL, GapKind.BROKEN, "it does not contain the first line of the boot")
        return facts
    requests = _read_requests(reader, log)
    return facts._replace(
        # The journal does not show which records it lost.
        bootlog=bootlog._replace(complete=False),
        log_source=JOURNAL,
        unanswered=tuple(sorted({*facts.unanswered, *requests.unanswered})),
        proven_path=requests.path or facts.proven_path,
    )


def _other_kernel(bootlog: BootLog, facts: HostFacts) -> str | None:
    """Return a clause if a log is of another kernel than the host runs, else None."""
    if bootlog.release and facts.release and bootlog.release != facts.release:
        return f"the log is of Linux {bootlog.release}, but the host runs {facts.release}"
    return None


def _other_boot(bootlog: BootLog, facts: HostFacts) -> str | None:
    """Return a fact about the host that shows that a log is of another boot, a clause; None without one.

    Between a host and its own log these are contradictions, which leave the verdict unknown.
    """
    states = facts.hotplug_states
    if states and "SDEI" in states.names and bootlog.complete and not bootlog.sdei_version:
        return "the log has no line of the SDEI driver, but the driver's hotplug state is installed"
    if states and states.complete and "SDEI" not in states.names and bootlog.sdei_nmi:
        return "the SDEI NMI is registered in the log, but the host has no SDEI hotplug state"
    kernel = facts.symbols
    if kernel and kernel.complete and "sdei_nmi_handler" not in kernel.names and bootlog.sdei_nmi:
        return "the SDEI NMI is registered in the log, but the kernel has no sdei_nmi_handler()"
    gic = facts.interrupts.gic if facts.interrupts else None
    if gic and gic not in GICV3 and (bootlog.gicv3 or bootlog.pseudo_nmi):
        return f"the log has a GICv3, but the interrupt controller of the host is a {gic}"
    asked = None if facts.command_line is None else wants_pseudo_nmi(facts.command_line)
    if asked is False and bootlog.pseudo_nmi:
        return "pseudo-NMI is enabled in the log, but the host's command line does not turn it on"
    if asked is not None and bootlog.command_line and wants_pseudo_nmi(bootlog.command_line) is not asked:
        return "the command lines of the log and of the host differ about pseudo-NMI"
    return None
