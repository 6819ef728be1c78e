"""What does a crash dump offer in every format? Its ELF notes, and memory by physical address.

The code calls the file a core, after ELF's ET_CORE. Text for users calls it a dump.
"""

from __future__ import annotations

from typing import Protocol

from sdeictl.text import Word

MAX_NOTE_BYTES = 16 << 20
"""Largest size of the ELF notes that is accepted: the registers of 4,096 CPUs need 1.7 MB."""
MAX_NOTES = 20_000
"""Largest number of the ELF notes that is accepted."""


class DumpFormat(Word):
    """How a dump is stored; a word of `sdeictl.vmcore/1`."""

    ELF = "elf"
    KDUMP = "kdump"
    """Compressed by makedumpfile or QEMU."""


class CoreError(Exception):
    """The file is not a dump that sdeictl can read; the message is a clause about the file ("it is ...")."""


class MissingDataError(Exception):
    """The dump lacks the requested data: it was filtered out, was never saved, or cannot be decoded."""


class CoreFile(Protocol):
    """One dump file. The constructor raises CoreError if the file is damaged."""

    format: DumpFormat
    notes: bytes
    """The ELF notes, one after the other, as parse_notes() reads them."""
    is_truncated: bool
    """True if the file ends before the memory that its headers list."""

    def read(self, address: int, size: int) -> bytes:
        """Return `size` bytes from a physical address; raise MissingDataError if the dump lacks one."""
