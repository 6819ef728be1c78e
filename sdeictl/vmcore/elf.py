"""ELF cores: /proc/vmcore and copies of it (kernel/vmcore_info.c, fs/proc/vmcore.c)."""

import os
from typing import BinaryIO, NamedTuple

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

from sdeictl.vmcore.corefile import MAX_NOTE_BYTES, CoreError, NotInCoreError

_EM_AARCH64 = "EM_AARCH64"
_MAX_SEGMENTS = 1 << 16


class _Load(NamedTuple):
    """A stretch of physical memory, and where the file has it."""

    address: int
    size: int
    offset: int


class ElfCore:
    """An ELF core of an arm64 kernel."""

    format = "elf"

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._length = file.seek(0, os.SEEK_END)
        try:
            notes, self._loads = _read_segments(ELFFile(file))
        # pyelftools trusts some of what it reads: a lying header raises one of these too.
        except (ELFError, ValueError, OverflowError, AttributeError, TypeError, KeyError) as error:
            raise CoreError(f"its ELF header is damaged ({error or type(error).__name__})") from error
        self.notes = b"".join(self._read_notes(offset, size) for offset, size in notes)
        self.is_cut = any(load.offset + load.size > self._length for load in self._loads)

    def _read_notes(self, offset: int, size: int) -> bytes:
        if size > MAX_NOTE_BYTES:
            raise CoreError(f"its ELF header is damaged (notes of {size} bytes)")
        if offset + size > self._length:
            raise CoreError("it is cut short: its notes are not in it")
        self._file.seek(offset)
        return self._file.read(size)

    def read(self, address: int, size: int) -> bytes:
        """Return memory by its physical address; raise NotInCoreError if a part is not there."""
        pieces = []
        while size > 0:
            load = next((load for load in self._loads if 0 <= address - load.address < load.size), None)
            if load is None:
                raise NotInCoreError
            within = address - load.address
            length = min(size, load.size - within)
            if load.offset + within + length > self._length:
                raise NotInCoreError
            self._file.seek(load.offset + within)
            pieces.append(self._file.read(length))
            address, size = address + length, size - length
        return b"".join(pieces)


def _read_segments(elf: ELFFile) -> tuple[list[tuple[int, int]], list[_Load]]:
    """Return where the notes are, as (offset, size), and the memory; raise CoreError if it is no core."""
    if elf["e_type"] != "ET_CORE" or elf["e_machine"] != _EM_AARCH64:
        raise CoreError(f"it is {elf['e_type']} of {elf['e_machine']}, not a core of arm64")
    if elf.num_segments() > _MAX_SEGMENTS:
        raise ELFError(f"{elf.num_segments()} program headers")
    notes, loads = [], []
    for segment in elf.iter_segments():
        if segment["p_type"] == "PT_NOTE":
            notes.append((segment["p_offset"], segment["p_filesz"]))
        elif segment["p_type"] == "PT_LOAD":
            loads.append(_Load(segment["p_paddr"], segment["p_filesz"], segment["p_offset"]))
    return notes, loads
