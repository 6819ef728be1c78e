"""Reports of the kernel while their lines are read: lockups, stalls, stops, a crash kernel. No I/O."""

from __future__ import annotations

from collections import deque

from sdeictl.klog.episodes import CrashKernel, HardLockup, RcuStall, Stop
from sdeictl.klog.messages import rcu
from sdeictl.klog.records import Record
from sdeictl.klog.requests import Block, Boot, Request
from sdeictl.klog.words import IPI, CpuState, NmiPath, StopReason

SDEI_WATCHDOG_FRAME = "sdei_watchdog_callback"
"""Function on the stack of a CPU that the SDEI watchdog interrupted (arch/arm64/kernel/watchdog_sdei.c of
openEuler and Anolis)."""
MAX_REPORTS = 8
"""So many CPUs can be stuck at once before a request is taken for another one's."""
STALL_SECONDS = 1.0
"""The lines that name the CPUs of a stall follow its first line within this time."""
STALL_LINES = 200
"""And within so many records."""


class LockupReport:
    """A hard lockup while the registers of the stuck CPU may follow."""

    def __init__(self, record: Record, cpu: int, detected_by: int | None, secondary_to: int | None) -> None:
        self.record = record
        self.cpu = cpu
        self.detected_by = detected_by
        self.secondary_to = secondary_to
        self.request: Request | None = None
        """The backtrace request that the detector sent to the stuck CPU."""
        self.own_block: Block | None = None
        """The registers that the stuck CPU prints if it detected the lockup itself."""

    def takes(self, request: Request) -> bool:
        """Tell whether the detector sent this request; remember it if so."""
        if self.request or self.cpu not in request.targets:
            return False
        if self.detected_by not in (None, request.initiator):
            return False
        self.request, self.detected_by, self.own_block = request, request.initiator, None
        return True

    def takes_answer(self, request: Request, cpu: int) -> bool:
        """Tell whether an answer belongs to this report, where the log lacks the request; remember it."""
        if self.request or self.cpu != cpu or (self.own_block and not self.waits_for_own_registers()):
            return False
        self.request, self.own_block = request, None
        return True

    def waits_for_own_registers(self) -> bool:
        """Tell whether the stuck CPU may still print its registers itself."""
        return self.own_block is not None and self.own_block.pstate is None

    def name_detector(self, cpu: int) -> None:
        """Take the CPU that prints the block after the report: a CPU that prints itself is the detector."""
        if self.detected_by is None and cpu == self.cpu:
            self.detected_by = cpu

    def close(self, boot: Boot) -> HardLockup:
        """Return the episode."""
        block = self._block(boot)
        return HardLockup(
            self.record.boot, self.record.at, self.cpu, self.detected_by,
            block is not None and (block.pc is not None or bool(block.frames)),
            self.secondary_to,
            block.masked(prints_pmr=boot.prints_pmr) if block else None,
            block.pc if block else None,
            self._path(),
        )  # fmt: skip

    def _block(self, boot: Boot) -> Block | None:
        if self.request:
            # Registers that were printed after the wait do not show where the CPU was stuck.
            in_time = self.request.state_of(self.cpu, boot) is CpuState.BACKTRACE
            return self.request.answers[self.cpu][1] if in_time else None
        return self.own_block if self.own_block and self.detected_by is not None else None

    def _path(self) -> NmiPath | None:
        """Return how the stuck CPU was interrupted to report itself; the first rule that applies decides."""
        block = self.own_block
        if block is None or self.detected_by != self.cpu:
            return None
        if SDEI_WATCHDOG_FRAME in block.frames:
            return NmiPath.SDEI
        return block.path() or NmiPath.UNKNOWN


class LockupReports:
    """The latest reports of hard lockups: several CPUs can be stuck before the first request is sent."""

    def __init__(self) -> None:
        self._latest: deque[LockupReport] = deque(maxlen=MAX_REPORTS)

    def add(self, report: LockupReport) -> None:
        """Note a report; the latest one comes first."""
        self._latest.appendleft(report)

    def take_request(self, request: Request) -> None:
        """Find the report of the detector that sent the request, and note the request there."""
        any(report.takes(request) for report in self._latest)

    def take_answer(self, request: Request, cpu: int) -> None:
        """Give an answer to the report on its CPU, if the log lacks the request."""
        any(report.takes_answer(request, cpu) for report in self._latest)

    def expect_answer(self, cpu: int) -> bool:
        """Tell whether a CPU that answers a request was taken for the detector of its own lockup."""
        wrong = [report for report in self._latest if report.cpu == cpu and report.waits_for_own_registers()]
        for report in wrong:
            report.own_block = None
        return bool(wrong)

    def of_own_block(self, block: Block) -> LockupReport | None:
        """Return the report in which the stuck CPU printed this block itself; None without one."""
        return next((report for report in self._latest if report.own_block is block), None)


class StopLadder:
    """A run of smp_send_stop() or crash_smp_send_stop()."""

    def __init__(self, record: Record, reason: StopReason, stopper: int | None) -> None:
        self.record = record
        self.reason = reason
        self.stopper = stopper
        """The CPU that stops the others; None if unknown."""
        self.rungs: list[str] = [IPI]
        self.retried: set[int] = set()
        self.listed: set[int] = set()
        """The CPUs that the kernel lists as not stopped."""
        self.unnamed = False
        self.for_crash_kernel = False
        """The kernel starts its crash kernel next."""
        self.goes_on = False
        """The log goes on after the list."""

    def add_retry(self, path: NmiPath, cpus: tuple[int, ...]) -> None:
        """Note a further rung, and the CPUs that the first one did not stop."""
        if path not in self.rungs:
            self.rungs.append(path)
        self.retried.update(cpus)

    def add_failure(self, cpus: tuple[int, ...]) -> None:
        """Note the CPUs that no rung stopped; none if the kernel does not list them."""
        self.listed.update(cpus)
        self.unnamed = self.unnamed or not cpus

    def _is_outside_crash_path(self) -> bool:
        """Tell whether no crash kernel follows. Before Linux 6.12 its path lists every CPU that was asked."""
        if self.for_crash_kernel:
            return False
        return self.goes_on or self.reason not in (StopReason.PANIC, StopReason.UNKNOWN)

    def close(self, *, lists_exactly: bool) -> Stop:
        """Return the episode. `lists_exactly`: this kernel lists only CPUs that it could not stop."""
        failed = self.listed - {self.stopper}
        exact = lists_exactly or len(self.rungs) > 1 or len(failed) < 2
        if self.stopper is not None and self._is_outside_crash_path():
            exact = True
        return Stop(
            self.record.boot, self.record.at, self.reason, tuple(self.rungs),
            tuple(sorted(self.retried)), tuple(sorted(failed)), exact, self.unnamed and not failed,
        )  # fmt: skip


class Stall:
    """An RCU stall while the lines that name its CPUs and tasks may follow."""

    def __init__(self, record: Record, flavor: str, how: str, members: str) -> None:
        self.record = record
        self.flavor = flavor
        self.self_detected = how.startswith("self")
        self.expedited = "expedited" in how
        self.tasks = {int(task) for task in rcu.TASK.findall(members)}
        self.cpus = {int(cpu) for cpu in rcu.CPU.findall(members)}

    @property
    def members(self) -> int:
        """How many CPUs and tasks it has so far."""
        return len(self.tasks) + len(self.cpus)

    def takes(self, record: Record) -> bool:
        """Tell whether a record names CPUs or tasks of this stall; remember them if so."""
        if cpu := rcu.STALLED_CPU.match(record.text):
            self.cpus.add(int(cpu[1]))
        elif tasks := rcu.BLOCKED_TASKS.match(record.text):
            self.tasks.update(map(int, rcu.TASK.findall(tasks[1])))
        else:
            return False
        return True

    def is_over(self, record: Record) -> bool:
        """Tell whether no more lines of this stall can follow."""
        began, now = self.record.at, record.at
        late = began is not None and now is not None and now > began + STALL_SECONDS
        return late or record.place > self.record.place + STALL_LINES

    def close(self) -> RcuStall:
        """Return the episode."""
        return RcuStall(
            self.record.boot, self.record.at, self.flavor, self.self_detected, tuple(sorted(self.cpus)),
            self.expedited, tuple(sorted(self.tasks)),
        )  # fmt: skip


class Handover:
    """The start of a crash kernel, until the last line of this kernel."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self.done = False
        self.stale_cpus = False

    def close(self) -> CrashKernel:
        """Return the episode."""
        return CrashKernel(self.record.boot, self.record.at, self.done, self.stale_cpus)
