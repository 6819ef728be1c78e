"""Compressed cores of makedumpfile, and of QEMU's dump-guest-memory -z.

The layout is that of makedumpfile's IMPLEMENTATION and diskdump_mod.h: a
header block, a sub-header block, two bitmaps with a bit for each page frame (in
memory, in this file), a descriptor for each page of the second, the pages.
"""

import os
import struct
from itertools import accumulate
from typing import BinaryIO

from sdeictl.vmcore.compression import decompress
from sdeictl.vmcore.corefile import MAX_NOTE_BYTES, CoreError, NotInCoreError

SIGNATURE = b"KDUMP   "
_HEADER = struct.Struct("<8si390s6x2Q2i4I")
"""signature, version, utsname, time, status, block size, blocks of sub-header and bitmap, frames of memory"""
_SUB_HEADER = struct.Struct("<Q2i2Q9Q")
_DESCRIPTOR = struct.Struct("<Q2IQ")
"""Where a page's data is, its size, its flags, the page's own flags."""
_BLOCK_SIZES = (4096, 16384, 65536)
_MAX_FRAMES = 1 << 34
"""64 TiB in pages of 4 KiB."""
_COUNTED_BYTES = 4096
"""Every so many bytes of the bitmap the pages before are counted."""
_CACHED_PAGES = 256


class KdumpCore:
    """A compressed core. Its pages are found by counting the bits before theirs."""

    format = "kdump"

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._length = file.seek(0, os.SEEK_END)
        header = _HEADER.unpack(self._part(0, _HEADER.size))
        self._block, sub_blocks, bitmap_blocks, frames = header[6], header[7], header[8], header[9]
        if self._block not in _BLOCK_SIZES or not 0 < sub_blocks <= 16:
            raise CoreError(
                f"its header is damaged (blocks of {self._block} bytes, {sub_blocks} for more of it)"
            )
        sub = _SUB_HEADER.unpack(self._part(self._block, _SUB_HEADER.size))
        note_offset, note_size, frames_64 = sub[7], sub[8], sub[13]
        self._frames = max(frames, frames_64) if header[1] >= 6 else frames
        bitmap_bytes = bitmap_blocks * self._block // 2
        if self._frames > min(_MAX_FRAMES, bitmap_bytes * 8):
            raise CoreError(
                f"its header is damaged ({self._frames} page frames, {bitmap_blocks} blocks of bitmap)"
            )
        bitmap = (1 + sub_blocks) * self._block + bitmap_bytes
        self._descriptors = bitmap + bitmap_bytes
        self._bitmap = self._part(bitmap, (self._frames + 7) // 8)
        pieces = range(0, len(self._bitmap), _COUNTED_BYTES)
        counts = (_bits(self._bitmap[first : first + _COUNTED_BYTES]) for first in pieces)
        self._before = (0, *accumulate(counts))
        self._pages: dict[int, bytes] = {}
        self.is_cut = self._ends_early()
        if note_size > MAX_NOTE_BYTES:
            raise CoreError(f"its header is damaged (notes of {note_size} bytes)")
        self.notes = self._part(note_offset, note_size) if note_size else b""

    def _ends_early(self) -> bool:
        """Tell whether the file ends before the last page; one that is all zeroes may be anywhere."""
        pages = self._before[-1]
        if not pages:
            return False
        last = self._descriptors + (pages - 1) * _DESCRIPTOR.size
        if last + _DESCRIPTOR.size > self._length:
            return True
        offset, size, _flags, _page_flags = _DESCRIPTOR.unpack(self._part(last, _DESCRIPTOR.size))
        return bool(offset + size > self._length)

    def read(self, address: int, size: int) -> bytes:
        """Return memory by its physical address; raise NotInCoreError if a part is not there."""
        pieces = []
        while size > 0:
            frame, within = divmod(address, self._block)
            length = min(size, self._block - within)
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
        byte, bit = divmod(frame, 8)
        if frame >= self._frames or not self._bitmap[byte] >> bit & 1:
            raise NotInCoreError
        counted = byte // _COUNTED_BYTES
        index = self._before[counted] + _bits(self._bitmap[counted * _COUNTED_BYTES : byte])
        index += (self._bitmap[byte] & (1 << bit) - 1).bit_count()
        try:
            descriptor = self._part(self._descriptors + index * _DESCRIPTOR.size, _DESCRIPTOR.size)
            offset, size, flags, _page_flags = _DESCRIPTOR.unpack(descriptor)
            if size > self._block:
                raise NotInCoreError
            return decompress(self._part(offset, size), flags, self._block)
        except CoreError as error:  # cut short: the notes may be whole all the same
            raise NotInCoreError from error

    def _part(self, offset: int, size: int) -> bytes:
        if offset + size > self._length:
            raise CoreError("it is cut short")
        self._file.seek(offset)
        return self._file.read(size)


def _bits(data: bytes) -> int:
    return int.from_bytes(data, "little").bit_count()
