"""A core file, whatever its format: its ELF notes, and memory by physical address."""

from typing import Protocol

MAX_NOTE_BYTES = 64 << 20
"""4,096 CPUs have 1.7 MB of registers."""


class CoreError(Exception):
    """The file is no core that can be read; the message is a clause."""


class NotInCoreError(Exception):
    """Memory that is asked for is not in the core: it was filtered out, or was never there."""


class CoreFile(Protocol):
    """One core. Its constructor raises CoreError where the file is damaged."""

    format: str
    """`elf`, or `kdump` for makedumpfile's compressed one."""
    notes: bytes
    """The ELF notes, one after the other."""
    is_cut: bool
    """The file ends before what its headers promise does."""

    def read(self, address: int, size: int) -> bytes:
        """Return memory by its physical address; raise NotInCoreError if a part is not there."""
