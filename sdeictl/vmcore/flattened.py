"""How is a flattened dump read? `makedumpfile -F` writes it, and so does Debian's kdump-tools.

It is a dump as a stream: a header, and then pieces of the dump, each after its offset and size, all
big-endian (makedumpfile's IMPLEMENTATION). A later piece replaces what an earlier one has at the same place.
"""

from __future__ import annotations

import io
import os
import struct
from array import array
from bisect import bisect_left
from typing import BinaryIO

from sdeictl.vmcore.corefile import CoreError

FLATTENED = b"makedumpfile\0"
_HEADER_BYTES = 4096
_PIECE = struct.Struct(">2q")
_END = (-1, -1)
_MAX_PIECES = 1 << 20
"""A piece has 64 KiB, so these are the pieces of 64 GiB."""
_MAX_OFFSET = 1 << 50
_MAX_STEPS = 5_000_000
"""So many pieces are looked at for all reads together."""


class FlattenedFile(io.RawIOBase):
    """The dump in a flattened file, which can be read at any place. Where no piece is, it has zeroes."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self._file = file
        self._offsets, self._sizes, self._places = array("q"), array("q"), array("q")
        self.is_complete = self._read_pieces()
        """The stream has its end mark."""
        self._order = array("L", sorted(range(len(self._offsets)), key=self._offsets.__getitem__))
        self._starts = array("q", (self._offsets[number] for number in self._order))
        self._longest = max(self._sizes, default=0)
        self._length = max(map(sum, zip(self._offsets, self._sizes)), default=0)
        self._steps = _MAX_STEPS
        self._at = 0

    def _read_pieces(self) -> bool:
        """Note where each piece is; tell whether the stream ends as it should. Raises CoreError."""
        length = self._file.seek(0, os.SEEK_END)
        at = _HEADER_BYTES
        while at + _PIECE.size <= length:
            self._file.seek(at)
            offset, size = _PIECE.unpack(self._file.read(_PIECE.size))
            if (offset, size) == _END:
                return True
            if not 0 <= offset < _MAX_OFFSET or size <= 0:
                raise CoreError(f"its stream is damaged (a piece of {size} bytes at {offset})")
            at += _PIECE.size
            self._offsets.append(offset)
            self._sizes.append(min(size, max(length - at, 0)))
            self._places.append(at)
            if len(self._offsets) > _MAX_PIECES:
                raise CoreError(f"its stream has more than {_MAX_PIECES:,} pieces")
            at += size
        return False

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place, and return it."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._length}[whence]
        self._at = max(base + offset, 0)
        return self._at

    def tell(self) -> int:
        """Return the present place."""
        return self._at

    def read(self, size: int = -1) -> bytes:
        """Return at most `size` bytes from the present place; raise CoreError if it takes too many pieces."""
        end = self._length if size < 0 else min(self._at + size, self._length)
        start, self._at = self._at, max(self._at, end)
        data = bytearray(max(end - start, 0))
        first = bisect_left(self._starts, start - self._longest)
        last = bisect_left(self._starts, end)
        self._steps -= last - first
        if self._steps < 0:
            raise CoreError("its stream is damaged (its pieces overlap)")
        for number in sorted(self._order[first:last]):
            begin = max(start, self._offsets[number])
            stop = min(end, self._offsets[number] + self._sizes[number])
            if begin < stop:
                self._file.seek(self._places[number] + begin - self._offsets[number])
                data[begin - start : stop - start] = self._file.read(stop - begin)
        return bytes(data)
