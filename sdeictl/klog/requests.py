"""Collects the answers to a backtrace request: blocks of registers and stacks, and the CPU of each block.

lib/nmi_backtrace.c, arch/arm64/kernel/process.c (Linux 7.3). No I/O.
"""

from __future__ import annotations

from collections.abc import Sequence

from sdeictl.formats.cpulist import MAX_CPU
from sdeictl.klog.bootlog import BootLog
from sdeictl.klog.episodes import Backtrace, CpuAnswer
from sdeictl.klog.records import Record
from sdeictl.klog.words import CpuState, NmiPath, Trigger

PSTATE_I = 0x80
"""The bit of pstate that masks interrupts (PSR_I_BIT, arch/arm64/include/uapi/asm/ptrace.h)."""
PMR_UNMASKED = 0xE0
"""GIC_PRIO_IRQON in include/linux/irqchip/arm-gic-v3-prio.h."""
PMR_NOT_CAPTURED = 0
"""The entry from SDEI stores no PMR (arch/arm64/kernel/entry.S)."""
NO_CPU = -1
"""The CPU of a block that does not answer the request, such as the registers in a warning."""
SDEI_FRAME = "sdei_nmi_trigger_cpumask_backtrace"
"""Function on the stack of the initiator if SDEI delivers the request (drivers/firmware/arm_sdei_nmi.c)."""
IPI_FRAME = "arch_trigger_cpumask_backtrace"
"""Function on the stack of the initiator in any case (arch/arm64/kernel/smp.c)."""


def is_masked(pstate: str | None, pmr: str | None) -> bool | None:
    """Tell whether the interrupted code had its interrupts masked; None if unknown.

    Both registers are hexadecimal. The rule is interrupts_enabled() in arch/arm64/include/asm/ptrace.h:
    PSTATE.I is set, or the PMR is not PMR_UNMASKED.
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


class Block:
    """One answer, the block after "NMI backtrace for cpu N", while its lines are read."""

    def __init__(self, cpu: int, record: Record) -> None:
        self.cpu = cpu
        self.at = record.at
        self.late = False
        """It began after the kernel had stopped waiting."""
        self.pstate: str | None = None
        self.pmr: str | None = None
        self.pc: str | None = None
        self.complete = False
        """The general registers were read: a register that is missing now will not follow."""
        self.frames: set[str] = set()


class Group:
    """Blocks with possibly mixed lines: each began before an earlier one had all its registers.

    The kernel does not interleave blocks (nmi_cpu_backtrace() takes printk_cpu_sync_get_irqsave()), but a
    merged or damaged log may. The lines of a group with one block belong to that block; the owner of a line
    in a larger group is unknown.
    """

    def __init__(self) -> None:
        self.blocks: list[Block] = []
        self.cpu_lines = 0
        """How many lines with "CPU: N" were read; each block has one."""
        self.pstates = 0
        """How many lines with pstate were read; each block has one."""
        self.ends = 0
        """How many lines with the last registers were read; each block has one."""

    def is_open(self) -> bool:
        """Tell whether registers of a block may still follow."""
        return self.ends < len(self.blocks) <= MAX_CPU

    def add(self, block: Block) -> None:
        """Add a block. A second one makes the registers read so far doubtful, and they are dropped."""
        if only := self.only():
            only.pstate = only.pmr = only.pc = None
        self.blocks.append(block)

    def only(self) -> Block | None:
        """Return the only block, which the lines belong to; None if there are several."""
        return self.blocks[0] if len(self.blocks) == 1 else None


class Request:
    """A backtrace request while its answers are read."""

    def __init__(self, record: Record, trigger: Trigger, initiator: int, targets: tuple[int, ...]) -> None:
        self.boot = record.boot
        self.at = record.at
        self.trigger = trigger
        self.initiator = initiator
        self.targets = targets
        self.timed_out: tuple[int, ...] | None = None
        """The CPUs that the kernel named when it stopped waiting; None before that."""
        self.answers: dict[int, tuple[CpuState, Block | None, float | None]] = {}
        """For each target that answered: its state, its block if there is one, and the time of the answer."""
        self.initiator_frames: set[str] = set()
        """Functions on the stack of the initiator."""
        self.superseded = False
        """The kernel sent its next request, so it had stopped waiting."""
        self.waiting = set(targets)
        """The targets that have not answered."""

    def accept(self, cpu: int, state: CpuState, at: float | None, block: Block | None = None) -> None:
        """Take an answer; only the first one of each target counts."""
        if cpu in self.waiting:
            self.waiting.remove(cpu)
            self.answers[cpu] = (state, block, at)

    def close(self, bootlog: BootLog, *, prints_pmr: bool) -> Backtrace:
        """Return the request with the part of each CPU in it."""
        over = self.timed_out is not None or self.superseded
        missing = CpuState.SILENT if over else CpuState.PENDING
        cpus = [self._answer(cpu, missing, prints_pmr=prints_pmr) for cpu in self.targets]
        if self.initiator not in self.targets:
            cpus.append(CpuAnswer(self.initiator, CpuState.SELF, frames=frozenset(self.initiator_frames)))
        return Backtrace(
            boot=self.boot,
            at=self.at,
            trigger=self.trigger,
            initiator=self.initiator,
            targets=self.targets,
            path=self._path(cpus, bootlog),
            timed_out=self.timed_out or (),
            cpus=tuple(sorted(cpus)),
        )

    def _answer(self, cpu: int, missing: CpuState, *, prints_pmr: bool) -> CpuAnswer:
        if cpu not in self.answers:
            return CpuAnswer(cpu, missing)
        state, block, at = self.answers[cpu]
        latency = None
        if at is not None and self.at is not None and at >= self.at:
            latency = round(at - self.at, 6)
        if not block:
            return CpuAnswer(cpu, state, latency_seconds=latency)
        masked = is_masked(block.pstate, block.pmr)
        if masked is False and not block.pmr and (prints_pmr or not block.complete):
            masked = None  # the line with the PMR is missing, and it decides
        frames = frozenset(block.frames)
        return CpuAnswer(cpu, state, masked, block.pstate, block.pmr, block.pc, latency, frames)

    def _path(self, cpus: Sequence[CpuAnswer], bootlog: BootLog) -> NmiPath:
        """Return the path of the request; the first rule that applies decides."""
        pmrs = [int(cpu.pmr, 16) for cpu in cpus if cpu.pmr is not None]
        if SDEI_FRAME in self.initiator_frames:
            return NmiPath.SDEI
        if pmrs:
            return NmiPath.PSEUDO_NMI if any(pmrs) else NmiPath.SDEI
        # The kernel prints no PMR without pseudo-NMI; then only SDEI reaches a CPU with PSTATE.I set.
        if any(cpu.pstate is not None and int(cpu.pstate, 16) & PSTATE_I for cpu in cpus):
            return NmiPath.SDEI
        if bootlog.sdei_nmi:
            return NmiPath.SDEI
        if IPI_FRAME in self.initiator_frames or bootlog.complete:
            return NmiPath.PSEUDO_NMI if bootlog.pseudo_nmi else NmiPath.NONE
        return NmiPath.UNKNOWN
