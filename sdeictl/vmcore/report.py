"""What a core says about reaching its CPUs: `sdeictl.vmcore/1`. Pure."""

from typing import NamedTuple

from sdeictl.errors import Status
from sdeictl.klog.analysis import analyze
from sdeictl.klog.bootlog import read_bootlog
from sdeictl.klog.document import stop_json
from sdeictl.klog.episodes import Panic, Stop
from sdeictl.klog.log import parse_log
from sdeictl.probe.report import Json
from sdeictl.vmcore.core import Core, CoreCpu
from sdeictl.vmcore.notes import PSTATE_F, PSTATE_I, Registers

VMCORE_SCHEMA = "sdeictl.vmcore/1"
PARKED = (
    "parked in an SDEI event that never completes: firmware calls it on, so that a capture kernel that starts"
    " more than one CPU cannot bring it up"
)


class LastWords(NamedTuple):
    """What the log inside a core says of the crash."""

    panic: str | None = None
    stop: Stop | None = None
    pseudo_nmi: bool | None = None
    """Interrupts are masked by priority, which registers do not show; None without a complete boot log."""


def read_last_words(log: bytes | None) -> LastWords:
    """Return what a log says of its last boot's end."""
    parsed = parse_log(log or b"")
    boot = parsed.last_boot()
    if not boot:
        return LastWords()
    ends = [episode for episode in analyze(parsed).episodes if episode.boot == boot[0].boot]
    bootlog = read_bootlog(boot)
    return LastWords(
        next((episode.message for episode in ends if isinstance(episode, Panic)), None),
        next((episode for episode in ends if isinstance(episode, Stop)), None),
        True if bootlog.pseudo_nmi else (False if bootlog.complete else None),
    )


def missing_cpus(core: Core) -> tuple[int, ...]:
    """Return the CPUs that were online at the crash and left no registers."""
    return tuple(cpu.cpu for cpu in core.cpus if cpu.online and cpu.known and not cpu.registers)


def doubtful_cpus(core: Core) -> tuple[int, ...]:
    """Return the CPUs of which the core does not tell whether they left registers, or were online."""
    return tuple(
        cpu.cpu for cpu in core.cpus
        if (cpu.online is not False and not cpu.known) or (cpu.online is None and not cpu.registers)
    )  # fmt: skip


def vmcore_status(core: Core) -> Status:
    """Return 0 if every CPU's registers are there, 1 if some are missing, 3 if that cannot be told."""
    if missing_cpus(core):
        return Status.FAILED
    complete = core.cpus and not doubtful_cpus(core) and not core.unmatched
    return Status.GOOD if complete else Status.UNKNOWN


def is_masked(registers: Registers, words: LastWords) -> bool | None:
    """Tell whether a CPU had its interrupts masked when it was stopped; None if its registers do not tell."""
    if registers.pstate & PSTATE_I:
        return True
    return None if words.pseudo_nmi or words.pseudo_nmi is None else False


def vmcore_json(core: Core) -> Json:
    """Return a core as `sdeictl.vmcore/1`."""
    words = read_last_words(core.log)
    stop = words.stop
    return {
        "schema": VMCORE_SCHEMA,
        "format": core.format,
        "kernel": core.kernel,
        "crash_time": core.crash_time,
        "panic": words.panic,
        "panic_cpu": core.panic_cpu,
        "cpus": [_cpu_json(cpu, words) for cpu in core.cpus],
        "missing": list(missing_cpus(core)),
        "unmatched": [_registers_json(registers, words) for registers in core.unmatched],
        "stop": None if stop is None else stop_json(stop),
        "gaps": list(core.gaps),
    }  # fmt: skip


def _cpu_json(cpu: CoreCpu, words: LastWords) -> Json:
    stop = words.stop
    parked = bool(stop and cpu.registers and "sdei" in stop.rungs and cpu.cpu in stop.retried)
    registers = _registers_json(cpu.registers, words) if cpu.registers else None
    if registers:
        registers["function"] = cpu.function
    return {
        "cpu": cpu.cpu, "online": cpu.online, "known": cpu.known, "parked": parked, "registers": registers,
    }  # fmt: skip


def _registers_json(registers: Registers, words: LastWords) -> Json:
    return {
        "pid": registers.pid,
        "pc": f"{registers.pc:016x}",
        "sp": f"{registers.sp:016x}",
        "pstate": f"{registers.pstate:08x}",
        "irq_masked": bool(registers.pstate & PSTATE_I),
        "fiq_masked": bool(registers.pstate & PSTATE_F),
        "masked": is_masked(registers, words),
        "user": registers.user,
        "function": None,
    }
