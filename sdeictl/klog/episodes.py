"""What an analysis finds in a kernel log: `sdeictl.analysis/1`. Frozen, no behaviour."""

from typing import NamedTuple


class CpuAnswer(NamedTuple):
    """What one CPU did about one backtrace request."""

    cpu: int
    state: str
    """self | idle | backtrace | late | silent | pending"""
    masked: bool | None = None
    pstate: str | None = None
    pmr: str | None = None
    pc: str | None = None
    latency_seconds: float | None = None
    frames: frozenset[str] = frozenset()
    """Functions on its stack; not part of `sdeictl.analysis/1`."""


class Backtrace(NamedTuple):
    """One request for backtraces ("Sending NMI from CPU ...") and its answers."""

    boot: int
    at: float | None
    trigger: str
    initiator: int
    targets: tuple[int, ...]
    path: str
    timed_out: tuple[int, ...]
    cpus: tuple[CpuAnswer, ...]


class HardLockup(NamedTuple):
    """One report of the hard-lockup detector."""

    boot: int
    at: float | None
    cpu: int
    detected_by: int
    has_stack: bool
    secondary_to: int | None


class Stop(NamedTuple):
    """The ladder of smp_send_stop(): which rungs were tried, which CPUs needed them."""

    boot: int
    at: float | None
    reason: str
    rungs: tuple[str, ...]
    retried: tuple[int, ...]
    failed: tuple[int, ...]


class Panic(NamedTuple):
    """The kernel gave up."""

    boot: int
    at: float | None
    message: str


class CrashKernel(NamedTuple):
    """The panicking kernel started the capture kernel; handed_over once "Bye!" was seen."""

    boot: int
    at: float | None
    handed_over: bool


class SoftLockup(NamedTuple):
    """A CPU did not schedule."""

    boot: int
    at: float | None
    cpu: int
    seconds: int
    task: str


class RcuStall(NamedTuple):
    """RCU waited too long for the named CPUs."""

    boot: int
    at: float | None
    flavor: str
    self_detected: bool
    cpus: tuple[int, ...]


class HungTask(NamedTuple):
    """A task did not run."""

    boot: int
    at: float | None
    task: str
    pid: int
    seconds: int


Episode = Backtrace | HardLockup | Stop | Panic | CrashKernel | SoftLockup | RcuStall | HungTask


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
    """The whole log, judged."""

    records: int
    records_lost: int
    episodes: tuple[Episode, ...]
