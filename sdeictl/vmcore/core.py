"""From a core to what it holds of each CPU. CPUs are matched by evidence, never by position.

The notes of a core are packed: a CPU that did not stop has none, and those of
the later CPUs move up (fs/proc/vmcore.c, merge_note_headers_elf64()). Each CPU
wrote its note to a place of its own, though, which is in the core too.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from sdeictl.vmcore.corefile import CoreError, CoreFile, NotInCoreError
from sdeictl.vmcore.memory import KernelMemory
from sdeictl.vmcore.notes import Registers, parse_notes, parse_registers, parse_vmcoreinfo
from sdeictl.vmcore.printk import read_log
from sdeictl.vmcore.symbols import KernelSymbols

NOTE_BYTES = 412
"""Header, name and struct elf_prstatus of one CPU."""
VMCOREINFO = b"VMCOREINFO"
MAX_CPUS = 8192
_ADDRESSES = 1 << 64


class CoreCpu(NamedTuple):
    """One CPU, as a core has it."""

    cpu: int
    online: bool | None
    """It was online when the kernel crashed; None if the core does not tell."""
    known: bool
    """Whether it left registers is known."""
    registers: Registers | None = None
    function: str | None = None
    """`symbol+0x1c` of its pc; None outside the kernel's image."""


class Core(NamedTuple):
    """What a core holds."""

    format: str
    kernel: str | None
    crash_time: int | None
    """Seconds since 1970."""
    cpus: tuple[CoreCpu, ...]
    unmatched: tuple[Registers, ...]
    """Registers of CPUs whose number is not known."""
    panic_cpu: int | None
    log: bytes | None
    """The kernel log, as /dev/kmsg would give it."""
    gaps: tuple[str, ...]
    """What could not be read, clauses."""


class _Reader:
    """The parts of one core that need its memory; each may be missing."""

    def __init__(self, core: CoreFile, info: Mapping[str, str]) -> None:
        self.core = core
        self.gaps: list[str] = []
        self.memory: KernelMemory | None = None
        self.symbols: KernelSymbols | None = None
        try:
            self.memory = KernelMemory(core, info)
            self.symbols = KernelSymbols(self.memory, info)
            self.memory.bound_image(self.symbols.address("_text"), self.symbols.address("_end"))
        except NotInCoreError:
            what = "the kernel's symbols" if self.memory else "where the kernel's memory is"
            self.gaps.append(f"{what} cannot be read from it")
            self.symbols = None

    def mask(self, name: str) -> frozenset[int] | None:
        """Return the CPUs of one of the kernel's masks."""
        if not self.memory or not self.symbols:
            return None
        try:
            count = self.memory.u32(self.symbols.address("nr_cpu_ids"))
            words = self.memory.u64s(self.symbols.address(name), (min(count, MAX_CPUS) + 63) // 64)
        except NotInCoreError:
            return None
        return frozenset(
            64 * at + bit for at, word in enumerate(words) for bit in range(64) if word >> bit & 1
        )

    def panic_cpu(self) -> int | None:
        """Return the CPU that panicked; the kernel has -1 for none."""
        if not self.memory or not self.symbols:
            return None
        try:
            cpu = self.memory.u32(self.symbols.address("panic_cpu"))
        except NotInCoreError:
            return None
        return cpu if cpu < MAX_CPUS else None

    def places(self, possible: frozenset[int] | None) -> dict[int, int]:
        """Return where each CPU's note is, by physical address (kernel/crash_core.c, crash_notes)."""
        if not self.memory or not self.symbols or not possible:
            return {}
        try:
            base = self.memory.u64(self.symbols.address("crash_notes"))
            offsets = self.memory.u64s(self.symbols.address("__per_cpu_offset"), max(possible) + 1)
            return {cpu: self.memory.physical((base + offsets[cpu]) % _ADDRESSES) for cpu in possible}
        except NotInCoreError:
            return {}

    def note(self, address: int) -> tuple[bool, Registers | None]:
        """Return whether it is known what a CPU left in its place, and what."""
        try:
            data = self.core.read(address, NOTE_BYTES)
        except NotInCoreError:
            return False, None
        if not any(data[:12]):
            return True, None
        registers = next(map(parse_registers, parse_notes(data)), None)
        return registers is not None, registers

    def log(self, info: Mapping[str, str]) -> bytes | None:
        """Return the kernel log inside."""
        try:
            if self.memory:
                return read_log(self.memory, info)
        except NotInCoreError:
            pass
        self.gaps.append("the kernel log cannot be read from it")
        return None


def read_core(core: CoreFile, places: Mapping[int, int] | None = None) -> Core:
    """Return what a core holds; raise CoreError if it is no core of a Linux kernel.

    `places` is where each CPU's note is (/sys/devices/system/cpu/cpuN/crash_notes,
    recorded before the crash); by default the core's own symbols tell.
    """
    notes = tuple(parse_notes(core.notes))
    saved = [registers for registers in map(parse_registers, notes) if registers]
    info = next((parse_vmcoreinfo(note) for note in notes if note.name == VMCOREINFO), {})
    if not saved and not info:
        raise CoreError("it has no registers of a CPU and no VMCOREINFO: it is no core of a Linux kernel")
    reader = _Reader(core, info)
    if core.is_cut:
        reader.gaps.append("it is cut short: the file ends before the memory that it should hold")
    possible = reader.mask("__cpu_possible_mask")
    cpus = tuple(_cpus(reader, dict(places or reader.places(possible)), saved))
    if not cpus:
        reader.gaps.append("which CPU a note is of cannot be told from it")
    matched = [cpu.registers for cpu in cpus if cpu.registers]
    crash_time = info.get("CRASHTIME", "")
    return Core(
        format=core.format,
        kernel=info.get("OSRELEASE"),
        crash_time=int(crash_time) if crash_time.isdecimal() else None,
        cpus=cpus,
        unmatched=tuple(registers for registers in saved if registers not in matched),
        panic_cpu=reader.panic_cpu(),
        log=reader.log(info),
        gaps=tuple(reader.gaps),
    )


def _cpus(reader: _Reader, places: dict[int, int], saved: list[Registers]) -> Iterator[CoreCpu]:
    # A CPU that stops leaves the mask of those online, but not of those that were scheduled on.
    active, still = reader.mask("__cpu_active_mask"), reader.mask("__cpu_online_mask")
    online = active | still if active is not None and still is not None else None
    for cpu, place in sorted(places.items()):
        known, registers = reader.note(place)
        if registers and registers not in saved:  # the place of another kernel's note, or a stale one
            known, registers = False, None
        function = reader.symbols.name(registers.pc) if reader.symbols and registers else None
        yield CoreCpu(cpu, cpu in online if online is not None else None, known, registers, function)
