"""Reads the records of one boot, and finds requests, lockups, stalls, stops and crashes. No I/O.

klog/messages/ has the messages; requests.py collects the answers to a request, and reports.py what the kernel
reports about lockups, stalls and stops.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Union

from sdeictl.formats.cpulist import parse_cpulist
from sdeictl.klog import bootlog
from sdeictl.klog.bootlog import BootLog, BootLogReader
from sdeictl.klog.budget import KeepBudget
from sdeictl.klog.causes import TRIGGER_SECONDS, Cause, Causes
from sdeictl.klog.episodes import (
    Backtrace,
    CsdLock,
    Episode,
    HungTask,
    Panic,
    SoftLockup,
    TaskDump,
    WorkqueueLockup,
    without_claims,
)
from sdeictl.klog.kernel import Kernel, logging_cpu
from sdeictl.klog.messages import architecture, backtrace, lockups, rcu, request, sdei, stop
from sdeictl.klog.messages.message import Message
from sdeictl.klog.records import Record
from sdeictl.klog.reports import Handover, LockupReport, LockupReports, Stall, StopLadder
from sdeictl.klog.requests import NO_CPU, PSTATE_I, Block, Boot, Group, Request, ShownCpus
from sdeictl.klog.words import CpuState, NmiPath, StopReason, Trigger

ANSWER_SECONDS = 10.0
"""Answers to a request that the log lacks belong together if they come within this time."""


MAX_TEXT_CHARACTERS = 1 << 15
"""The rest of a longer record is left out. A list of every second CPU of 4,096 has 10 KiB."""

_Open = Union[Request, ShownCpus, LockupReport, StopLadder, Stall, Handover, Episode]

_USUAL_DIGITS = 8
"""Of pstate; a ninth stands for a flag above 32 bits."""
_REGISTER_VALUE = re.compile(r"[0-9a-f]{8,16}")


class BootReader:
    """Reads the records of one boot in order. _RULES names the method for each message."""

    def __init__(self, bootlog: BootLog | None, budget: KeepBudget) -> None:
        self._given = bootlog
        self._budget = budget
        self._bootlog = BootLogReader()
        self.kernel = Kernel(bootlog.release if bootlog else None)
        self.sdei_registered = bootlog is not None and bootlog.sdei_nmi
        self.last_at: float | None = None
        """The time of the latest record, in seconds since the boot."""
        self.says_timeouts = False
        self.found: list[tuple[int, _Open]] = []
        """Each episode with the number of its file."""
        self.request: Request | None = None
        """The request that answers may belong to."""
        self.overdue: Request | None = None
        """The latest request that the kernel no longer waits for: its late answers belong to no other one."""
        self.shown: ShownCpus | None = None
        self.groups: dict[str | None, Group] = {}
        """The blocks of each caller (CONFIG_PRINTK_CALLER); without callers all are under None."""
        self.causes = Causes()
        self.reports = LockupReports()
        self.stop: StopLadder | None = None
        self.stall: Stall | None = None
        self.handover: Handover | None = None
        self.reason = StopReason.UNKNOWN
        self.csd_locks: set[tuple[int, int]] = set()
        """The CPU that waits and the other one, of each lock that was reported."""

    def episodes(self, room: int) -> Iterator[Episode]:
        """Yield the finished episodes. The requests among them have at most `room` CPUs without one."""
        bootlog = self._given or self._bootlog.bootlog()
        pmr = bool(bootlog.pseudo_nmi) or self.kernel.prints_pmr
        says_timeouts = self.says_timeouts or self.kernel.says_timeouts()
        boot = Boot(bootlog, pmr, says_timeouts, self.last_at)
        for file, item in self.found:
            episode = self._close(item, boot, room)._replace(file=file)
            if not self.kernel.all_architectures() <= {"arm64"}:
                episode = without_claims(episode)
            room -= len(episode.cpus) if isinstance(episode, Backtrace) else 0
            yield episode

    def read(self, record: Record) -> None:
        """Take the next record. The log ends where the budget is spent: a later request would look silent."""
        if self._budget.ends_before(record.place):
            return
        if len(record.text) > MAX_TEXT_CHARACTERS:
            record = record._replace(text=record.text[:MAX_TEXT_CHARACTERS])
        self.last_at = record.at
        self._bootlog.read(record)
        if self.stop and self.stop.listed:
            self.stop.goes_on = True
        if self.kernel.release is None:
            self.kernel.release = self._bootlog.release()
        if record.lost_before:
            # The lost lines may have begun a block or a request, so the owner of the next lines is unknown.
            self.groups.clear()
            self._forget_overdue()
        if not self._read_by_rule(record):
            self._read_other_line(record)

    def _read_by_rule(self, record: Record) -> bool:
        """Take a record if a rule is about it; tell whether one is."""
        for message, method in _RULES_OF.get(record.text[:3], ()):
            match = message.match(record.text)
            if match:
                self._budget.keep_record(record.text)
                method(self, record, match)
                return True
        return False

    def _read_other_line(self, record: Record) -> None:
        self.kernel.read(record)
        if self.stall and self.stall.is_over(record):
            self.stall = None
        members = self.stall.members if self.stall else 0
        if self.stall and self.stall.takes(record):
            self._budget.keep_record(record.text)
            self._budget.keep_members(self.stall.members - members)
        else:
            self._read_block_line(record)

    def _add(self, record: Record, item: _Open) -> None:
        self.found.append((record.file, item))

    def _cpus(self, text: str) -> tuple[int, ...]:
        cpus = parse_cpulist(text)
        self._budget.keep_cpus(len(cpus))
        return cpus

    # Requests and their answers

    def _on_request(self, record: Record, match: re.Match[str]) -> None:
        initiator, targets = int(match[1]), self._cpus(match[2])
        previous = self.request
        if not targets or initiator in targets:
            self.request = None  # the line is damaged, so its targets are unknown
            return
        if previous and previous.initiator == initiator:
            previous.next = record
        request = Request(record, self.causes.trigger_of(record, initiator, targets), initiator, targets)
        request.sdei_registered = self.sdei_registered
        group = self.groups.get(record.caller)
        own = group.only() if group and not group.pstates else None
        if own and own.cpu == initiator:
            request.initiator_frames = own.frames
            if previous:
                previous.retract(own)
        if request.trigger is Trigger.HARD_LOCKUP:
            self.reports.take_request(request)
        self.groups.clear()
        self.request, self.overdue = request, None
        self._add(record, request)

    def _forget_overdue(self) -> None:
        """Forget a request that the kernel no longer waits for: later answers may belong to another one."""
        if self.request and self.request.timed_out is not None:
            self.request, self.overdue = None, self.request

    def _request_of(self, record: Record, cpu: int) -> Request | None:
        """Return the request that a CPU answers; the log may lack the request itself."""
        request = self.request
        if request and request.initiator is None and not _is_within(request, record):
            request = None
        if not request and not (self.overdue and self.overdue.waits_for(cpu)):
            request = self.request = self._unseen_request(record)
        return request

    def _unseen_request(self, record: Record) -> Request:
        request = Request(record, Trigger.OTHER, None, ())
        request.sdei_registered = self.sdei_registered
        self._add(record, request)
        return request

    def _on_idle(self, record: Record, match: re.Match[str]) -> None:
        cpu = int(match[1])
        if request := self._request_of(record, cpu):
            state = CpuState.IDLE if request.timed_out is None else CpuState.LATE
            request.accept(cpu, state, record.at)

    def _on_answer(self, record: Record, match: re.Match[str]) -> None:
        if self.reports.expect_answer(int(match[1])):
            self.groups.pop(record.caller, None)
        block = self._open_block(int(match[1]), record)
        if self.request and self.request.initiator is not None:
            self._accept(self.request, block)

    def _accept(self, request: Request, block: Block) -> None:
        request.accept(block.cpu, CpuState.LATE if block.late else CpuState.BACKTRACE, block.at, block)

    def _accept_unseen(self, block: Block, record: Record) -> None:
        """Take a block with registers as an answer; the log may lack the request.

        A CPU that begins a request prints itself without registers.
        """
        if self.reports.of_own_block(block) or block.cpu == NO_CPU:
            return
        request = self._request_of(record, block.cpu)
        if request and request.initiator is None:
            self._accept(request, block)
            self.reports.take_answer(request, block.cpu)

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
        if not group or not (group.is_open() or record.text.startswith((" ", "["))):
            return
        only = group.only()
        if cpu_line := backtrace.CPU_LINE.match(record.text):
            self._read_cpu_line(group, int(cpu_line[1]), record)
        elif old := backtrace.OLD_REGISTERS.match(record.text):
            self._read_register(group, "pstate", old[1], record)
        elif only and (old := backtrace.OLD_PC.match(record.text)):
            only.pc = old[1].strip()
        elif register := backtrace.REGISTER.match(record.text):
            self._read_register(group, register[1], register[2], record)
        elif record.text.startswith(backtrace.LAST_REGISTERS):
            group.ends += 1
            if only:
                only.complete = True
        elif only and (frame := backtrace.FRAME.match(record.text)):
            only.frames.add(self._budget.keep_frame(frame[1]))
        elif only and architecture.architecture_of_line(record.text):
            self._accept_unseen(only, record)

    def _read_cpu_line(self, group: Group, cpu: int, record: Record) -> None:
        only = group.only()
        group.cpu_lines += 1
        # Another CPU, or the same one again: a warning or an oops has begun inside the block.
        if group.cpu_lines > len(group.blocks) or (only and cpu != only.cpu):
            self._budget.keep_record(record.text)
            group.add(Block(NO_CPU, record))
        elif only and (report := self.reports.of_own_block(only)):
            report.name_detector(cpu)

    def _read_register(self, group: Group, name: str, value: str, record: Record) -> None:
        group.pstates += name == "pstate"
        only = group.only()
        if not only:
            return
        if name == "pc":
            only.pc = value.strip() if backtrace.PLACE.match(value) else None
        elif (digits := _REGISTER_VALUE.match(value)) and not _is_damaged(value, digits[0]):
            setattr(only, name, digits[0])
        if name == "pstate":
            self._accept_unseen(only, record)

    def _on_timeout(self, record: Record, match: re.Match[str]) -> None:
        self.says_timeouts = True
        if not self.request:
            self.request = self._unseen_request(record)
        if self.request.timed_out is None:
            self.request.timed_out = self._cpus(match[1])

    def _on_show_cpu(self, record: Record, match: re.Match[str]) -> None:
        if not self.shown:
            asked = self.causes.latest_kind() is Trigger.SYSRQ_L
            self.shown = ShownCpus(record, asked=asked)
            self._add(record, self.shown)
        self.shown.add(int(match[1]), idle=match["idle"] is not None)

    # Reports

    def _on_sysrq_backtrace(self, record: Record, _match: re.Match[str]) -> None:
        self._forget_overdue()
        self.shown = None
        self.causes.add(Cause(Trigger.SYSRQ_L, record.at))

    def _on_hard_lockup(self, record: Record, match: re.Match[str]) -> None:
        detector, stuck = int(match[1]) if match[1] else None, int(match[2])
        report = LockupReport(record, stuck, detector, self._waits_for(stuck, record.at))
        self._forget_overdue()
        if detector in (None, stuck):
            # The perf detector runs on the stuck CPU: it prints the registers there, without a request.
            report.own_block = self._open_block(stuck, record)
        self.causes.add(Cause(Trigger.HARD_LOCKUP, record.at, detector, stuck))
        self.reports.add(report)
        self._add(record, report)

    def _waits_for(self, cpu: int, at: float | None) -> int | None:
        """Return a CPU that this CPU is waiting for in its own request; None if it does not wait."""
        request = self.request
        if not request or request.initiator != cpu or request.timed_out is not None:
            return None
        if at is not None and request.at is not None and at - request.at > TRIGGER_SECONDS:
            return None  # the kernel has stopped waiting after 10 s, and its line was lost
        return request.first_waiting()

    def _on_soft_lockup(self, record: Record, match: re.Match[str]) -> None:
        self.causes.add(Cause(Trigger.SOFT_LOCKUP, record.at, int(match[1])))
        self._add(record, SoftLockup(record.boot, record.at, int(match[1]), int(match[2]), match[3].strip()))

    def _on_rcu_stall(self, record: Record, match: re.Match[str]) -> None:
        stall = Stall(record, match[1], match[2], match["members"] or "")
        self._budget.keep_members(stall.members)
        if not stall.expedited:  # an expedited stall names its CPUs in this line only
            self.stall = stall
        self.causes.add(Cause(Trigger.RCU_STALL, record.at))
        self._add(record, stall)

    def _on_hung_task(self, record: Record, match: re.Match[str]) -> None:
        self.causes.add(Cause(Trigger.HUNG_TASK, record.at))
        self._add(record, HungTask(record.boot, record.at, match[1], int(match[2]), int(match[3])))

    def _on_csd_lock(self, record: Record, match: re.Match[str]) -> None:
        cpu, target = int(match[2]), int(match[3])
        if match[1] == "Continued" and (cpu, target) in self.csd_locks:
            return
        self.csd_locks.add((cpu, target))
        self.causes.add(Cause(Trigger.CSD_LOCK, record.at, cpu, target))
        self._add(record, CsdLock(record.boot, record.at, cpu, target))

    def _on_workqueue_lockup(self, record: Record, match: re.Match[str]) -> None:
        # The requests for its workers have no word of their own, and follow from no earlier report.
        self.causes.add(Cause(Trigger.OTHER, record.at))
        self._add(record, WorkqueueLockup(record.boot, record.at, self._cpus(match[1])))

    def _on_task_dump(self, record: Record, match: re.Match[str]) -> None:
        self._add(record, TaskDump(record.boot, record.at, int(match[1])))

    def _on_sdei_registered(self, _record: Record, _match: re.Match[str]) -> None:
        self.sdei_registered = self._given.sdei_nmi if self._given else self._bootlog.registers_sdei()

    # The end of a boot

    def _on_stop_reason(self, _record: Record, match: re.Match[str]) -> None:
        reasons = {"Resetting": StopReason.RESET, "Restarting": StopReason.REBOOT}
        self.reason = reasons.get(match[1].split()[0], StopReason.HALT)

    def _on_panic(self, record: Record, match: re.Match[str]) -> None:
        self.reason = StopReason.PANIC
        self.kernel.panics(record)
        self._add(record, Panic(record.boot, record.at, match[1]))

    def _on_rung(self, record: Record, match: re.Match[str]) -> None:
        if not self.stop:
            stopper = logging_cpu(record)
            self.stop = StopLadder(record, self.reason, self.kernel.stopper if stopper is None else stopper)
            self._add(record, self.stop)
        rung, cpus = match.lastgroup, self._cpus(match[match.lastgroup or 0].strip())
        if rung in ("nmi", "sdei"):
            self.stop.add_retry(NmiPath.SDEI if rung == "sdei" else NmiPath.PSEUDO_NMI, cpus)
        elif rung == "failed":
            self.stop.add_failure(cpus)

    def _on_crash_kernel(self, record: Record, match: re.Match[str]) -> None:
        """Take a line of the start of a crash kernel; the log may lack its first one."""
        if not self.handover:
            self.handover = Handover(record)
            self._add(record, self.handover)
            if self.stop:
                self.stop.for_crash_kernel = True
        if match.re.pattern == stop.STALE_CPUS.pattern:
            self.handover.stale_cpus = True

    def _on_bye(self, _record: Record, _match: re.Match[str]) -> None:
        if self.handover:
            self.handover.done = True

    def _close(self, item: _Open, boot: Boot, room: int) -> Episode:
        """Return the finished episode."""
        if isinstance(item, Request):
            return item.close(boot, room)
        if isinstance(item, LockupReport):
            return item.close(boot)
        if isinstance(item, StopLadder):
            return item.close(lists_exactly=self.kernel.lists_exactly())
        if isinstance(item, (ShownCpus, Stall, Handover)):
            return item.close()
        return item


def _is_within(request: Request, record: Record) -> bool:
    return None in (request.at, record.at) or 0 <= (record.at or 0) - (request.at or 0) <= ANSWER_SECONDS


_Method = Callable[[BootReader, Record, re.Match[str]], None]


def _is_damaged(value: str, digits: str) -> bool:
    """Tell whether more digits than usual contradict the letters of pstate: then one is not the kernel's."""
    letters = backtrace.MASK_FLAGS.match(value) if len(digits) > _USUAL_DIGITS else None
    return letters is not None and (letters[1] == "I") is not bool(int(digits, 16) & PSTATE_I)


_RULES: tuple[tuple[Message, _Method], ...] = (
    (backtrace.ANSWER, BootReader._on_answer),
    (backtrace.IDLE, BootReader._on_idle),
    (request.REQUEST, BootReader._on_request),
    (request.TIMEOUT, BootReader._on_timeout),
    (request.SYSRQ_L, BootReader._on_sysrq_backtrace),
    (backtrace.SHOW_CPU, BootReader._on_show_cpu),
    (backtrace.TASK_DUMP, BootReader._on_task_dump),
    *((message, BootReader._on_hard_lockup) for message in lockups.HARD_LOCKUP),
    *((message, BootReader._on_soft_lockup) for message in lockups.SOFT_LOCKUP),
    *((message, BootReader._on_rcu_stall) for message in rcu.STALL),
    *((message, BootReader._on_csd_lock) for message in lockups.CSD_LOCK),
    (lockups.WORKQUEUE_LOCKUP, BootReader._on_workqueue_lockup),
    (lockups.HUNG_TASK, BootReader._on_hung_task),
    (sdei.NMI, BootReader._on_sdei_registered),
    *((message, BootReader._on_stop_reason) for message in stop.REASON),
    (stop.PANIC, BootReader._on_panic),
    (stop.LADDER, BootReader._on_rung),
    (stop.CRASH_KERNEL, BootReader._on_crash_kernel),
    (stop.STALE_CPUS, BootReader._on_crash_kernel),
    (stop.BYE, BootReader._on_bye),
)
_RULES_OF: dict[str, list[tuple[Message, _Method]]] = {}
"""The rules for lines with the same first three characters."""
for _rule in _RULES:
    _RULES_OF.setdefault(_rule[0].begins[:3], []).append(_rule)
BEGINNINGS = frozenset(
    begins[:3]
    for begins in (
        *_RULES_OF,
        *bootlog.BEGINNINGS, *architecture.BEGINNINGS, *backtrace.BEGINNINGS, *rcu.BEGINNINGS,
    )
)  # fmt: skip
"""The first three characters of the lines that matter, other than lines that continue one (klog/boots.py)."""
