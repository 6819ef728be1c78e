"""What does a crash dump show about its CPUs? `sdeictl.vmcore/1` (schemas/vmcore-1.json). No I/O here."""

from __future__ import annotations

from typing import TypedDict

from sdeictl.errors import Status
from sdeictl.klog.analysis import find_episodes
from sdeictl.klog.bootlog import read_bootlog
from sdeictl.klog.document import LadderDocument, ladder_document
from sdeictl.klog.episodes import Panic, Stop
from sdeictl.klog.log import read_last_boot
from sdeictl.klog.words import NmiPath
from sdeictl.text import NamedTuple
from sdeictl.vmcore.core import Core, CoreCpu
from sdeictl.vmcore.notes import PSTATE_F, PSTATE_I, Registers

VMCORE_SCHEMA = "sdeictl.vmcore/1"


class RegistersDocument(TypedDict):
    """The registers of one CPU; pc, sp and pstate are hexadecimal."""

    pid: int
    pc: str
    sp: str
    pstate: str
    irq_masked: bool
    fiq_masked: bool
    masked: bool | None
    user: bool
    function: str | None


class VmcoreCpuDocument(TypedDict):
    """One CPU of a dump."""

    cpu: int
    online: bool | None
    known: bool
    parked: bool
    registers: RegistersDocument | None


class VmcoreDocument(TypedDict):
    """`sdeictl.vmcore/1`."""

    schema: str
    format: str
    kernel: str | None
    crash_time: int | None
    panic: str | None
    panic_cpu: int | None
    cpus: list[VmcoreCpuDocument]
    missing: list[int]
    unmatched: list[RegistersDocument]
    stop: LadderDocument | None
    gaps: list[str]


class CrashLog(NamedTuple):
    """What the kernel log in a dump says about the crash."""

    panic: str | None = None
    """Message of the panic."""
    stop: Stop | None = None
    pseudo_nmi: bool | None = None
    """Whether the kernel masks interrupts by priority, which the saved registers do not show.

    None without a complete boot log.
    """


def read_crash_log(log: bytes | None) -> CrashLog:
    """Return what a log in any format of parse_log() says about the end of its last boot."""
    boot = read_last_boot([log or b""]).records
    if not boot:
        return CrashLog()
    episodes = find_episodes(boot).episodes
    bootlog = read_bootlog(boot)
    return CrashLog(
        next((episode.message for episode in episodes if isinstance(episode, Panic)), None),
        next((episode for episode in episodes if isinstance(episode, Stop)), None),
        True if bootlog.pseudo_nmi else (False if bootlog.complete else None),
    )


def missing_cpus(core: Core) -> tuple[int, ...]:
    """Return the CPUs that were online at the crash and left no registers."""
    return tuple(cpu.cpu for cpu in core.cpus if cpu.online and cpu.known and not cpu.registers)


def unknown_cpus(core: Core) -> tuple[int, ...]:
    """Return the CPUs for which the dump does not show whether their registers are missing."""
    return tuple(
        cpu.cpu for cpu in core.cpus
        if (cpu.online is not False and not cpu.known) or (cpu.online is None and not cpu.registers)
    )  # fmt: skip


def vmcore_status(core: Core) -> Status:
    """Return GOOD if the dump holds the registers of every CPU that was online, FAILED if some are missing.

    UNKNOWN if the dump does not show which of the two applies.
    """
    if missing_cpus(core):
        return Status.FAILED
    complete = core.cpus and not unknown_cpus(core) and not core.unmatched
    return Status.GOOD if complete else Status.UNKNOWN


def is_masked(registers: Registers, log: CrashLog) -> bool | None:
    """Return whether a CPU had its interrupts masked; None if the registers do not show it."""
    if registers.pstate & PSTATE_I:
        return True
    return False if log.pseudo_nmi is False else None


def vmcore_document(core: Core) -> VmcoreDocument:
    """Return a dump as its JSON document."""
    log = read_crash_log(core.log)
    return {
        "schema": VMCORE_SCHEMA,
        "format": core.format,
        "kernel": core.kernel,
        "crash_time": core.crash_time,
        "panic": log.panic,
        "panic_cpu": core.panic_cpu,
        "cpus": [_cpu_document(cpu, log) for cpu in core.cpus],
        "missing": list(missing_cpus(core)),
        "unmatched": [_registers_document(registers, None, log) for registers in core.unmatched],
        "stop": None if log.stop is None else ladder_document(log.stop),
        "gaps": list(core.gaps),
    }


def _cpu_document(cpu: CoreCpu, log: CrashLog) -> VmcoreCpuDocument:
    return {
        "cpu": cpu.cpu,
        "online": cpu.online,
        "known": cpu.known,
        "parked": _is_parked(cpu, log.stop),
        "registers": _registers_document(cpu.registers, cpu.function, log) if cpu.registers else None,
    }


def _is_parked(cpu: CoreCpu, stop: Stop | None) -> bool:
    """Return whether the SDEI rung stopped a CPU: it then waits in the handler of an event for ever."""
    return bool(stop and cpu.registers and NmiPath.SDEI in stop.rungs and cpu.cpu in stop.retried)


def _registers_document(registers: Registers, function: str | None, log: CrashLog) -> RegistersDocument:
    return {
        "pid": registers.pid,
        "pc": f"{registers.pc:016x}",
        "sp": f"{registers.sp:016x}",
        "pstate": f"{registers.pstate:08x}",
        "irq_masked": bool(registers.pstate & PSTATE_I),
        "fiq_masked": bool(registers.pstate & PSTATE_F),
        "masked": is_masked(registers, log),
        "user": registers.user,
        "function": function,
    }
