"""A file that the user named, read in pieces; gzip, xz, bzip2 and zstd are unpacked on the way."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Iterator
from typing import Protocol

from sdeictl.host.files import MAX_FILE_BYTES, open_named
from sdeictl.host.unpack import MAGIC_BYTES, DamagedError, Unpacked, magic_of

PIECE_BYTES = 1 << 18
MAX_LOG_BYTES = 4 << 30
"""Limit for the file, and for what a pipe delivers. More was made to use up time."""
_TAR_MARK_AT, _TAR_MARK = 257, b"ustar"


class _Readable(Protocol):
    def read1(self, size: int, /) -> bytes:
        """Return at most `size` bytes; b"" at the end."""


class NamedFile:
    """A file that the user named; `-` means standard input."""

    def __init__(self, path: str) -> None:
        self._path = path
        self.is_archive = False
        """It is a tar archive, packed or not."""
        self.damage: str | None = None
        """Why the end of the content is missing, a clause."""
        self.bytes_read = 0
        """How much of the file itself was read."""

    def pieces(self) -> Iterator[bytes]:
        """Yield the content; raise OSError if the file cannot be read. Of an archive, yield nothing.

        The content may be larger than the memory: take one piece after the other.
        """
        with open_named(self._path) as file:
            if os.fstat(file.fileno()).st_size > MAX_LOG_BYTES:
                raise OSError(errno.EFBIG, f"it has more than {MAX_LOG_BYTES >> 30} GiB", self._path)
            stream = _unpacked(file)
            piece = self._first(stream)
            self.is_archive = piece[_TAR_MARK_AT:].startswith(_TAR_MARK)
            size = 0
            while piece and not self.is_archive:
                size += len(piece)
                self.bytes_read = file.tell() if file.seekable() else size
                if size > MAX_LOG_BYTES:
                    self.damage = f"it has more than {MAX_LOG_BYTES >> 30} GiB"
                    return
                yield piece
                piece = self._read(stream)

    def read_text(self) -> bytes:
        """Return the content of a text file, and b"" of an archive.

        Raises OSError: with EFBIG for more than MAX_FILE_BYTES, with EINVAL for zero bytes.
        """
        data = bytearray()
        for piece in self.pieces():
            data += piece
            if b"\0\0" in piece:
                raise OSError(errno.EINVAL, "it is not text", self._path)
            if len(data) > MAX_FILE_BYTES:
                raise OSError(errno.EFBIG, f"it has more than {MAX_FILE_BYTES >> 20} MiB", self._path)
        return bytes(data)

    def _first(self, stream: _Readable) -> bytes:
        """Return the first piece, long enough to show whether the content is an archive."""
        first = self._read(stream)
        while 0 < len(first) < _TAR_MARK_AT + len(_TAR_MARK) and (more := self._read(stream)):
            first += more
        return first

    def _read(self, stream: _Readable) -> bytes:
        try:
            return stream.read1(PIECE_BYTES)
        except DamagedError as error:
            self.damage = str(error)
            return b""


def _unpacked(file: io.BufferedReader) -> _Readable:
    magic = magic_of(file.peek(MAGIC_BYTES))
    return Unpacked(file, magic) if magic else file
