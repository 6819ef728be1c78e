"""ELF notes of a kernel's core: registers, and VMCOREINFO. Pure."""

import struct
from collections.abc import Iterator
from typing import NamedTuple

_HEADER = struct.Struct("<3I")
_NT_PRSTATUS = 1
_PRSTATUS_BYTES = 392
_PID, _SP = 32, 360
"""Offsets in struct elf_prstatus of arm64 (include/linux/elfcore.h); after sp come pc and pstate."""
PSTATE_I, PSTATE_F = 0x80, 0x40
_PSTATE_MODE = 0xF


class Registers(NamedTuple):
    """What a CPU saved of itself when it stopped."""

    pid: int
    pc: int
    sp: int
    pstate: int

    @property
    def user(self) -> bool:
        """Tell whether it ran a program, not the kernel."""
        return not self.pstate & _PSTATE_MODE


class Note(NamedTuple):
    """One ELF note."""

    name: bytes
    type: int
    data: bytes


def parse_notes(data: bytes) -> Iterator[Note]:
    """Yield the notes; what comes after a damaged header is nobody's."""
    at = 0
    while at + _HEADER.size <= len(data):
        name_size, size, kind = _HEADER.unpack_from(data, at)
        start = at + _HEADER.size
        body = start + _aligned(name_size)
        if not name_size or body + size > len(data):
            return
        yield Note(data[start : start + name_size].rstrip(b"\0"), kind, data[body : body + size])
        at = body + _aligned(size)


def _aligned(size: int) -> int:
    return (size + 3) & ~3


def parse_registers(note: Note) -> Registers | None:
    """Return the registers of a note, None if it has none."""
    if (note.name, note.type, len(note.data)) != (b"CORE", _NT_PRSTATUS, _PRSTATUS_BYTES):
        return None
    (pid,) = struct.unpack_from("<i", note.data, _PID)
    sp, pc, pstate = struct.unpack_from("<3Q", note.data, _SP)
    return Registers(pid, pc, sp, pstate)


def parse_vmcoreinfo(note: Note) -> dict[str, str]:
    """Return KEY=value of the note VMCOREINFO (Documentation/admin-guide/kdump/vmcoreinfo.rst)."""
    lines = note.data.decode("utf-8", "replace").splitlines()
    return {key: value for key, found, value in (line.partition("=") for line in lines) if found}
