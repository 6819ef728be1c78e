"""The episodes that an analysis finds in a kernel log.

`boot` is 0 for the first boot in the log; `at` is in seconds since that boot, None if the log has no times.
The fields become `sdeictl.analysis/1` under the same names.
"""

from __future__ import annotations

from typing import NamedTuple, Union

from sdeictl.klog.words import CpuState, NmiPath, StopReason, Trigger


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
    initiator: int
    """The CPU that sent the request."""
    targets: tuple[int, ...]
    path: NmiPath
    timed_out: tuple[int, ...]
    """The CPUs that the kernel named when it stopped waiting."""
    cpus: tuple[CpuAnswer, ...]
    """The initiator and each target, in ascending order."""


class HardLockup(NamedTuple):
    """One report of the hard-lockup detector."""

    boot: int
    at: float | None
    cpu: int
    """The CPU that is stuck."""
    detected_by: int
    has_stack: bool
    """The log has the stack of the stuck CPU."""
    secondary_to: int | None
    """The CPU is only waiting for the answer of this CPU to its own backtrace request."""


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
    """The CPUs that no rung stopped."""


class Panic(NamedTuple):
    """The kernel panicked."""

    boot: int
    at: float | None
    message: str


class CrashKernel(NamedTuple):
    """The panicking kernel started its crash kernel."""

    boot: int
    at: float | None
    handed_over: bool
    """The last line of the panicking kernel, "Bye!", was seen."""


class SoftLockup(NamedTuple):
    """A CPU did not schedule for some seconds."""

    boot: int
    at: float | None
    cpu: int
    seconds: int
    task: str


class RcuStall(NamedTuple):
    """RCU waited too long for some CPUs."""

    boot: int
    at: float | None
    flavor: str
    """`rcu_preempt`, `rcu_sched`, ..."""
    self_detected: bool
    """The stalled CPU itself reported it."""
    cpus: tuple[int, ...]


class HungTask(NamedTuple):
    """A task was blocked for some seconds."""

    boot: int
    at: float | None
    task: str
    pid: int
    seconds: int


Episode = Union[Backtrace, HardLockup, Stop, Panic, CrashKernel, SoftLockup, RcuStall, HungTask]


KINDS: dict[type, str] = {
    Backtrace: "backtrace",
    HardLockup: "hard-lockup",
    Stop: "stop",
    Panic: "panic",
    CrashKernel: "crash-kernel",
    SoftLockup: "soft-lockup",
    RcuStall: "rcu-stall",
    HungTask: "hung-task",
}
"""The `kind` of each episode in JSON."""


class Analysis(NamedTuple):
    """The analysis of a whole log."""

    records: int
    """How many records of the kernel were read."""
    records_lost: int
    """How many are known to be missing."""
    episodes: tuple[Episode, ...]
