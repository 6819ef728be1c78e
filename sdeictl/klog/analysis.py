"""Kernel-log records to episodes: who was asked, who answered, masked or not, by which path.

Messages: lib/nmi_backtrace.c, arch/arm64/kernel/process.c and smp.c,
kernel/watchdog.c, kernel/panic.c, kernel/rcu/tree_stall.h (Linux 7.3). Pure.
"""

import re
from collections.abc import Callable, Iterable, Sequence

from sdeictl.formats.cpulist import MAX_CPU, parse_cpulist
from sdeictl.klog.bootlog import BootLog, read_bootlog
from sdeictl.klog.episodes import (
    Analysis,
    Backtrace,
    CpuAnswer,
    CrashKernel,
    Episode,
    HardLockup,
    HungTask,
    Panic,
    RcuStall,
    SoftLockup,
    Stop,
)
from sdeictl.klog.log import KernelLog, Record

PSTATE_I = 0x80
PMR_UNMASKED = 0xE0
PMR_NOT_CAPTURED = 0
NO_CPU = -1
"""Whose lines follow is no CPU's answer."""
TRIGGER_SECONDS = 30.0
"""A request later than this after a lockup or stall report is not counted as its own."""


def analyze(log: KernelLog, bootlog: BootLog | None = None) -> Analysis:
    """Return every episode of a log, in its order; never raises.

    `bootlog` is what is known of the boot where the log is only a slice of it.
    """
    episodes: list[Episode] = []
    for records in _by_boot(log.records):
        episodes += _Boot(records, bootlog).episodes()
    return Analysis(len(log.records), log.lost, tuple(episodes))


def _by_boot(records: Sequence[Record]) -> Iterable[tuple[Record, ...]]:
    boots: dict[int, list[Record]] = {}
    for record in records:
        boots.setdefault(record.boot, []).append(record)
    return [tuple(boot) for boot in boots.values()]


def is_masked(pstate: str | None, pmr: str | None) -> bool | None:
    """Tell whether the interrupted context had its interrupts masked; None if unknown.

    arch/arm64/include/asm/ptrace.h, interrupts_enabled(): PSTATE.I, or a
    priority mask other than "unmasked". A PMR of 0 was never captured (SDEI
    entry stores none), and without a register block nothing is known.
    """
    if pstate is None:
        return None
    if int(pstate, 16) & PSTATE_I:
        return True
    if pmr is None:
        return False
    if int(pmr, 16) == PMR_NOT_CAPTURED:
        return None
    return int(pmr, 16) != PMR_UNMASKED


class _Block:
    """A "NMI backtrace for cpu N" block while its lines come in."""

    def __init__(self, cpu: int, record: Record) -> None:
        self.cpu = cpu
        self.at = record.at
        self.late = False
        """It began after the kernel had given up waiting."""
        self.pstate: str | None = None
        self.pmr: str | None = None
        self.pc: str | None = None
        self.complete = False
        """The general registers came: nothing that is missing will follow."""
        self.frames: set[str] = set()


class _Group:
    """The blocks whose lines may be mixed: those opened before an earlier one had all its registers.

    The kernel does not interleave blocks (printk_cpu_sync_get_irqsave() in
    nmi_cpu_backtrace()), but a merged or damaged log may. With one block in
    the group its lines are its own; with more nobody can tell whose they are.
    """

    def __init__(self) -> None:
        self.blocks: list[_Block] = []
        self.named = 0
        self.states = 0
        self.ends = 0

    def is_open(self) -> bool:
        return self.ends < len(self.blocks) <= MAX_CPU

    def add(self, block: _Block) -> None:
        if only := self.only():
            only.pstate = only.pmr = only.pc = None
        self.blocks.append(block)

    def only(self) -> _Block | None:
        return self.blocks[0] if len(self.blocks) == 1 else None


class _Request:
    """A backtrace request while its answers come in."""

    def __init__(self, record: Record, trigger: str, initiator: int, targets: tuple[int, ...]) -> None:
        self.boot = record.boot
        self.at = record.at
        self.trigger = trigger
        self.initiator = initiator
        self.targets = targets
        self.answers: dict[int, tuple[str, _Block | None, float | None]] = {}
        self.timed_out: tuple[int, ...] | None = None
        self.own_frames: set[str] = set()
        self.superseded = False
        self.waiting = set(targets)

    def accept(self, cpu: int, state: str, at: float | None, block: _Block | None = None) -> None:
        if cpu in self.waiting:
            self.waiting.remove(cpu)
            self.answers[cpu] = (state, block, at)


class _StopLadder:
    def __init__(self, record: Record, reason: str) -> None:
        self.record = record
        self.reason = reason
        self.rungs = ["ipi"]
        self.retried: set[int] = set()
        self.failed: set[int] = set()


class _Report:
    """A hard-lockup report and, once it comes, the request it sent."""

    def __init__(self, record: Record, cpu: int, detected_by: int, secondary_to: int | None) -> None:
        self.record = record
        self.cpu = cpu
        self.detected_by = detected_by
        self.secondary_to = secondary_to
        self.request: _Request | None = None
        self.own_block: _Block | None = None


class _Stall:
    def __init__(self, record: Record, flavor: str, self_detected: bool) -> None:
        self.record = record
        self.flavor = flavor
        self.self_detected = self_detected
        self.cpus: list[int] = []


class _Handover:
    def __init__(self, record: Record) -> None:
        self.record = record
        self.done = False


_Open = _Request | _Report | _StopLadder | _Stall | _Handover | Episode

_FRAME = re.compile(r" {1,4}([\w.]{1,120})\+0x[0-9a-f]{1,8}/0x[0-9a-f]{1,8}")
_CPU_LINE = re.compile(r"CPU: (\d{1,5}) (?:UID: \d+ )?PID: ", re.ASCII)
_REGISTERS = re.compile(r"(pstate|pc|pmr) ?: ?(.*)")
_HEX8 = re.compile(r"[0-9a-f]{8,16}")


class _Boot:
    """Reads the records of one boot in order. Each rule is a message and a method."""

    def __init__(self, records: Sequence[Record], bootlog: BootLog | None) -> None:
        self.records = records
        self.bootlog: BootLog = bootlog or read_bootlog(records)
        self.prints_pmr = bool(self.bootlog.pseudo_nmi) or any(r.text.startswith("pmr: ") for r in records)
        self.found: list[_Open] = []
        self.request: _Request | None = None
        self.groups: dict[str | None, _Group] = {}
        self.trigger: tuple[str, float | None, int | None] | None = None
        self.report: _Report | None = None
        self.stop: _StopLadder | None = None
        self.stall: _Stall | None = None
        self.handover: _Handover | None = None
        self.reason = "unknown"

    def episodes(self) -> list[Episode]:
        for record in self.records:
            self._read(record)
        return [self._close(item) for item in self.found]

    def _read(self, record: Record) -> None:
        if record.lost_before:
            # Whose lines follow, and to which request, is no longer known.
            self.groups.clear()
            self._forget_overdue()
        for rule, method in _RULES:
            match = rule.match(record.text)
            if match:
                method(self, record, match)
                return
        self._read_block_line(record)

    # Requests and their answers

    def _on_sending(self, record: Record, match: re.Match[str]) -> None:
        initiator, targets = int(match[1]), parse_cpulist(match[2])
        if self.request:
            self.request.superseded = True
        if not targets or initiator in targets:
            self.request = None  # a damaged line: nobody knows what was asked
            return
        request = _Request(record, self._trigger_of(record, initiator), initiator, targets)
        group = self.groups.get(record.caller)
        own = group.only() if group and not group.states else None
        if own and own.cpu == initiator:
            request.own_frames = own.frames
        report = self.report
        asked_for_victim = report and report.detected_by == initiator and report.cpu in request.targets
        if report and asked_for_victim and not report.request and request.trigger == "hard-lockup":
            report.request = request
        self.groups.clear()
        self.request = request
        self.found.append(request)

    def _trigger_of(self, record: Record, initiator: int) -> str:
        if not self.trigger:
            return "other"
        kind, at, cpu = self.trigger
        if cpu is not None and cpu != initiator:
            return "other"
        if at is not None and record.at is not None and record.at - at > TRIGGER_SECONDS:
            return "other"
        # One sysrq-l makes one request; a report may make many, each of which can wait for 10 s and more.
        self.trigger = None if kind == "sysrq-l" else (kind, record.at, cpu)
        return kind

    def _forget_overdue(self) -> None:
        """Let a request that the kernel has given up take no more answers: they may be another's."""
        if self.request and self.request.timed_out is not None:
            self.request = None

    def _on_idle(self, record: Record, match: re.Match[str]) -> None:
        if self.request:
            state = "idle" if self.request.timed_out is None else "late"
            self.request.accept(int(match[1]), state, record.at)

    def _on_header(self, record: Record, match: re.Match[str]) -> None:
        self._open_block(int(match[1]), record)

    def _open_block(self, cpu: int, record: Record) -> _Block:
        block = _Block(cpu, record)
        block.late = bool(self.request and self.request.timed_out is not None)
        group = self.groups.get(record.caller)
        if not group or not group.is_open():
            group = self.groups[record.caller] = _Group()
        group.add(block)
        return block

    def _read_block_line(self, record: Record) -> None:
        group = self.groups.get(record.caller)
        if not group or not (group.is_open() or record.text.startswith(" ")):
            return
        only = group.only()
        if cpu_line := _CPU_LINE.match(record.text):
            group.named += 1
            # Of another CPU, or a second time: an oops or a warning has begun in between.
            if group.named > len(group.blocks) or (only and int(cpu_line[1]) != only.cpu):
                group.add(_Block(NO_CPU, record))
        elif register := _REGISTERS.match(record.text):
            self._read_register(group, register[1], register[2])
        elif record.text.startswith("x29: "):
            group.ends += 1
            if only:
                only.complete = True
        elif only and (frame := _FRAME.match(record.text)):
            only.frames.add(frame[1])

    def _read_register(self, group: _Group, name: str, value: str) -> None:
        group.states += name == "pstate"
        only = group.only()
        if only and name == "pc":
            only.pc = value.strip()
        elif only and (digits := _HEX8.match(value)):
            setattr(only, name, digits[0])
        # A block is an answer from its first register on: the asking CPU's own dump has none.
        if only or group.states == len(group.blocks):
            for block in group.blocks:
                self._accept(block)

    def _accept(self, block: _Block) -> None:
        if self.request and not (self.report and self.report.own_block is block):
            self.request.accept(block.cpu, "late" if block.late else "backtrace", block.at, block)

    def _on_timeout(self, _record: Record, match: re.Match[str]) -> None:
        if self.request and self.request.timed_out is None:
            self.request.timed_out = parse_cpulist(match[1])

    # Reports

    def _on_sysrq_backtrace(self, record: Record, _match: re.Match[str]) -> None:
        self._forget_overdue()
        self.trigger = ("sysrq-l", record.at, None)

    def _on_hard_lockup(self, record: Record, match: re.Match[str]) -> None:
        detector, victim = int(match[1]), int(match[2])
        self.report = _Report(record, victim, detector, self._waits_for(victim, record.at))
        self._forget_overdue()
        if detector == victim:
            # The perf detector dumps its own CPU in place, without a request.
            self.report.own_block = self._open_block(victim, record)
        self.trigger = ("hard-lockup", record.at, detector)
        self.found.append(self.report)

    def _waits_for(self, cpu: int, at: float | None) -> int | None:
        """Return the CPU whose answer a CPU is waiting for in its own request, if it is."""
        asked = self.request
        if not asked or asked.initiator != cpu or asked.timed_out is not None or not asked.waiting:
            return None
        if at is not None and asked.at is not None and at - asked.at > TRIGGER_SECONDS:
            return None  # the kernel gives up after 10 s; its line was lost
        return min(asked.waiting)

    def _on_soft_lockup(self, record: Record, match: re.Match[str]) -> None:
        self.trigger = ("soft-lockup", record.at, int(match[1]))
        self.found.append(SoftLockup(record.boot, record.at, int(match[1]), int(match[2]), match[3].strip()))

    def _on_rcu_stall(self, record: Record, match: re.Match[str]) -> None:
        self.stall = _Stall(record, match[1], "self-detected" in match[2])
        self.trigger = ("rcu-stall", record.at, None)
        self.found.append(self.stall)

    def _on_rcu_cpu(self, _record: Record, match: re.Match[str]) -> None:
        if self.stall:
            self.stall.cpus.append(int(match[1]))

    def _on_hung_task(self, record: Record, match: re.Match[str]) -> None:
        self.trigger = ("hung-task", record.at, None)
        self.found.append(HungTask(record.boot, record.at, match[1], int(match[2]), int(match[3])))

    # The end of a boot

    def _on_reason(self, _record: Record, match: re.Match[str]) -> None:
        words = {"Resetting": "reset", "Restarting": "reboot"}
        self.reason = words.get(match[1].split()[0], "halt")

    def _on_panic(self, record: Record, match: re.Match[str]) -> None:
        self.reason = "panic"
        self.found.append(Panic(record.boot, record.at, match[1]))

    def _on_stop(self, record: Record, match: re.Match[str]) -> None:
        if not self.stop:
            self.stop = _StopLadder(record, self.reason)
            self.found.append(self.stop)
        rung, cpus = match.lastgroup, parse_cpulist(match[match.lastgroup or 0])
        if rung in ("nmi", "sdei"):
            path = "sdei" if rung == "sdei" else "pseudo-nmi"
            if path not in self.stop.rungs:
                self.stop.rungs.append(path)
            self.stop.retried.update(cpus)
        elif rung == "failed":
            self.stop.failed.update(cpus)

    def _on_crash_kernel(self, record: Record, _match: re.Match[str]) -> None:
        self.handover = _Handover(record)
        self.found.append(self.handover)

    def _on_bye(self, _record: Record, _match: re.Match[str]) -> None:
        if self.handover:
            self.handover.done = True

    # From what was collected to frozen episodes

    def _close(self, item: _Open) -> Episode:
        if isinstance(item, _Request):
            return self._close_request(item)
        if isinstance(item, _Report):
            return HardLockup(
                item.record.boot, item.record.at, item.cpu, item.detected_by,
                _has_stack(item), item.secondary_to,
            )  # fmt: skip
        if isinstance(item, _StopLadder):
            return Stop(
                item.record.boot, item.record.at, item.reason, tuple(item.rungs),
                tuple(sorted(item.retried)), tuple(sorted(item.failed)),
            )  # fmt: skip
        if isinstance(item, _Stall):
            cpus = tuple(sorted(set(item.cpus)))
            return RcuStall(item.record.boot, item.record.at, item.flavor, item.self_detected, cpus)
        if isinstance(item, _Handover):
            return CrashKernel(item.record.boot, item.record.at, item.done)
        return item

    def _close_request(self, request: _Request) -> Backtrace:
        # It is over once the kernel gave up waiting, or went on to the next request.
        over = request.timed_out is not None or request.superseded
        cpus = [self._answer(request, cpu, "silent" if over else "pending") for cpu in request.targets]
        if request.initiator not in request.targets:
            cpus.append(CpuAnswer(request.initiator, "self", frames=frozenset(request.own_frames)))
        return Backtrace(
            boot=request.boot,
            at=request.at,
            trigger=request.trigger,
            initiator=request.initiator,
            targets=request.targets,
            path=_path(request, cpus, self.bootlog),
            timed_out=request.timed_out or (),
            cpus=tuple(sorted(cpus)),
        )

    def _answer(self, request: _Request, cpu: int, otherwise: str) -> CpuAnswer:
        if cpu not in request.answers:
            return CpuAnswer(cpu, otherwise)
        state, block, at = request.answers[cpu]
        latency = None
        if at is not None and request.at is not None and at >= request.at:
            latency = round(at - request.at, 6)
        if not block:
            return CpuAnswer(cpu, state, latency_seconds=latency)
        masked = is_masked(block.pstate, block.pmr)
        if masked is False and not block.pmr and (self.prints_pmr or not block.complete):
            masked = None  # the priority mask is not there to be judged
        frames = frozenset(block.frames)
        return CpuAnswer(cpu, state, masked, block.pstate, block.pmr, block.pc, latency, frames)


def _has_stack(report: _Report) -> bool:
    if report.own_block:
        return report.own_block.pc is not None
    answer = report.request.answers.get(report.cpu) if report.request else None
    return answer is not None and answer[0] == "backtrace"


def _path(request: _Request, cpus: Sequence[CpuAnswer], bootlog: BootLog) -> str:
    """Name the path a request took; the first rule that applies decides."""
    pmrs = [int(cpu.pmr, 16) for cpu in cpus if cpu.pmr is not None]
    if "sdei_nmi_trigger_cpumask_backtrace" in request.own_frames:
        return "sdei"
    if pmrs:
        return "pseudo-nmi" if any(pmrs) else "sdei"
    if any(cpu.pstate is not None and int(cpu.pstate, 16) & PSTATE_I for cpu in cpus):
        return "sdei"
    if bootlog.sdei_nmi:
        return "sdei"
    if "arch_trigger_cpumask_backtrace" in request.own_frames or bootlog.complete:
        return "pseudo-nmi" if bootlog.pseudo_nmi else "none"
    return "unknown"


_Method = Callable[[_Boot, Record, re.Match[str]], None]

_RULES: tuple[tuple[re.Pattern[str], _Method], ...] = tuple(
    (re.compile(pattern, re.ASCII), method)
    for pattern, method in (
        (r"NMI backtrace for cpu (\d{1,5})$", _Boot._on_header),
        (r"NMI backtrace for cpu (\d{1,5}) skipped: idling at \S", _Boot._on_idle),
        (r"Sending NMI from CPU (\d{1,5}) to CPUs ([\d,-]{1,20000}):$", _Boot._on_sending),
        (
            r"After 10 seconds, these CPUS still haven't responded to the NMI: ([\d,-]+)$",
            _Boot._on_timeout,
        ),
        (r"sysrq: Show backtrace of all active CPUs", _Boot._on_sysrq_backtrace),
        (
            r"(?:NMI )?watchdog: CPU(\d{1,5}): Watchdog detected hard LOCKUP on cpu (\d{1,5})$",
            _Boot._on_hard_lockup,
        ),
        (
            r"(?:NMI )?watchdog: BUG: soft lockup - CPU#(\d{1,5}) stuck for (\d{1,9})s! \[(.*)\]$",
            _Boot._on_soft_lockup,
        ),
        (
            r"(?:rcu: )?INFO: (\w+) (detected (?:expedited )?stalls|self-detected stall) on ",
            _Boot._on_rcu_stall,
        ),
        (r"rcu: \t(\d{1,5})-[.O?!][.o?!]", _Boot._on_rcu_cpu),
        (
            r"INFO: task (.{1,64}):(\d{1,10}) blocked(?: in I/O wait)? for more than (\d{1,9}) seconds\.",
            _Boot._on_hung_task,
        ),
        (r"(?:sysrq|reboot): (Resetting|Restarting system|System halted|Power down)", _Boot._on_reason),
        (r"Kernel panic - not syncing: (.*)", _Boot._on_panic),
        (
            r"SMP: (?:(?P<ipi>stopping secondary CPUs)|retry stop with NMI for CPUs (?P<nmi>[\d,-]+)"
            r"|retry stop with SDEI NMI for CPUs (?P<sdei>[\d,-]+)"
            r"|failed to stop secondary CPUs (?P<failed>[\d,-]+))$",
            _Boot._on_stop,
        ),
        (r"Starting crashdump kernel\.\.\.", _Boot._on_crash_kernel),
        (r"Bye!$", _Boot._on_bye),
    )
)
