"""The episodes that an analysis finds in a kernel log.

`boot` is 0 for the first boot in the log; `at` is in seconds since that boot, None if the log has no times;
`file` is 0 for the first file of the log.
The fields become `sdeictl.analysis/1` under the same names.
"""

from __future__ import annotations

from typing import Union

from sdeictl.klog.words import CpuState, NmiPath, StopReason, Trigger
from sdeictl.text import NamedTuple


class CpuAnswer(NamedTuple):
    """The part of one CPU in one backtrace request. Registers are None if the log lacks them."""

    cpu: int
    state: CpuState
    masked: bool | None = None
    """Its interrupts were masked; None if unknown."""
    pstate: str | None = None
    """Hexadecimal, as the kernel prints it; so is `pmr`."""
    pmr: str | None = None
    pc: str | None = None
    """`symbol+0xoffset/0xsize`, or an address in user space."""
    latency_seconds: float | None = None
    """From the request to the first line of the answer."""
    frames: frozenset[str] = frozenset()
    """The functions on its stack; not part of `sdeictl.analysis/1`."""


class Backtrace(NamedTuple):
    """One backtrace request and its answers."""

    boot: int
    at: float | None
    trigger: Trigger
    initiator: int | None
    """The CPU that sent the request; None if the log lacks the request and has only its answers."""
    targets: tuple[int, ...]
    path: NmiPath
    timed_out: tuple[int, ...]
    """The CPUs that the kernel named when it stopped waiting."""
    cpus: tuple[CpuAnswer, ...]
    """The initiator and each target, in ascending order."""
    cpus_omitted: int = 0
    """How many CPUs whose answer the log lacks are not in `cpus`, because the analysis has too many."""
    file: int = 0


class HardLockup(NamedTuple):
    """One report of the hard-lockup detector."""

    boot: int
    at: float | None
    cpu: int
    """The CPU that is stuck."""
    detected_by: int | None
    """None if unknown: kernels before 6.14 do not print it."""
    has_stack: bool
    """The log has the stack of the stuck CPU."""
    secondary_to: int | None
    """The CPU is only waiting for the answer of this CPU to its own backtrace request."""
    masked: bool | None
    """The stuck CPU had its interrupts masked; None if unknown."""
    pc: str | None
    """Where the stuck CPU was: `symbol+0xoffset/0xsize`."""
    path: NmiPath | None
    """How the detector reached the stuck CPU to see its registers; None for a detector on another CPU."""
    file: int = 0


class Stop(NamedTuple):
    """One run of the stop ladder, smp_send_stop() in arch/arm64/kernel/smp.c."""

    boot: int
    at: float | None
    reason: StopReason
    rungs: tuple[str, ...]
    """The rungs that the kernel tried, in its order."""
    retried: tuple[int, ...]
    """The CPUs that the first rung did not stop."""
    failed: tuple[int, ...]
    """The CPUs that the kernel lists as not stopped, without the CPU that stops the others."""
    failed_exact: bool
    """Each CPU in `failed` was not stopped. Otherwise the list may hold others, and at least one was not."""
    failed_unnamed: bool
    """The kernel could not stop every CPU, and does not say which."""
    file: int = 0


class Panic(NamedTuple):
    """The kernel panicked."""

    boot: int
    at: float | None
    message: str
    file: int = 0


class CrashKernel(NamedTuple):
    """The panicking kernel started its crash kernel."""

    boot: int
    at: float | None
    handed_over: bool
    """The last line of the panicking kernel, "Bye!", was seen."""
    stale_cpus: bool
    """The kernel says that some CPUs may still run, so that the dump is unreliable."""
    file: int = 0


class SoftLockup(NamedTuple):
    """A CPU did not schedule for some seconds."""

    boot: int
    at: float | None
    cpu: int
    seconds: int
    task: str
    file: int = 0


class RcuStall(NamedTuple):
    """RCU waited too long for some CPUs."""

    boot: int
    at: float | None
    flavor: str
    """`rcu_preempt`, `rcu_sched`, ..."""
    self_detected: bool
    """The stalled CPU itself reported it."""
    cpus: tuple[int, ...]
    expedited: bool
    tasks: tuple[int, ...]
    """The pids of the tasks that stall RCU."""
    file: int = 0


class CsdLock(NamedTuple):
    """A CPU waited for another CPU, which did not take its call (kernel/smp.c)."""

    boot: int
    at: float | None
    cpu: int
    target: int
    """The CPU that does not respond."""
    file: int = 0


class WorkqueueLockup(NamedTuple):
    """A pool of kernel workers made no progress."""

    boot: int
    at: float | None
    cpus: tuple[int, ...]
    file: int = 0


class TaskDump(NamedTuple):
    """Another CPU printed the stack of the task on a CPU, without an NMI."""

    boot: int
    at: float | None
    cpu: int
    file: int = 0


class HungTask(NamedTuple):
    """A task was blocked for some seconds."""

    boot: int
    at: float | None
    task: str
    pid: int
    seconds: int
    file: int = 0


Episode = Union[
    Backtrace, HardLockup, Stop, Panic, CrashKernel, SoftLockup, RcuStall, HungTask, CsdLock, WorkqueueLockup,
    TaskDump,
]  # fmt: skip


def without_claims(episode: Episode) -> Episode:
    """Return an episode of another architecture without registers and paths, which only arm64 prints so."""
    if isinstance(episode, Backtrace):
        cpus = tuple(cpu._replace(masked=None, pstate=None, pmr=None, pc=None) for cpu in episode.cpus)
        return episode._replace(path=NmiPath.UNKNOWN, cpus=cpus)
    if isinstance(episode, HardLockup):
        return episode._replace(masked=None, pc=None, path=None)
    return episode


KINDS: dict[type, str] = {
    Backtrace: "backtrace",
    HardLockup: "hard-lockup",
    Stop: "stop",
    Panic: "panic",
    CrashKernel: "crash-kernel",
    SoftLockup: "soft-lockup",
    RcuStall: "rcu-stall",
    HungTask: "hung-task",
    CsdLock: "csd-lock",
    WorkqueueLockup: "workqueue-lockup",
    TaskDump: "task-dump",
}
"""The `kind` of each episode in JSON."""


class LogFileSummary(NamedTuple):
    """One file of a log."""

    name: str
    records: int
    """How many records of the kernel it has that no earlier file has."""
    records_lost: int
    notes: tuple[str, ...]
    """What limits the answer, as sentences."""


class Analysis(NamedTuple):
    """The analysis of a whole log."""

    records: int
    """How many records of the kernel were read."""
    records_lost: int
    """How many are known to be missing."""
    architecture: str | None
    """`arm64`, `arm`, `x86`, `riscv` or `powerpc`; None if the log does not show it, or shows two."""
    episodes: tuple[Episode, ...]
    notes: tuple[str, ...] = ()
    """What limits the answer, as sentences."""
    files: tuple[LogFileSummary, ...] = ()
