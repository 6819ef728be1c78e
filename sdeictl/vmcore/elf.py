"""How is an ELF dump read? It is /proc/vmcore, or a copy of it.

kernel/vmcore_info.c, fs/proc/vmcore.c; elf(5). Without pyelftools: it imports pdb and so readline, which
makes system calls that the sandbox of the collector forbids.
"""

from __future__ import annotations

import os
import struct
from typing import BinaryIO

from sdeictl.text import NamedTuple
from sdeictl.vmcore.corefile import MAX_NOTE_BYTES, CoreError, DumpFormat, MissingDataError

_IDENTITY = b"\x7fELF\x02\x01"
"""64 bits, little-endian."""
_HEADER = struct.Struct("<16s2HI3QI6H")
"""Elf64_Ehdr: its fields 1, 2, 5, 9 and 10 are the type, the machine, and where, how large and how many the
segments are."""
_SEGMENT = struct.Struct("<2I6Q")
"""Elf64_Phdr: its fields 0, 2, 4 and 5 are the type, the offset, the physical address and the size."""
_CORE, _AARCH64, _LOAD, _NOTE = 4, 183, 1, 4
"""ET_CORE, EM_AARCH64, PT_LOAD and PT_NOTE."""
_MANY_SEGMENTS = 0xFFFF
"""PN_XNUM: there are more, and another header has their number."""
_MAX_OFFSET = 1 << 62
_MAX_STEPS = 50_000_000
"""So many segments are looked at for all reads together: a dump has some hundred of them."""


class _Load(NamedTuple):
    """A range of physical memory, and its place in the file, in bytes."""

    address: int
    size: int
    offset: int


class ElfCore:
    """An ELF dump of an arm64 kernel; implements CoreFile."""

    format = DumpFormat.ELF

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._length = file.seek(0, os.SEEK_END)
        notes, self._loads = _read_segments(file)
        self._steps = _MAX_STEPS
        if sum(size for _offset, size in notes) > MAX_NOTE_BYTES:
            raise CoreError(f"its ELF header is damaged (more than {MAX_NOTE_BYTES >> 20} MiB of notes)")
        self.notes = b"".join(self._read_notes(offset, size) for offset, size in notes)
        self.is_truncated = any(load.offset + load.size > self._length for load in self._loads)

    def _read_notes(self, offset: int, size: int) -> bytes:
        if offset + size > self._length:
            raise CoreError("it is truncated: the file ends before the notes")
        self._file.seek(offset)
        return self._file.read(size)

    def read(self, address: int, size: int) -> bytes:
        """Return `size` bytes from a physical address; raise MissingDataError if the dump lacks one."""
        pieces = []
        while size > 0:
            self._steps -= len(self._loads)
            if self._steps < 0:
                raise MissingDataError
            load = next((load for load in self._loads if 0 <= address - load.address < load.size), None)
            if load is None:
                raise MissingDataError
            within = address - load.address
            length = min(size, load.size - within)
            if load.offset + within + length > self._length:
                raise MissingDataError
            self._file.seek(load.offset + within)
            pieces.append(self._file.read(length))
            address, size = address + length, size - length
        return b"".join(pieces)


def _read_segments(file: BinaryIO) -> tuple[list[tuple[int, int]], list[_Load]]:
    """Return the notes as (offset, size) in the file, and the memory; raise CoreError."""
    header = _HEADER.unpack(_header(file, 0, _HEADER.size))
    identity, kind, machine, headers, entry, count = (header[field] for field in (0, 1, 2, 5, 9, 10))
    if identity[: len(_IDENTITY)] != _IDENTITY or (kind, machine) != (_CORE, _AARCH64):
        raise CoreError(f"it is of type {kind} for machine {machine}, not a dump of an arm64 kernel")
    if entry != _SEGMENT.size or count >= _MANY_SEGMENTS:
        raise CoreError(f"its ELF header is damaged ({count} program headers of {entry} bytes)")
    notes, loads = [], []
    for number in range(count):
        data = _header(file, headers + number * entry, entry)
        kind, _, offset, _, address, size, _, _ = _SEGMENT.unpack(data)
        if kind == _NOTE:
            notes.append((offset, size))
        elif kind == _LOAD:
            loads.append(_Load(address, size, offset))
    return notes, loads


def _header(file: BinaryIO, offset: int, size: int) -> bytes:
    """Return the bytes of a header; raise CoreError if the file ends before it."""
    if offset > _MAX_OFFSET:
        raise CoreError(f"its ELF header is damaged (a header at {offset})")
    file.seek(offset)
    data = file.read(size)
    if len(data) < size:
        raise CoreError("its ELF header is damaged (the file ends before it)")
    return data
