"""At which address is a kernel symbol, and which function contains an address?

The dump holds the kernel's own symbol table: kernel/kallsyms.c, scripts/kallsyms.c.
"""

from __future__ import annotations

import struct
from bisect import bisect_left, bisect_right
from collections.abc import Mapping

from sdeictl.vmcore.corefile import MissingDataError
from sdeictl.vmcore.memory import KernelMemory
from sdeictl.vmcore.vmcoreinfo import VmcoreInfo

TABLES = ("num_syms", "names", "token_table", "token_index", "offsets")
"""VMCOREINFO names them since Linux 6.0, if the kernel has CONFIG_KALLSYMS."""
_MAX_SYMBOLS = 1 << 19
"""Limit; the kernel of a distribution has 250,000."""
_MAX_NAMES_BYTES = 16 << 20
_MAX_NAME_CHARACTERS = 512
"""KSYM_NAME_LEN"""
_MAX_CHARACTERS = 32 << 20
_TOKENS = 256
_MAX_TOKEN_BYTES = 1024


class KernelSymbols:
    """The symbols in ascending order of address.

    The constructor raises MissingDataError if the dump lacks a table.
    """

    def __init__(self, memory: KernelMemory, info: VmcoreInfo) -> None:
        tables = {name: info.symbol(f"kallsyms_{name}") for name in TABLES}
        count = memory.u32(tables["num_syms"])
        if not 0 < count <= _MAX_SYMBOLS:
            raise MissingDataError
        self.addresses = _read_addresses(memory, info, tables["offsets"], count)
        names = memory.read(tables["names"], limit_names(tables))
        self.names = _decode_names(names, count, _read_tokens(memory, tables))
        """Each name at the place of its address in `addresses`."""
        self._index = {name: index for index, name in enumerate(self.names)}

    def address_of(self, name: str) -> int:
        """Return the address of a symbol; raise MissingDataError if the kernel lacks the symbol."""
        try:
            return self.addresses[self._index[name]]
        except KeyError as error:
            raise MissingDataError from error

    def name_of(self, address: int) -> str | None:
        """Return `symbol+0x1c` for an address in the kernel's image; None for any other address."""
        index = bisect_right(self.addresses, address) - 1
        if index < 0 or not self.address_of("_text") <= address < self.address_of("_end"):
            return None
        # Several symbols can share an address. The kernel prints the first of them (get_symbol_pos()).
        index = bisect_left(self.addresses, self.addresses[index])
        return f"{self.names[index]}+{address - self.addresses[index]:#x}"


def limit_names(tables: Mapping[str, int]) -> int:
    """Return the largest possible size of the names, in bytes: they end before the next table."""
    names = tables["names"]
    return min([*(address - names for address in tables.values() if address > names), _MAX_NAMES_BYTES])


def _read_addresses(memory: KernelMemory, info: VmcoreInfo, table: int, count: int) -> list[int]:
    offsets = memory.read(table, 4 * count)
    base = info.find("SYMBOL(kallsyms_relative_base)")
    if base is not None:
        start = memory.u64(base)
        return [start + offset for offset in struct.unpack(f"<{count}I", offsets)]
    # Since Linux 7.1 each offset is relative to its own address (offset_to_ptr()).
    return [table + 4 * index + offset for index, offset in enumerate(struct.unpack(f"<{count}i", offsets))]


def _read_tokens(memory: KernelMemory, tables: Mapping[str, int]) -> list[bytes]:
    starts = struct.unpack(f"<{_TOKENS}H", memory.read(tables["token_index"], 2 * _TOKENS))
    table = memory.read(tables["token_table"], max(starts) + _MAX_TOKEN_BYTES)
    return [table[start : table.find(b"\0", start)] for start in starts]


def _decode_names(data: bytes, count: int, tokens: list[bytes]) -> list[str]:
    """Return the names of `count` symbols; a byte of a compressed name stands for one token."""
    names = []
    left = _MAX_CHARACTERS
    at = 0
    for _ in range(count):
        if at + 1 >= len(data):
            raise MissingDataError
        length = data[at]
        at += 1
        if length & 0x80:
            length = length & 0x7F | data[at] << 7
            at += 1
        name = b"".join([tokens[byte] for byte in data[at : at + min(length, _MAX_NAME_CHARACTERS)]])
        left -= len(name)
        if len(name) > _MAX_NAME_CHARACTERS or left < 0:
            raise MissingDataError
        names.append(name[1:].decode("ascii", "replace"))  # the first character is the type
        at += length
    return names
