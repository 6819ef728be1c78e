"""Make a small crash dump of a large one: only the pages that `sdeictl vmcore` reads.

    python -m tests.tools.small_dump VMCORE OUT

VMCORE is what kdump-tools left on the disk of the guest of tests/lab/test_crashes.py (root.ext4, /var/crash).
The symbol table is reduced to the symbols that the reader asks for, as those of the bundled captures are. The
dump has no page of the kernel's code. It is as Debian's kdump-tools writes it: flattened and compressed.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Mapping
from pathlib import Path

from sdeictl.vmcore.core import read_core
from sdeictl.vmcore.corefile import CoreFile, DumpFormat
from sdeictl.vmcore.memory import KernelMemory
from sdeictl.vmcore.notes import parse_notes
from sdeictl.vmcore.open import open_core
from sdeictl.vmcore.report import vmcore_document
from sdeictl.vmcore.symbols import TABLES, KernelSymbols, limit_names
from sdeictl.vmcore.vmcoreinfo import VmcoreInfo, find_vmcoreinfo
from tests.support.core_builder import flattened, kdump_file

PAGE = 4096


class Recorded:
    """A dump that notes which pages are read, with some of its pages replaced."""

    format = DumpFormat.KDUMP
    is_truncated = False

    def __init__(self, core: CoreFile, replaced: Mapping[int, bytes]) -> None:
        self._core = core
        self._replaced = replaced
        self.notes = core.notes
        self.pages: dict[int, bytes] = {}
        """The pages that were read, by page frame number."""

    def read(self, address: int, size: int) -> bytes:
        """Return `size` bytes from a physical address."""
        first, last = address // PAGE, (address + max(size, 1) - 1) // PAGE
        for frame in range(first, last + 1):
            self.pages[frame] = self._replaced.get(frame) or self._core.read(frame * PAGE, PAGE)
        data = b"".join(self.pages[frame] for frame in range(first, last + 1))
        return data[address % PAGE : address % PAGE + size]


class Table:
    """The symbol table of a kernel: its encoded names, in ascending order of address."""

    def __init__(self, memory: KernelMemory, info: VmcoreInfo) -> None:
        self.places = {name: info.symbol(f"kallsyms_{name}") for name in TABLES}
        self.count = memory.u32(self.places["num_syms"])
        self.symbols = KernelSymbols(memory, info)
        self.encoded: list[bytes] = []
        at = self.places["names"]
        for _ in range(self.count):
            head = memory.read(at, 2)
            size = head[0] if not head[0] & 0x80 else head[0] & 0x7F | head[1] << 7
            whole = size + (2 if head[0] & 0x80 else 1)
            self.encoded.append(memory.read(at, whole))
            at += whole

    def reduced(self, kept: list[int]) -> dict[int, bytes]:
        """Return the bytes of a table with these symbols only, by virtual address."""
        offsets = self.places["offsets"]
        addresses = [self.symbols.addresses[index] for index in kept]
        names = b"".join(self.encoded[index] for index in kept)
        # Each offset is relative to its own address (kernel/kallsyms.c since Linux 7.1).
        relative = [address - (offsets + 4 * place) for place, address in enumerate(addresses)]
        return {
            self.places["num_syms"]: struct.pack("<I", len(kept)),
            self.places["names"]: names.ljust(limit_names(self.places), b"\0"),
            offsets: struct.pack(f"<{len(kept)}i", *relative),
        }


def needed(core: CoreFile, table: Table) -> list[int]:
    """Return which symbols the reader asks for, in ascending order."""
    asked: set[str] = set()
    real = KernelSymbols.address_of, KernelSymbols.name_of

    def address_of(self: KernelSymbols, name: str) -> int:
        asked.add(name)
        return real[0](self, name)

    def name_of(self: KernelSymbols, address: int) -> str | None:
        found = real[1](self, address)
        asked.add((found or "").partition("+")[0])
        return found

    KernelSymbols.address_of, KernelSymbols.name_of = address_of, name_of  # type: ignore[method-assign]
    try:
        read_core(core)
    finally:
        KernelSymbols.address_of, KernelSymbols.name_of = real  # type: ignore[method-assign]
    return [index for index, name in enumerate(table.symbols.names) if name in asked]


def make_small(core: CoreFile) -> bytes:
    """Return a small dump that the reader judges as it judges this one."""
    info = find_vmcoreinfo(tuple(parse_notes(core.notes)))
    memory = KernelMemory(core, info)
    table = Table(memory, info)
    replaced: dict[int, bytes] = {}
    for address, data in table.reduced(needed(core, table)).items():
        for place, byte in enumerate(data):
            frame, offset = divmod(memory.physical(address) + place, PAGE)
            page = bytearray(replaced.get(frame) or core.read(frame * PAGE, PAGE))
            page[offset] = byte
            replaced[frame] = bytes(page)
    recorded = Recorded(core, replaced)
    if vmcore_document(read_core(recorded)) != vmcore_document(read_core(core)) | {"format": "kdump"}:
        raise ValueError("the small dump does not say what the large one says")
    return flattened(kdump_file(recorded.pages, core.notes))


def main() -> int:
    """Write the small dump."""
    source, target = map(Path, sys.argv[1:])
    with source.open("rb") as file:
        target.write_bytes(make_small(open_core(file)))
    print(f"{target}: {target.stat().st_size:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
