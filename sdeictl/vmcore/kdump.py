"""How is a compressed dump read? makedumpfile writes it, and QEMU's dump-guest-memory -z.

makedumpfile's IMPLEMENTATION and diskdump_mod.h give the layout: a header block,
sub-header blocks, two bitmaps with one bit for each page frame (set if the frame
is memory; set if this file holds the page), a descriptor for each page that the
file holds, and the pages.
"""

from __future__ import annotations

import os
import struct
from array import array
from collections.abc import Callable
from itertools import accumulate
from typing import BinaryIO

from sdeictl.text import NamedTuple
from sdeictl.vmcore.compression import decompress
from sdeictl.vmcore.corefile import MAX_NOTE_BYTES, CoreError, DumpFormat, MissingDataError

SIGNATURE = b"KDUMP   "
_HEADER = struct.Struct("<8si390s6x2Q2i4I")
"""struct disk_dump_header; fields 6 to 9: block size, sub-header blocks, bitmap blocks, page frames."""
_SUB_HEADER = struct.Struct("<Q2i2Q9Q")
"""struct kdump_sub_header; fields 7, 8 and 13: offset and size of the notes, page frames."""
_FRAMES_64_VERSION = 6
"""Since this version of the header, the sub-header has the number of page frames in 64 bits."""
_DESCRIPTOR = struct.Struct("<Q2IQ")
"""struct page_desc: offset of the data, its size, its flags, flags of the page."""
_BLOCK_SIZES = (4096, 16384, 65536)
_MAX_SUB_BLOCKS = 16
_MAX_FRAMES = 1 << 33
"""32 TiB in pages of 4 KiB."""
_COUNTED_BYTES = 4096
_CACHED_PAGES = 256


class _Layout(NamedTuple):
    """Where the parts of a file are; offsets and sizes in bytes."""

    block_size: int
    """Also the size of a page."""
    frames: int
    bitmap: int
    """Offset of the second bitmap."""
    descriptors: int
    notes: int
    notes_size: int


class _Bitmap:
    """One bit for each page frame, set if the file holds the page. It stays there: it can have 1 GiB."""

    def __init__(self, read_part: Callable[[int, int], bytes], offset: int, size: int) -> None:
        self._read = read_part
        self._offset = offset
        pieces = (
            read_part(offset + at, min(_COUNTED_BYTES, size - at)) for at in range(0, size, _COUNTED_BYTES)
        )
        # The number of set bits before each piece, so that index() counts the bits of one piece only.
        self._counts = array("Q", (0, *accumulate(map(_count_bits, pieces))))

    @property
    def total(self) -> int:
        """The number of pages that the file holds."""
        return self._counts[-1]

    def index(self, frame: int) -> int:
        """Return how many pages of the file precede a frame; raise MissingDataError if it lacks this one."""
        byte, bit = divmod(frame, 8)
        piece, within = divmod(byte, _COUNTED_BYTES)
        data = self._read(self._offset + piece * _COUNTED_BYTES, within + 1)
        if not data[within] >> bit & 1:
            raise MissingDataError
        before = data[:within] + bytes([data[within] & (1 << bit) - 1])
        return self._counts[piece] + _count_bits(before)


class KdumpCore:
    """A compressed dump; implements CoreFile."""

    format = DumpFormat.KDUMP

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._length = file.seek(0, os.SEEK_END)
        self._layout = layout = _read_layout(self._part)
        self._bitmap = _Bitmap(self._part, layout.bitmap, (layout.frames + 7) // 8)
        self._pages: dict[int, bytes] = {}
        self.is_truncated = self._lacks_last_page()
        if layout.notes_size > MAX_NOTE_BYTES:
            raise CoreError(f"its header is damaged (notes of {layout.notes_size} bytes)")
        self.notes = self._part(layout.notes, layout.notes_size) if layout.notes_size else b""

    def _lacks_last_page(self) -> bool:
        """Return whether the file ends before the data of its last page.

        All pages of zeroes share the data of the first of them, so this data can be anywhere.
        """
        if not self._bitmap.total:
            return False
        last = self._layout.descriptors + (self._bitmap.total - 1) * _DESCRIPTOR.size
        if last + _DESCRIPTOR.size > self._length:
            return True
        offset, size, _flags, _page_flags = _DESCRIPTOR.unpack(self._part(last, _DESCRIPTOR.size))
        return bool(offset + size > self._length)

    def read(self, address: int, size: int) -> bytes:
        """Return `size` bytes from a physical address; raise MissingDataError if the dump lacks one."""
        pieces = []
        while size > 0:
            frame, within = divmod(address, self._layout.block_size)
            length = min(size, self._layout.block_size - within)
            pieces.append(self._page(frame)[within : within + length])
            address, size = address + length, size - length
        return b"".join(pieces)

    def _page(self, frame: int) -> bytes:
        if frame not in self._pages:
            if len(self._pages) >= _CACHED_PAGES:
                self._pages.clear()
            self._pages[frame] = self._read_page(frame)
        return self._pages[frame]

    def _read_page(self, frame: int) -> bytes:
        if frame >= self._layout.frames:
            raise MissingDataError
        at = self._layout.descriptors + self._bitmap.index(frame) * _DESCRIPTOR.size
        try:
            offset, size, flags, _page_flags = _DESCRIPTOR.unpack(self._part(at, _DESCRIPTOR.size))
            if size > self._layout.block_size:
                raise MissingDataError
            return decompress(self._part(offset, size), flags, self._layout.block_size)
        except CoreError as error:  # a truncated file can still hold all notes
            raise MissingDataError from error

    def _part(self, offset: int, size: int) -> bytes:
        if offset + size > self._length:
            raise CoreError("it is truncated")
        self._file.seek(offset)
        return self._file.read(size)


def _read_layout(read_part: Callable[[int, int], bytes]) -> _Layout:
    """Return the layout of a file; `read_part` takes offset and size. Raises CoreError."""
    header = _HEADER.unpack(read_part(0, _HEADER.size))
    version, block, sub_blocks, bitmap_blocks, frames = header[1], *header[6:10]
    if block not in _BLOCK_SIZES or not 0 < sub_blocks <= _MAX_SUB_BLOCKS:
        raise CoreError(f"its header is damaged (blocks of {block} bytes, {sub_blocks} sub-header blocks)")
    sub_header = _SUB_HEADER.unpack(read_part(block, _SUB_HEADER.size))
    if version >= _FRAMES_64_VERSION:
        frames = max(frames, sub_header[13])
    bitmap_size = bitmap_blocks * block // 2
    if frames > min(_MAX_FRAMES, bitmap_size * 8):
        raise CoreError(f"its header is damaged ({frames} page frames, {bitmap_blocks} blocks of bitmap)")
    bitmap = (1 + sub_blocks) * block + bitmap_size
    return _Layout(block, frames, bitmap, bitmap + bitmap_size, sub_header[7], sub_header[8])


_bit_count: Callable[[int], int] = getattr(int, "bit_count", lambda number: bin(number).count("1"))
"""Python 3.9 lacks int.bit_count()."""


def _count_bits(data: bytes) -> int:
    number = int.from_bytes(data, "little")
    return _bit_count(number) if number else 0
