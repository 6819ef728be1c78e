"""How is kernel memory in a crash dump read by virtual address?

arch/arm64/include/asm/memory.h, __virt_to_phys(): an address in the linear map
or in the kernel's image differs from its physical address by a constant. Other
addresses (vmalloc, modules) need the page tables, which sdeictl does not read.
"""

from __future__ import annotations

import struct

from sdeictl.vmcore.corefile import CoreFile, MissingDataError
from sdeictl.vmcore.vmcoreinfo import VmcoreInfo

_ADDRESSES = 1 << 64
_PAGE_16K = 16384
_MAX_HEAD_BYTES = 1 << 20
"""_text is at most this many bytes before _stext."""
_MAX_IMAGE_BYTES = 256 << 20
"""No kernel image is larger."""
_MAX_READ_BYTES = 64 << 20


class KernelMemory:
    """Kernel memory by virtual address. Every method raises MissingDataError if the dump lacks the data."""

    def __init__(self, core: CoreFile, info: VmcoreInfo) -> None:
        self._core = core
        bits = info.number("VA_BITS")
        if not 36 <= bits <= 52:
            raise MissingDataError
        va_bits_min = min(bits, 47 if info.find("PAGESIZE") == _PAGE_16K else 48)
        self._page_offset = _ADDRESSES - (1 << bits)
        self._page_end = _ADDRESSES - (1 << (va_bits_min - 1))
        self._phys_offset = info.number("PHYS_OFFSET")
        self._kimage_voffset = info.number("kimage_voffset")
        stext = info.symbol("_stext")
        self._image = range(stext - _MAX_HEAD_BYTES, stext + _MAX_IMAGE_BYTES)

    def set_image(self, text: int, end: int) -> None:
        """Set the bounds of the kernel's image, _text and _end; the constructor only estimates them."""
        self._image = range(text, end)

    def physical(self, address: int) -> int:
        """Return the physical address of a virtual address."""
        if self._page_offset <= address < self._page_end:
            return (address - self._page_offset + self._phys_offset) % _ADDRESSES
        if address in self._image:
            return (address - self._kimage_voffset) % _ADDRESSES
        raise MissingDataError

    def read(self, address: int, size: int) -> bytes:
        """Return `size` bytes, at most 64 MiB, of the linear map or of the image."""
        if not 0 <= size <= _MAX_READ_BYTES:
            raise MissingDataError
        return self._core.read(self.physical(address), size)

    def u32(self, address: int) -> int:
        """Return an `unsigned int`."""
        return int.from_bytes(self.read(address, 4), "little")

    def u64(self, address: int) -> int:
        """Return an `unsigned long` or a pointer."""
        return int.from_bytes(self.read(address, 8), "little")

    def u64s(self, address: int, count: int) -> tuple[int, ...]:
        """Return an array of `count` `unsigned long`s."""
        return struct.unpack(f"<{count}Q", self.read(address, 8 * count))
