"""Collects the answers to a backtrace request: blocks of registers and stacks, and the CPU of each block.

lib/nmi_backtrace.c, arch/arm64/kernel/process.c (Linux 7.3). No I/O.
"""

from __future__ import annotations

from bisect import bisect_left

from sdeictl.formats.cpulist import MAX_CPU
from sdeictl.klog.bootlog import BootLog
from sdeictl.klog.episodes import Backtrace, CpuAnswer
from sdeictl.klog.records import Record
from sdeictl.klog.words import CpuState, NmiPath, Trigger
from sdeictl.text import NamedTuple

PSTATE_I = 0x80
"""The bit of pstate that masks interrupts (PSR_I_BIT, arch/arm64/include/uapi/asm/ptrace.h)."""
PMR_UNMASKED = 0xE0
"""GIC_PRIO_IRQON in include/linux/irqchip/arm-gic-v3-prio.h."""
PMR_NOT_CAPTURED = 0
"""The entry from SDEI stores no PMR (arch/arm64/kernel/entry.S)."""
WAIT_SECONDS = 10.0
"""How long the kernel waits for the answers: 10,000 times 1 ms."""
SURE_SECONDS = 9.0
"""A next request that comes earlier than this proves that every target of the last one had answered. The
kernel sends one request at a time (backtrace_flag in lib/nmi_backtrace.c)."""
LOST_LINE_SECONDS = 30.0
"""The line that the kernel stops waiting was lost if it is missing after this time. An emulated kernel can
wait much longer than 10 s."""
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


def proven_path(cpu: CpuAnswer) -> NmiPath | None:
    """Return the path that must have delivered a request, because the CPU answered while it was masked."""
    if cpu.state is not CpuState.BACKTRACE or cpu.pstate is None:
        return None
    if cpu.pmr is not None and int(cpu.pmr, 16) == 0:
        return NmiPath.SDEI  # its entry stores no priority mask
    if not cpu.masked:
        return None
    if cpu.pmr is None:
        return NmiPath.SDEI
    # A pseudo-NMI is an interrupt: it needs PSTATE.I clear.
    return None if int(cpu.pstate, 16) & PSTATE_I else NmiPath.PSEUDO_NMI


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

    def masked(self, *, prints_pmr: bool) -> bool | None:
        """Tell whether the CPU had its interrupts masked; None if the registers do not show it."""
        masked = is_masked(self.pstate, self.pmr)
        if masked is False and not self.pmr and (prints_pmr or not self.complete):
            return None  # the line with the PMR is missing, and it decides
        return masked

    def path(self) -> NmiPath | None:
        """Return the path that reached the CPU, as its registers show it; None if they do not."""
        if self.pmr is not None:
            return NmiPath.PSEUDO_NMI if int(self.pmr, 16) != PMR_NOT_CAPTURED else NmiPath.SDEI
        # The kernel prints no PMR without pseudo-NMI; then only SDEI reaches a CPU with PSTATE.I set.
        return NmiPath.SDEI if self.pstate is not None and int(self.pstate, 16) & PSTATE_I else None


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


class Boot(NamedTuple):
    """What the close of a request needs to know about its boot."""

    bootlog: BootLog
    prints_pmr: bool
    """The kernel uses pseudo-NMI, so it prints the priority mask of each CPU."""
    says_timeouts: bool
    """The kernel prints a line when it stops waiting (Linux 7.2 and later)."""
    last_at: float | None
    """The time of the last record, in seconds since the boot."""


class Request:
    """A backtrace request while its answers are read. Without an initiator the log lacks its first line."""

    def __init__(
        self, record: Record, trigger: Trigger, initiator: int | None, targets: tuple[int, ...]
    ) -> None:
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
        self.next: Record | None = None
        """The kernel's next request: the kernel had stopped waiting."""
        self.sdei_registered = False
        """The kernel had registered SDEI event 0 before the request."""

    def accept(self, cpu: int, state: CpuState, at: float | None, block: Block | None = None) -> None:
        """Take an answer; only the first one of each target counts."""
        if self.waits_for(cpu) or (self.initiator is None and cpu not in self.answers):
            self.answers[cpu] = (state, block, at)

    def waits_for(self, cpu: int) -> bool:
        """Tell whether a CPU is a target that has not answered."""
        at = bisect_left(self.targets, cpu)
        return cpu not in self.answers and self.targets[at : at + 1] == (cpu,)

    def first_waiting(self) -> int | None:
        """Return the first target that has not answered; None if all have."""
        return next((cpu for cpu in self.targets if cpu not in self.answers), None)

    def retract(self, block: Block) -> None:
        """Forget an answer: the CPU printed this block as the initiator of another request."""
        if self.answers.get(block.cpu, (None, None))[1] is block:
            del self.answers[block.cpu]

    def close(self, boot: Boot, room: int) -> Backtrace:
        """Return the request with the part of each CPU in it.

        With more CPUs than `room`, leave out some of those whose answer the log lacks.
        """
        targets = self.targets or tuple(sorted({*self.answers, *(self.timed_out or ())}))
        missing = self._missing(boot)
        waiting = [cpu for cpu in targets if cpu not in self.answers]
        answered = len(targets) - len(waiting)
        left_out = frozenset(waiting[max(room - answered, 0) :])
        cpus = [self._answer(cpu, missing, boot) for cpu in targets if cpu not in left_out]
        if self.initiator is not None and self.initiator not in targets:
            cpus.append(CpuAnswer(self.initiator, CpuState.SELF, frames=frozenset(self.initiator_frames)))
        return Backtrace(
            boot=self.boot,
            at=self.at,
            trigger=self.trigger,
            initiator=self.initiator,
            targets=targets,
            path=self._path(boot.bootlog),
            timed_out=self.timed_out or (),
            cpus=tuple(sorted(cpus)),
            cpus_omitted=len(left_out),
        )

    def state_of(self, cpu: int, boot: Boot) -> CpuState:
        """Return how a CPU took part."""
        return self._answer(cpu, self._missing(boot), boot).state

    def _missing(self, boot: Boot) -> CpuState:
        """Return the state of the targets without an answer in the log."""
        if self.timed_out is not None:
            return CpuState.SILENT
        if self.next:
            waited = _seconds(self.at, self.next.at)
            if waited is None:
                return CpuState.PENDING
            return CpuState.ANSWERED if waited < SURE_SECONDS else CpuState.SILENT
        waited = _seconds(self.at, boot.last_at)
        limit = LOST_LINE_SECONDS if boot.says_timeouts else WAIT_SECONDS
        return CpuState.SILENT if waited is not None and waited > limit else CpuState.PENDING

    def _answer(self, cpu: int, missing: CpuState, boot: Boot) -> CpuAnswer:
        if cpu not in self.answers:
            return CpuAnswer(cpu, missing)
        state, block, at = self.answers[cpu]
        latency = _seconds(self.at, at)
        if self.initiator is None:
            latency = None
        elif latency is not None and latency > WAIT_SECONDS and not boot.says_timeouts:
            state = CpuState.LATE
        if not block:
            return CpuAnswer(cpu, state, latency_seconds=latency)
        masked = block.masked(prints_pmr=boot.prints_pmr)
        frames = frozenset(block.frames)
        return CpuAnswer(cpu, state, masked, block.pstate, block.pmr, block.pc, latency, frames)

    def _path(self, bootlog: BootLog) -> NmiPath:
        """Return the path of the request; the first rule that applies decides."""
        if SDEI_FRAME in self.initiator_frames:
            return NmiPath.SDEI
        blocks = [block for _state, block, _at in self.answers.values() if block]
        paths = {block.path() for block in blocks if block.pmr is not None}
        if paths:
            return NmiPath.PSEUDO_NMI if NmiPath.PSEUDO_NMI in paths else NmiPath.SDEI
        if any(block.path() is NmiPath.SDEI for block in blocks):
            return NmiPath.SDEI
        if self.sdei_registered:
            return NmiPath.SDEI
        if IPI_FRAME in self.initiator_frames or bootlog.complete:
            return NmiPath.PSEUDO_NMI if bootlog.pseudo_nmi else NmiPath.NONE
        return NmiPath.UNKNOWN


class ShownCpus:
    """The CPUs that print themselves after sysrq-l on a kernel without NMIs (drivers/tty/sysrq.c)."""

    def __init__(self, record: Record, *, asked: bool) -> None:
        self.record = record
        self.asked = asked
        """The log has the line of sysrq-l, so the CPU that prints first is the one that was asked."""
        self.states: dict[int, CpuState] = {}

    def add(self, cpu: int, *, idle: bool) -> None:
        """Note a CPU that printed itself, in the order of the log."""
        first = CpuState.SELF if self.asked and not self.states else CpuState.BACKTRACE
        self.states.setdefault(cpu, CpuState.IDLE if idle else first)

    def close(self) -> Backtrace:
        """Return the episode. A CPU that printed nothing may have been offline: no line lists the CPUs."""
        cpus = [CpuAnswer(cpu, state) for cpu, state in sorted(self.states.items())]
        initiator = next((cpu.cpu for cpu in cpus if cpu.state is CpuState.SELF), None)
        targets = tuple(cpu.cpu for cpu in cpus if cpu.cpu != initiator)
        return Backtrace(
            self.record.boot,
            self.record.at,
            Trigger.SYSRQ_L,
            initiator,
            targets,
            NmiPath.NONE,
            (),
            tuple(cpus),
        )


def _seconds(began: float | None, ended: float | None) -> float | None:
    """Return the seconds between two times; None if one is unknown or they are not in order."""
    if began is None or ended is None or ended < began:
        return None
    return round(ended - began, 6)
