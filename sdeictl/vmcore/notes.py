"""What do the ELF notes of a crash dump hold? One note for each CPU that saved its registers.

include/linux/elfcore.h, kernel/crash_core.c (crash_save_cpu()). No I/O here.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from sdeictl.text import NamedTuple

_HEADER = struct.Struct("<3I")
"""struct elf_note: size of the name, size of the data, type."""
_NT_PRSTATUS = 1
_PRSTATUS_BYTES = 392
_PID, _SP = 32, 360
"""Offsets in struct elf_prstatus of arm64; pc and pstate follow sp."""
PSTATE_I, PSTATE_F = 0x80, 0x40
"""The bits of PSTATE that mask IRQs and FIQs."""
_PSTATE_MODE = 0xF


class Registers(NamedTuple):
    """The registers that a CPU saved when it stopped."""

    pid: int
    """Process ID of the task that the CPU was running; 0 for the idle task."""
    pc: int
    sp: int
    pstate: int

    @property
    def user(self) -> bool:
        """True if the CPU ran a user program (EL0), False if it ran the kernel."""
        return not self.pstate & _PSTATE_MODE


class Note(NamedTuple):
    """One ELF note."""

    name: bytes
    """Without the terminating NUL."""
    type: int
    data: bytes


def parse_notes(data: bytes) -> Iterator[Note]:
    """Yield the notes in `data` up to the first damaged header."""
    at = 0
    while at + _HEADER.size <= len(data):
        name_size, size, kind = _HEADER.unpack_from(data, at)
        start = at + _HEADER.size
        body = start + _align(name_size)
        if not name_size or body + size > len(data):
            return
        yield Note(data[start : start + name_size].rstrip(b"\0"), kind, data[body : body + size])
        at = body + _align(size)


def _align(size: int) -> int:
    return (size + 3) & ~3


def parse_registers(note: Note) -> Registers | None:
    """Return the registers in a note; None if the note is of another type."""
    if (note.name, note.type, len(note.data)) != (b"CORE", _NT_PRSTATUS, _PRSTATUS_BYTES):
        return None
    (pid,) = struct.unpack_from("<i", note.data, _PID)
    sp, pc, pstate = struct.unpack_from("<3Q", note.data, _SP)
    return Registers(pid, pc, sp, pstate)
