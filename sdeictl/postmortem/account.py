"""The account of one boot: how it ended, who was stuck, and what of it survived. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from sdeictl.klog.analysis import find_episodes
from sdeictl.klog.bootlog import BootLog, read_bootlog
from sdeictl.klog.episodes import Backtrace, Episode, HardLockup, Panic, Stop
from sdeictl.klog.messages import stop as messages
from sdeictl.klog.records import KernelLog, Record
from sdeictl.klog.words import IN_TIME, CpuState, NmiPath, StopReason
from sdeictl.postmortem.words import DumpState, End
from sdeictl.probe.collect import facts_of_log
from sdeictl.probe.report import build_report
from sdeictl.text import NamedTuple
from sdeictl.vmcore.core import Core
from sdeictl.vmcore.report import CrashLog, is_masked, missing_cpus

_CLEAN = (StopReason.REBOOT, StopReason.HALT)
_ORDERLY = "reboot: "
"""How the kernel's last line begins when it restarts, halts or powers off in good order (kernel/reboot.c)."""
_STACK_SECONDS = 1.0
"""The stack of a CPU follows the report of its lockup sooner."""
_REQUEST_SECONDS = 10.0
"""So long a CPU waits for the answers to its request (nmi_trigger_cpumask_backtrace())."""
_LOCKUP_WORD = "hard lockup"
_CAPTURES = "for elfcorehdr"
"""At the end of a line of a capture kernel: it reserves the headers of the dump (drivers/of/fdt.c)."""


class Dump(NamedTuple):
    """The crash dump of a boot."""

    path: str | None = None
    state: DumpState = DumpState.NONE


class StuckCpu(NamedTuple):
    """A CPU that did not answer, or that a detector named."""

    cpu: int
    since: float | None = None
    """When the log first names it, in seconds since the boot."""
    waits_for: int | None = None
    """It was only waiting for the answer of this CPU to its own backtrace request."""
    masked: bool | None = None
    path: NmiPath = NmiPath.UNKNOWN
    """The path by which it was asked or stopped."""
    answered: bool | None = None
    """The CPU answered a request, or the kernel stopped it. None: nobody asked, or the log ends first."""
    stack: bool | None = None
    """The stack of the CPU reached the log. None: nobody asked for it, or the log ends first."""
    registers_in_dump: bool | None = None
    """None without a dump, or if the dump does not show it."""

    @property
    def lost_evidence(self) -> bool:
        """Tell whether something is missing that this CPU should have left."""
        return self.waits_for is None and (self.stack is False or self.registers_in_dump is False)

    @property
    def left_nothing_known(self) -> bool:
        """Tell whether the kernel could not stop this CPU, and nothing shows a stack or registers of it."""
        unseen = self.stack is None and self.registers_in_dump is None
        return self.waits_for is None and self.answered is False and unseen


class BootEvidence(NamedTuple):
    """All that is known of one boot."""

    log: KernelLog
    """The records of all sources together."""
    sources: tuple[str, ...]
    """The files and the journal that they come from."""
    boot_id: str | None = None
    began_at: float | None = None
    """In seconds since 1970; so is `ended_at`."""
    ended_at: float | None = None
    """When the boot was last heard of."""
    running: bool = False
    closed: bool = False
    """The journal was closed in good order, and nothing follows."""
    dump: Dump = Dump()
    core: Core | None = None
    went_on: bool = False
    """Another boot follows in the same log."""
    drill: str | None = None
    """The id of the drill that began last, if it can have ended the boot."""


class BootAccount(NamedTuple):
    """The account of one boot."""

    boot_id: str | None
    kernel: str | None
    began_at: float | None
    ended_at: float | None
    end: End
    drill: str | None
    stuck: tuple[StuckCpu, ...]
    stop: Stop | None
    panic: str | None
    """The message of the panic."""
    dump: Dump
    evidence: tuple[str, ...]
    missing: tuple[str, ...]
    """The broken links to a masked CPU, by id of the check."""

    @property
    def evidence_lost(self) -> bool | None:
        """Tell whether a CPU that was stuck in a crash left too little; None if that is unknown."""
        if not self.end.is_crash:
            return None if self.end is End.UNKNOWN else False
        if any(cpu.lost_evidence for cpu in self.stuck):
            return True
        if any(cpu.left_nothing_known for cpu in self.stuck):
            return None
        # The log of a reset stops before anything could name a CPU.
        return None if self.end is End.RESET and not self.stuck else False


def is_capture_kernel(records: Iterable[Record]) -> bool:
    """Tell whether these records are of a crash kernel, which boots only to save a dump."""
    return any(record.text.endswith(_CAPTURES) for record in records)


def make_account(evidence: BootEvidence) -> BootAccount:
    """Return the account of a boot."""
    bootlog = read_bootlog(evidence.log.records)
    episodes = find_episodes(evidence.log.records, bootlog).episodes
    panic = next((each for each in episodes if isinstance(each, Panic)), None)
    ladder = next((each for each in reversed(episodes) if isinstance(each, Stop)), None)
    core = evidence.core
    last_at = evidence.log.records[-1].at if evidence.log.records else None
    end = _end(evidence, panic, ladder)
    return BootAccount(
        boot_id=evidence.boot_id,
        kernel=bootlog.release or (core.kernel if core else None),
        began_at=evidence.began_at,
        ended_at=None if evidence.running else evidence.ended_at,
        end=end,
        drill=evidence.drill if end.is_crash else None,
        stuck=tuple(_stuck(episodes, bootlog, core, last_at)),
        stop=ladder,
        panic=panic.message if panic else None,
        dump=evidence.dump,
        evidence=evidence.sources,
        missing=_missing(evidence.log),
    )


def _end(evidence: BootEvidence, panic: Panic | None, ladder: Stop | None) -> End:
    if panic:
        return End.HARD_LOCKUP if _LOCKUP_WORD in panic.message.lower() else End.PANIC
    if evidence.running:
        return End.RUNNING
    records = evidence.log.records
    orderly = any(
        record.text.startswith(_ORDERLY) and messages.REASON[1].match(record.text) for record in records
    )
    if evidence.closed or orderly or (ladder and ladder.reason in _CLEAN):
        return End.CLEAN
    was_reset = evidence.boot_id or evidence.went_on or (ladder and ladder.reason is StopReason.RESET)
    return End.RESET if records and was_reset else End.UNKNOWN


def _missing(log: KernelLog) -> tuple[str, ...]:
    """Return what a probe of this boot finds missing, by its log."""
    report = build_report(facts_of_log(log))
    return tuple(report["verdict"]["missing"])


def _stuck(
    episodes: Sequence[Episode], bootlog: BootLog, core: Core | None, last_at: float | None
) -> Iterator[StuckCpu]:
    """Yield every CPU that a detector named, that was silent, or that the kernel could not stop at once."""
    found: dict[int, StuckCpu] = {}
    for episode in episodes:
        for cpu in _named_by(episode, last_at):
            found[cpu.cpu] = _both(found[cpu.cpu], cpu) if cpu.cpu in found else cpu
    for episode in episodes:
        if isinstance(episode, Backtrace):
            for answer in episode.cpus:
                if answer.cpu in found:
                    found[answer.cpu] = _with_answer(found[answer.cpu], episode, answer.cpu)
    for number in [number for number, cpu in found.items() if cpu.stack is None]:
        found[number] = _waiting(found[number], episodes)
    for number in missing_cpus(core) if core else ():
        found.setdefault(number, StuckCpu(number))
    for number in sorted(found):
        yield _with_dump(found[number], core, bootlog)


def _named_by(episode: Episode, last_at: float | None) -> Iterator[StuckCpu]:
    if isinstance(episode, HardLockup):
        # A log that ends with the report does not show whether a stack would have followed.
        ends_here = (
            None not in (episode.at, last_at) and (last_at or 0.0) - (episode.at or 0.0) < _STACK_SECONDS
        )
        yield StuckCpu(
            episode.cpu, episode.at, episode.secondary_to, episode.masked,
            episode.path or NmiPath.UNKNOWN, stack=episode.has_stack or (None if ends_here else False),
        )  # fmt: skip
    elif isinstance(episode, Backtrace):
        for cpu in episode.cpus:
            if cpu.state is CpuState.SILENT:
                yield StuckCpu(cpu.cpu, episode.at, path=episode.path, answered=False, stack=False)
    elif isinstance(episode, Stop):
        reached = NmiPath(episode.rungs[-1]) if len(episode.rungs) > 1 else NmiPath.NONE
        for number in sorted(
            {*episode.retried, *episode.failed} if episode.failed_exact else episode.retried
        ):
            stopped = number not in episode.failed
            yield StuckCpu(number, episode.at, path=reached if stopped else NmiPath.NONE, answered=stopped)


def _waiting(stuck: StuckCpu, episodes: Sequence[Episode]) -> StuckCpu:
    """Return a CPU that did not stop. If it waited for the answer to its own request, `waits_for` says whose.

    A CPU that waits so has its interrupts masked for up to 10 s.
    """
    for episode in episodes:
        if not isinstance(episode, Backtrace) or episode.initiator != stuck.cpu:
            continue
        waits = [cpu.cpu for cpu in episode.cpus if IN_TIME[cpu.state] is not True]
        both = None not in (episode.at, stuck.since)
        if waits and both and 0 <= (stuck.since or 0.0) - (episode.at or 0.0) <= _REQUEST_SECONDS:
            return stuck._replace(waits_for=waits[0])
    return stuck


def _both(one: StuckCpu, other: StuckCpu) -> StuckCpu:
    """Return what two episodes say of one CPU, the earlier one first."""
    return one._replace(
        masked=other.masked if one.masked is None else one.masked,
        path=other.path if one.path is NmiPath.UNKNOWN else one.path,
        answered=_any(one.answered, other.answered),
        stack=_any(one.stack, other.stack),
    )


def _any(*values: bool | None) -> bool | None:
    """Return whether one of these is true; None if none of them is known."""
    known = [value for value in values if value is not None]
    return any(known) if known else None


def _with_answer(stuck: StuckCpu, request: Backtrace, number: int) -> StuckCpu:
    """Return a stuck CPU with its part in a request that it answered."""
    answer = next(cpu for cpu in request.cpus if cpu.cpu == number)
    # What it answered before it was stuck says nothing.
    before = None not in (request.at, stuck.since) and (request.at or 0.0) < (stuck.since or 0.0)
    if before or answer.state is CpuState.SELF or not IN_TIME[answer.state]:
        return stuck
    return stuck._replace(
        masked=answer.masked if stuck.masked is None else stuck.masked,
        path=request.path if stuck.path is NmiPath.UNKNOWN else stuck.path,
        answered=True,
        stack=stuck.stack or answer.state is CpuState.BACKTRACE,
    )


def _with_dump(stuck: StuckCpu, core: Core | None, bootlog: BootLog) -> StuckCpu:
    """Return a stuck CPU with what the dump shows of it."""
    cpu = next((cpu for cpu in core.cpus if cpu.cpu == stuck.cpu), None) if core else None
    if cpu is None or not cpu.known:
        return stuck
    masked = stuck.masked
    if masked is None and cpu.registers:
        masked = is_masked(cpu.registers, CrashLog(pseudo_nmi=_masks_by_priority(bootlog)))
    return stuck._replace(registers_in_dump=bool(cpu.registers), masked=masked)


def _masks_by_priority(bootlog: BootLog) -> bool | None:
    if bootlog.pseudo_nmi:
        return True
    return False if bootlog.complete else None
