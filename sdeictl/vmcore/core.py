"""Which CPUs left their registers in a crash dump, and which CPU wrote which note?

A CPU that the kernel could not stop leaves no note, and the notes of the later
CPUs move up (fs/proc/vmcore.c, merge_note_headers_elf64()). The position of a
note therefore does not identify its CPU. The dump also holds the memory to which
each CPU wrote its note, and the address of that memory does.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from itertools import islice

from sdeictl.text import NamedTuple
from sdeictl.vmcore.corefile import MAX_NOTES, CoreError, CoreFile, DumpFormat, MissingDataError
from sdeictl.vmcore.kernel_state import KernelState, read_state
from sdeictl.vmcore.memory import KernelMemory
from sdeictl.vmcore.notes import Registers, parse_notes, parse_registers
from sdeictl.vmcore.printk import read_log
from sdeictl.vmcore.vmcoreinfo import VmcoreInfo, find_vmcoreinfo

_NOTE_BYTES = 412
"""The note of one CPU: header (12), name (8), struct elf_prstatus (392)."""
_HEADER_BYTES = 12


class CoreCpu(NamedTuple):
    """What a dump shows about one CPU."""

    cpu: int
    online: bool | None
    """Whether the CPU was online when the kernel crashed; None if the dump does not show it."""
    known: bool
    """False if the dump does not show whether the CPU left registers."""
    registers: Registers | None = None
    function: str | None = None
    """`symbol+0x1c` for its pc; None outside the kernel's image."""


class Core(NamedTuple):
    """What a dump shows about its kernel."""

    format: DumpFormat
    kernel: str | None
    """Release of the kernel that crashed."""
    crash_time: int | None
    """Seconds since 1970."""
    cpus: tuple[CoreCpu, ...]
    """Every possible CPU; empty if the dump does not show which CPU wrote which note."""
    unmatched: tuple[Registers, ...]
    """Registers that no CPU of `cpus` has."""
    panic_cpu: int | None
    log: bytes | None
    """The kernel log, in the format of /dev/kmsg."""
    gaps: tuple[str, ...]
    """What could not be read, as clauses."""


def read_core(core: CoreFile, note_addresses: Mapping[int, int] | None = None) -> Core:
    """Return what a dump shows; raise CoreError if it is not a dump of a Linux kernel.

    `note_addresses` maps each CPU to the physical address of its note, as recorded
    before the crash from /sys/devices/system/cpu/cpuN/crash_notes. Without it, the
    symbols in the dump give the addresses.
    """
    notes = tuple(islice(parse_notes(core.notes), MAX_NOTES + 1))
    if len(notes) > MAX_NOTES:
        raise CoreError(f"it has more than {MAX_NOTES:,} notes")
    saved = tuple(registers for registers in map(parse_registers, notes) if registers)
    info = find_vmcoreinfo(notes)
    if not saved and not info.fields:
        raise CoreError("it has no registers and no VMCOREINFO, so it is not a dump of a Linux kernel")
    memory = _open_memory(core, info)
    # The log first: its buffer and the symbol table are large, and are not needed together.
    log = _read_log(memory, info) if memory else None
    state = read_state(memory, info) if memory else KernelState()
    cpus = tuple(_read_cpus(core, state, note_addresses or state.note_addresses, frozenset(saved)))
    matched = {cpu.registers for cpu in cpus}
    return Core(
        format=core.format,
        kernel=info.release,
        crash_time=info.crash_time,
        cpus=cpus,
        unmatched=tuple(registers for registers in saved if registers not in matched),
        panic_cpu=state.panic_cpu,
        log=log,
        gaps=tuple(_list_gaps(core, memory, state, cpus, log)),
    )


def _open_memory(core: CoreFile, info: VmcoreInfo) -> KernelMemory | None:
    try:
        return KernelMemory(core, info)
    except MissingDataError:
        return None


def _read_log(memory: KernelMemory, info: VmcoreInfo) -> bytes | None:
    try:
        return read_log(memory, info)
    except MissingDataError:
        return None


def _read_cpus(
    core: CoreFile, state: KernelState, addresses: Mapping[int, int], saved: Collection[Registers]
) -> Iterator[CoreCpu]:
    for cpu, address in sorted(addresses.items()):
        known, registers = _read_note(core, address)
        if registers and registers not in saved:  # the note of another kernel, or of an earlier crash
            known, registers = False, None
        online = None if state.online is None else cpu in state.online
        function = state.symbols.name_of(registers.pc) if state.symbols and registers else None
        yield CoreCpu(cpu, online, known, registers, function)


def _read_note(core: CoreFile, address: int) -> tuple[bool, Registers | None]:
    """Return whether the dump shows if a CPU left registers, and these registers."""
    try:
        data = core.read(address, _NOTE_BYTES)
    except MissingDataError:
        return False, None
    if not any(data[:_HEADER_BYTES]):  # untouched since crash_notes_memory_init()
        return True, None
    registers = next(map(parse_registers, parse_notes(data)), None)
    return registers is not None, registers


def _list_gaps(
    core: CoreFile,
    memory: KernelMemory | None,
    state: KernelState,
    cpus: Collection[CoreCpu],
    log: bytes | None,
) -> Iterator[str]:
    if not memory:
        yield "the dump does not show where the kernel's memory is"
    elif not state.symbols:
        yield "the dump lacks a readable symbol table of the kernel"
    if core.is_truncated:
        yield "the dump is truncated: the file ends before the memory that its headers list"
    if not cpus:
        yield "the dump does not show which CPU wrote which note"
    if log is None:
        yield "the dump lacks a readable kernel log"
