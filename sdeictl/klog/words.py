"""The words of the contract that an analysis of a kernel log uses; drills, reports and metrics share them."""

from __future__ import annotations

from sdeictl.text import Word


class NmiPath(Word):
    """The path by which a backtrace request reaches a CPU with its interrupts masked."""

    SDEI = "sdei"
    PSEUDO_NMI = "pseudo-nmi"
    FEAT_NMI = "feat-nmi"
    NONE = "none"
    """A plain IPI only, which does not interrupt a masked CPU."""
    UNKNOWN = "unknown"
    NOT_APPLICABLE = "not-applicable"
    """The host is not arm64."""


class CpuState(Word):
    """How one CPU took part in one backtrace request."""

    SELF = "self"
    """It sent the request."""
    IDLE = "idle"
    """It answered that it was idle, without a stack."""
    BACKTRACE = "backtrace"
    """It answered with its registers, and mostly with its stack."""
    LATE = "late"
    """It answered after the kernel had stopped waiting."""
    ANSWERED = "answered"
    """The log lacks its answer, but the kernel sent its next request too early to have given up."""
    SILENT = "silent"
    """It did not answer before the kernel stopped waiting."""
    PENDING = "pending"
    """It did not answer before the log ended."""


IN_TIME = {
    CpuState.SELF: True,
    CpuState.IDLE: True,
    CpuState.BACKTRACE: True,
    CpuState.LATE: False,
    CpuState.ANSWERED: True,
    CpuState.SILENT: False,
    CpuState.PENDING: None,
}
"""Whether a CPU in this state answered before the kernel stopped waiting; None if the log ends first."""


class Trigger(Word):
    """The reason for a backtrace request."""

    SYSRQ_L = "sysrq-l"
    HARD_LOCKUP = "hard-lockup"
    SOFT_LOCKUP = "soft-lockup"
    RCU_STALL = "rcu-stall"
    HUNG_TASK = "hung-task"
    CSD_LOCK = "csd-lock"
    OTHER = "other"


class StopReason(Word):
    """The reason why the kernel stopped its CPUs."""

    PANIC = "panic"
    RESET = "reset"
    REBOOT = "reboot"
    HALT = "halt"
    UNKNOWN = "unknown"


IPI = "ipi"
"""The first rung of a stop ladder; each further rung is a path of NmiPath."""
