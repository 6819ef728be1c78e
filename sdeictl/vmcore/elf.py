"""How is an ELF dump read? It is /proc/vmcore, or a copy of it.

kernel/vmcore_info.c, fs/proc/vmcore.c.
"""

from __future__ import annotations

import os
from typing import BinaryIO

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

from sdeictl.text import NamedTuple
from sdeictl.vmcore.corefile import MAX_NOTE_BYTES, CoreError, DumpFormat, MissingDataError

_EM_AARCH64 = "EM_AARCH64"
_MAX_SEGMENTS = 1 << 16
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
        try:
            notes, self._loads = _read_segments(ELFFile(file))
            self._steps = _MAX_STEPS
        # pyelftools does not check every field: damaged headers can raise any of these.
        except (ELFError, ValueError, OverflowError, AttributeError, TypeError, KeyError) as error:
            raise CoreError(f"its ELF header is damaged ({error or type(error).__name__})") from error
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


def _read_segments(elf: ELFFile) -> tuple[list[tuple[int, int]], list[_Load]]:
    """Return the notes as (offset, size) in the file, and the memory; raise CoreError or ELFError."""
    if elf["e_type"] != "ET_CORE" or elf["e_machine"] != _EM_AARCH64:
        raise CoreError(f"it is {elf['e_type']} for {elf['e_machine']}, not a dump of an arm64 kernel")
    if elf.num_segments() > _MAX_SEGMENTS:
        raise ELFError(f"{elf.num_segments()} program headers")
    notes, loads = [], []
    for segment in elf.iter_segments():
        if segment["p_type"] == "PT_NOTE":
            notes.append((segment["p_offset"], segment["p_filesz"]))
        elif segment["p_type"] == "PT_LOAD":
            loads.append(_Load(segment["p_paddr"], segment["p_filesz"], segment["p_offset"]))
    return notes, loads
