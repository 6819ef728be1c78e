"""Finds the episodes in the records of a kernel log: requests, lockups, stalls, stops, crashes. No I/O.

klog/messages/ has the messages; klog/requests.py collects the answers to a request.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Union

from sdeictl.formats.cpulist import parse_cpulist
from sdeictl.klog.bootlog import BootLog, read_bootlog
from sdeictl.klog.episodes import (
    Analysis,
    CrashKernel,
    Episode,
    HardLockup,
    HungTask,
    Panic,
    RcuStall,
    SoftLockup,
    Stop,
)
from sdeictl.klog.messages import backtrace, lockups, rcu, stop
from sdeictl.klog.messages.message import Message
from sdeictl.klog.records import KernelLog, Record
from sdeictl.klog.requests import NO_CPU, Block, Group, Request
from sdeictl.klog.words import IPI, CpuState, NmiPath, StopReason, Trigger

TRIGGER_SECONDS = 30.0
"""A lockup or stall report does not count as the trigger of a request that comes later than this."""


def analyze(log: KernelLog, bootlog: BootLog | None = None) -> Analysis:
    """Return every episode of a log, in log order; never raises.

    `bootlog` has the facts of the boot if the log is only a part of it.
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


# Episodes while their records are read.


class _StopLadder:
    def __init__(self, record: Record, reason: StopReason) -> None:
        self.record = record
        self.reason = reason
        self.rungs: list[str] = [IPI]
        self.retried: set[int] = set()
        self.failed: set[int] = set()


class _LockupReport:
    def __init__(self, record: Record, cpu: int, detected_by: int, secondary_to: int | None) -> None:
        self.record = record
        self.cpu = cpu
        self.detected_by = detected_by
        self.secondary_to = secondary_to
        self.request: Request | None = None
        """The backtrace request that the detector sent to the stuck CPU."""
        self.own_block: Block | None = None
        """The registers that the stuck CPU prints if it detected the lockup itself."""


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


_Open = Union[Request, "_LockupReport", "_StopLadder", "_Stall", "_Handover", Episode]

_REGISTER_VALUE = re.compile(r"[0-9a-f]{8,16}")


class _Boot:
    """Reads the records of one boot in order. _RULES names the method for each message."""

    def __init__(self, records: Sequence[Record], bootlog: BootLog | None) -> None:
        self.records = records
        self.bootlog: BootLog = bootlog or read_bootlog(records)
        self.prints_pmr = bool(self.bootlog.pseudo_nmi) or any(
            r.text.startswith(backtrace.PRIORITY_MASK) for r in records
        )
        self.found: list[_Open] = []
        self.request: Request | None = None
        """The request that answers may belong to."""
        self.groups: dict[str | None, Group] = {}
        """The blocks of each caller (CONFIG_PRINTK_CALLER); without callers all are under None."""
        self.trigger: tuple[Trigger, float | None, int | None] | None = None
        """The latest trigger, its time, and the only CPU that will send the request, if known."""
        self.report: _LockupReport | None = None
        self.stop: _StopLadder | None = None
        self.stall: _Stall | None = None
        self.handover: _Handover | None = None
        self.reason = StopReason.UNKNOWN

    def episodes(self) -> list[Episode]:
        for record in self.records:
            self._read(record)
        return [self._close(item) for item in self.found]

    def _read(self, record: Record) -> None:
        if record.lost_before:
            # The lost lines may have begun a block or a request, so the owner of the next lines is unknown.
            self.groups.clear()
            self._forget_overdue()
        for message, method in _RULES:
            match = message.match(record.text)
            if match:
                method(self, record, match)
                return
        self._read_block_line(record)

    # Requests and their answers

    def _on_request(self, record: Record, match: re.Match[str]) -> None:
        initiator, targets = int(match[1]), parse_cpulist(match[2])
        if self.request:
            self.request.superseded = True
        if not targets or initiator in targets:
            self.request = None  # the line is damaged, so its targets are unknown
            return
        request = Request(record, self._trigger_of(record, initiator), initiator, targets)
        group = self.groups.get(record.caller)
        own = group.only() if group and not group.pstates else None
        if own and own.cpu == initiator:
            request.initiator_frames = own.frames
        self._assign_to_report(request)
        self.groups.clear()
        self.request = request
        self.found.append(request)

    def _assign_to_report(self, request: Request) -> None:
        """Note that the latest lockup report sent this request, if it did."""
        report = self.report
        if not report or report.request or request.trigger != Trigger.HARD_LOCKUP:
            return
        if report.detected_by == request.initiator and report.cpu in request.targets:
            report.request = request

    def _trigger_of(self, record: Record, initiator: int) -> Trigger:
        if not self.trigger:
            return Trigger.OTHER
        kind, at, cpu = self.trigger
        if cpu is not None and cpu != initiator:
            return Trigger.OTHER
        if at is not None and record.at is not None and record.at - at > TRIGGER_SECONDS:
            return Trigger.OTHER
        # One sysrq-l sends one request. A report may send many, and each can wait for 10 s and more.
        self.trigger = None if kind == Trigger.SYSRQ_L else (kind, record.at, cpu)
        return kind

    def _forget_overdue(self) -> None:
        """Forget a request that the kernel no longer waits for: later answers may belong to another one."""
        if self.request and self.request.timed_out is not None:
            self.request = None

    def _on_idle(self, record: Record, match: re.Match[str]) -> None:
        if self.request:
            state = CpuState.IDLE if self.request.timed_out is None else CpuState.LATE
            self.request.accept(int(match[1]), state, record.at)

    def _on_answer(self, record: Record, match: re.Match[str]) -> None:
        self._open_block(int(match[1]), record)

    def _open_block(self, cpu: int, record: Record) -> Block:
        block = Block(cpu, record)
        block.late = bool(self.request and self.request.timed_out is not None)
        group = self.groups.get(record.caller)
        if not group or not group.is_open():
            group = self.groups[record.caller] = Group()
        group.add(block)
        return block

    def _read_block_line(self, record: Record) -> None:
        group = self.groups.get(record.caller)
        if not group or not (group.is_open() or record.text.startswith(" ")):
            return
        only = group.only()
        if cpu_line := backtrace.CPU_LINE.match(record.text):
            group.cpu_lines += 1
            # Another CPU, or the same one again: a warning or an oops has begun inside the block.
            if group.cpu_lines > len(group.blocks) or (only and int(cpu_line[1]) != only.cpu):
                group.add(Block(NO_CPU, record))
        elif register := backtrace.REGISTER.match(record.text):
            self._read_register(group, register[1], register[2])
        elif record.text.startswith(backtrace.LAST_REGISTERS):
            group.ends += 1
            if only:
                only.complete = True
        elif only and (frame := backtrace.FRAME.match(record.text)):
            only.frames.add(frame[1])

    def _read_register(self, group: Group, name: str, value: str) -> None:
        group.pstates += name == "pstate"
        only = group.only()
        if only and name == "pc":
            only.pc = value.strip()
        elif only and (digits := _REGISTER_VALUE.match(value)):
            setattr(only, name, digits[0])
        # A register makes a block an answer: the initiator prints its own stack without registers.
        if only or group.pstates == len(group.blocks):
            for block in group.blocks:
                self._accept(block)

    def _accept(self, block: Block) -> None:
        if self.request and not (self.report and self.report.own_block is block):
            self.request.accept(
                block.cpu, CpuState.LATE if block.late else CpuState.BACKTRACE, block.at, block
            )

    def _on_timeout(self, _record: Record, match: re.Match[str]) -> None:
        if self.request and self.request.timed_out is None:
            self.request.timed_out = parse_cpulist(match[1])

    # Reports

    def _on_sysrq_backtrace(self, record: Record, _match: re.Match[str]) -> None:
        self._forget_overdue()
        self.trigger = (Trigger.SYSRQ_L, record.at, None)

    def _on_hard_lockup(self, record: Record, match: re.Match[str]) -> None:
        detector, stuck = int(match[1]), int(match[2])
        self.report = _LockupReport(record, stuck, detector, self._waits_for(stuck, record.at))
        self._forget_overdue()
        if detector == stuck:
            # The perf detector runs on the stuck CPU: it prints the registers there, without a request.
            self.report.own_block = self._open_block(stuck, record)
        self.trigger = (Trigger.HARD_LOCKUP, record.at, detector)
        self.found.append(self.report)

    def _waits_for(self, cpu: int, at: float | None) -> int | None:
        """Return a CPU that this CPU is waiting for in its own request; None if it does not wait."""
        request = self.request
        if not request or request.initiator != cpu or request.timed_out is not None or not request.waiting:
            return None
        if at is not None and request.at is not None and at - request.at > TRIGGER_SECONDS:
            return None  # the kernel has stopped waiting after 10 s, and its line was lost
        return min(request.waiting)

    def _on_soft_lockup(self, record: Record, match: re.Match[str]) -> None:
        self.trigger = (Trigger.SOFT_LOCKUP, record.at, int(match[1]))
        self.found.append(SoftLockup(record.boot, record.at, int(match[1]), int(match[2]), match[3].strip()))

    def _on_rcu_stall(self, record: Record, match: re.Match[str]) -> None:
        self.stall = _Stall(record, match[1], "self-detected" in match[2])
        self.trigger = (Trigger.RCU_STALL, record.at, None)
        self.found.append(self.stall)

    def _on_stalled_cpu(self, _record: Record, match: re.Match[str]) -> None:
        if self.stall:
            self.stall.cpus.append(int(match[1]))

    def _on_hung_task(self, record: Record, match: re.Match[str]) -> None:
        self.trigger = (Trigger.HUNG_TASK, record.at, None)
        self.found.append(HungTask(record.boot, record.at, match[1], int(match[2]), int(match[3])))

    # The end of a boot

    def _on_stop_reason(self, _record: Record, match: re.Match[str]) -> None:
        reasons = {"Resetting": StopReason.RESET, "Restarting": StopReason.REBOOT}
        self.reason = reasons.get(match[1].split()[0], StopReason.HALT)

    def _on_panic(self, record: Record, match: re.Match[str]) -> None:
        self.reason = StopReason.PANIC
        self.found.append(Panic(record.boot, record.at, match[1]))

    def _on_rung(self, record: Record, match: re.Match[str]) -> None:
        if not self.stop:
            self.stop = _StopLadder(record, self.reason)
            self.found.append(self.stop)
        rung, cpus = match.lastgroup, parse_cpulist(match[match.lastgroup or 0])
        if rung in ("nmi", "sdei"):
            path = NmiPath.SDEI if rung == "sdei" else NmiPath.PSEUDO_NMI
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

    def _close(self, item: _Open) -> Episode:
        """Return the finished episode."""
        if isinstance(item, Request):
            return item.close(self.bootlog, prints_pmr=self.prints_pmr)
        if isinstance(item, _LockupReport):
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


def _has_stack(report: _LockupReport) -> bool:
    if report.own_block:
        return report.own_block.pc is not None
    answer = report.request.answers.get(report.cpu) if report.request else None
    return answer is not None and answer[0] == CpuState.BACKTRACE


_Method = Callable[[_Boot, Record, re.Match[str]], None]

_RULES: tuple[tuple[Message, _Method], ...] = (
    (backtrace.ANSWER, _Boot._on_answer),
    (backtrace.IDLE, _Boot._on_idle),
    (backtrace.REQUEST, _Boot._on_request),
    (backtrace.TIMEOUT, _Boot._on_timeout),
    (backtrace.SYSRQ_L, _Boot._on_sysrq_backtrace),
    *((message, _Boot._on_hard_lockup) for message in lockups.HARD_LOCKUP),
    *((message, _Boot._on_soft_lockup) for message in lockups.SOFT_LOCKUP),
    *((message, _Boot._on_rcu_stall) for message in rcu.STALL),
    (rcu.STALLED_CPU, _Boot._on_stalled_cpu),
    (lockups.HUNG_TASK, _Boot._on_hung_task),
    *((message, _Boot._on_stop_reason) for message in stop.REASON),
    (stop.PANIC, _Boot._on_panic),
    (stop.LADDER, _Boot._on_rung),
    (stop.CRASH_KERNEL, _Boot._on_crash_kernel),
    (stop.BYE, _Boot._on_bye),
)
