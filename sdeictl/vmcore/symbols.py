"""The kernel's symbols, from its own table in a core (kernel/kallsyms.c, scripts/kallsyms.c)."""

import struct
from bisect import bisect_right
from collections.abc import Mapping

from sdeictl.vmcore.corefile import NotInCoreError
from sdeictl.vmcore.memory import KernelMemory, number

_MAX_SYMBOLS = 1 << 21
_MAX_NAMES_BYTES = 32 << 20
_TOKENS = 256


class KernelSymbols:
    """Names and addresses, in the order of the addresses. Raises NotInCoreError where there is no table."""

    def __init__(self, memory: KernelMemory, info: Mapping[str, str]) -> None:
        found = {name: number(info, f"SYMBOL(kallsyms_{name})") for name in _TABLES}
        at = {name: address for name, address in found.items() if address is not None}
        if len(at) < len(_TABLES):
            raise NotInCoreError  # built without CONFIG_KALLSYMS, or before VMCOREINFO named its tables (6.0)
        count = memory.u32(at["num_syms"])
        if not 0 < count <= _MAX_SYMBOLS:
            raise NotInCoreError
        self._addresses = _read_addresses(memory, info, at["offsets"], count)
        names = memory.read(at["names"], _bytes_to_next(at))
        self._names = _read_names(names, count, _read_tokens(memory, at))
        self._index = {name: index for index, name in enumerate(self._names)}

    def address(self, name: str) -> int:
        """Return the address of a symbol; raise NotInCoreError if the kernel has none of that name."""
        try:
            return self._addresses[self._index[name]]
        except KeyError as error:
            raise NotInCoreError from error

    def name(self, address: int) -> str | None:
        """Return `symbol+0x1c` for an address of the image, None for any other."""
        index = bisect_right(self._addresses, address) - 1
        if index < 0 or not self.address("_text") <= address < self.address("_end"):
            return None
        # Several names can share an address; the first one is what the kernel prints too.
        while index and self._addresses[index - 1] == self._addresses[index]:
            index -= 1
        return f"{self._names[index]}+{address - self._addresses[index]:#x}"


_TABLES = ("num_syms", "names", "token_table", "token_index", "offsets")


def _bytes_to_next(at: Mapping[str, int]) -> int:
    """Return how long the names can be: up to the next of the tables."""
    later = [address - at["names"] for address in at.values() if address > at["names"]]
    return min([*later, _MAX_NAMES_BYTES])


def _read_addresses(memory: KernelMemory, info: Mapping[str, str], at: int, count: int) -> list[int]:
    offsets = memory.read(at, 4 * count)
    base = number(info, "SYMBOL(kallsyms_relative_base)")
    if base is not None:
        start = memory.u64(base)
        return [start + offset for offset in struct.unpack(f"<{count}I", offsets)]
    # Since they are relative, each to its own place (offset_to_ptr()).
    return [at + 4 * index + offset for index, offset in enumerate(struct.unpack(f"<{count}i", offsets))]


def _read_tokens(memory: KernelMemory, at: Mapping[str, int]) -> list[bytes]:
    index = struct.unpack(f"<{_TOKENS}H", memory.read(at["token_index"], 2 * _TOKENS))
    table = memory.read(at["token_table"], max(index) + 1024)
    return [table[start : table.find(b"\0", start)] for start in index]


def _read_names(data: bytes, count: int, tokens: list[bytes]) -> list[str]:
    names = []
    at = 0
    for _ in range(count):
        if at + 1 >= len(data):
            raise NotInCoreError
        length = data[at]
        at += 1
        if length & 0x80:
            length = length & 0x7F | data[at] << 7
            at += 1
        # The first character is the symbol's type.
        names.append(
            b"".join([tokens[byte] for byte in data[at : at + length]])[1:].decode("ascii", "replace")
        )
        at += length
    return names
