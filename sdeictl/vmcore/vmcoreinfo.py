"""Where is the data of the crashed kernel? The note VMCOREINFO gives addresses, offsets and sizes.

Documentation/admin-guide/kdump/vmcoreinfo.rst, kernel/vmcore_info.c. No I/O here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sdeictl.text import NamedTuple, lines_of
from sdeictl.vmcore.corefile import MissingDataError
from sdeictl.vmcore.notes import Note

_NAME = b"VMCOREINFO"
_MAX_BYTES = 64 << 10
"""The kernel has a page for the note (VMCOREINFO_BYTES); the rest of a larger one is left out."""
_MAX_DIGITS = 20
_ADDRESSES = 1 << 64
_RELEASE_CHARACTERS = 64
"""struct new_utsname"""


class VmcoreInfo(NamedTuple):
    """The `KEY=value` lines of VMCOREINFO.

    number(), symbol(), offset() and size() raise MissingDataError if the note
    lacks the line, or if its value is not a number.
    """

    fields: Mapping[str, str]

    @property
    def release(self) -> str | None:
        """Release of the kernel, as `uname -r` prints it."""
        release = self.fields.get("OSRELEASE")
        return None if release is None else release[:_RELEASE_CHARACTERS]

    @property
    def crash_time(self) -> int | None:
        """Time of the crash, in seconds since 1970."""
        time = self.find("CRASHTIME")
        return time if time is not None and time >= 0 else None

    def find(self, key: str) -> int | None:
        """Return the value of the line `key` as a number; None if there is none."""
        text = self.fields.get(key, "")
        # The kernel prints the value of SYMBOL() with %lx, without 0x.
        base = 16 if key.startswith("SYMBOL(") or text.startswith("0x") else 10
        try:
            value = int(text, base) if len(text) <= _MAX_DIGITS else None
        except ValueError:
            return None
        return value if value is not None and abs(value) < _ADDRESSES else None

    def number(self, name: str) -> int:
        """Return the value of a constant of the kernel."""
        return self._require(f"NUMBER({name})")

    def symbol(self, name: str) -> int:
        """Return the address of a symbol of the kernel."""
        return self._require(f"SYMBOL({name})")

    def offset(self, name: str) -> int:
        """Return the offset of a member of a structure, in bytes; `name` is `structure.member`."""
        return self._require(f"OFFSET({name})")

    def size(self, name: str) -> int:
        """Return the size of a structure, in bytes."""
        return self._require(f"SIZE({name})")

    def _require(self, key: str) -> int:
        value = self.find(key)
        if value is None:
            raise MissingDataError
        return value


def find_vmcoreinfo(notes: Iterable[Note]) -> VmcoreInfo:
    """Return the VMCOREINFO of a dump; it has no fields if no note holds it."""
    data = next((note.data for note in notes if note.name == _NAME), b"")
    lines = lines_of(data[:_MAX_BYTES].decode("utf-8", "replace"))
    return VmcoreInfo({key: value for key, found, value in (line.partition("=") for line in lines) if found})
