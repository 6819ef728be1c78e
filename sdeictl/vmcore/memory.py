"""Kernel memory in a core, by the kernel's own addresses.

arch/arm64/include/asm/memory.h, __virt_to_phys(): the linear map and the
kernel's image are offsets; what lies elsewhere (vmalloc) is not followed.
"""

import struct
from collections.abc import Mapping

from sdeictl.vmcore.corefile import CoreFile, NotInCoreError

_ADDRESSES = 1 << 64
_PAGE_16K = 16384
_IMAGE_HEAD = 1 << 20
"""_text is this much before _stext, or less."""
_IMAGE_BYTES = 256 << 20
"""More than an image has."""
MAX_READ_BYTES = 64 << 20


class KernelMemory:
    """Reads a core by kernel address. Every method raises NotInCoreError where it cannot."""

    def __init__(self, core: CoreFile, info: Mapping[str, str]) -> None:
        self._core = core
        bits = number(info, "NUMBER(VA_BITS)")
        voffset, phys = number(info, "NUMBER(kimage_voffset)"), number(info, "NUMBER(PHYS_OFFSET)")
        stext = number(info, "SYMBOL(_stext)")
        if bits is None or voffset is None or phys is None or stext is None or not 36 <= bits <= 52:
            raise NotInCoreError
        smallest = 47 if number(info, "PAGESIZE") == _PAGE_16K else 48
        self._page_offset = _ADDRESSES - (1 << bits)
        self._page_end = _ADDRESSES - (1 << (min(bits, smallest) - 1))
        self._phys_offset, self._voffset = phys, voffset
        self._image = range(stext - _IMAGE_HEAD, stext + _IMAGE_BYTES)

    def bound_image(self, start: int, end: int) -> None:
        """Take note of where the image is, once _text and _end are known."""
        self._image = range(start, end)

    def in_image(self, address: int) -> bool:
        """Tell whether an address is of the kernel's image."""
        return address in self._image

    def physical(self, address: int) -> int:
        """Return the physical address of a kernel address."""
        if self._page_offset <= address < self._page_end:
            return (address - self._page_offset + self._phys_offset) % _ADDRESSES
        if address in self._image:
            return (address - self._voffset) % _ADDRESSES
        raise NotInCoreError

    def read(self, address: int, size: int) -> bytes:
        """Return memory that is contiguous in the linear map or the image."""
        if not 0 <= size <= MAX_READ_BYTES:
            raise NotInCoreError
        return self._core.read(self.physical(address), size)

    def u32(self, address: int) -> int:
        """Return an unsigned int."""
        return int.from_bytes(self.read(address, 4), "little")

    def u64(self, address: int) -> int:
        """Return an unsigned long, or a pointer."""
        return int.from_bytes(self.read(address, 8), "little")

    def u64s(self, address: int, count: int) -> tuple[int, ...]:
        """Return an array of unsigned longs."""
        return struct.unpack(f"<{count}Q", self.read(address, 8 * count))


def number(info: Mapping[str, str], key: str) -> int | None:
    """Return a value of VMCOREINFO; only SYMBOL(), NUMBER() with 0x and KERNELOFFSET are hexadecimal."""
    text = info.get(key, "")
    base = 16 if key.startswith("SYMBOL(") or text.startswith("0x") else 10
    try:
        return int(text, base)
    except ValueError:
        return None
