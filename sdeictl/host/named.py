"""A file that the user named, read in pieces; gzip, xz, bzip2 and zstd are unpacked on the way."""

from __future__ import annotations

import bz2
import contextlib
import ctypes
import errno
import gzip
import io
import lzma
import os
import zlib
from collections.abc import Callable, Iterator
from typing import Protocol

from sdeictl.host.files import MAX_FILE_BYTES
from sdeictl.host.libraries import load_library

PIECE_BYTES = 1 << 18
MAX_LOG_BYTES = 8 << 30
"""Limit for the content. A larger file was made to use up time."""
_TOO_LARGE = f"it has more than {MAX_LOG_BYTES >> 30} GiB"
_TAR_MARK_AT, _TAR_MARK = 257, b"ustar"
_ZSTD_LIBRARY = "libzstd.so.1"


class _Readable(Protocol):
    def read1(self, size: int, /) -> bytes:
        """Return at most `size` bytes; b"" at the end."""


class NamedFile:
    """A file that the user named; `-` means standard input."""

    def __init__(self, path: str) -> None:
        self._path = path
        self.is_packed = False
        self.is_archive = False
        """It is a tar archive, packed or not."""
        self.damage: str | None = None
        """Why the end of the content is missing, a clause."""
        self.bytes_read = 0
        """How much of the file itself was read."""

    def pieces(self) -> Iterator[bytes]:
        """Yield the content; raise OSError if the file cannot be read. Of an archive, yield nothing."""
        with contextlib.ExitStack() as stack:
            # Open the descriptor of standard input: sys.stdin may already hold some bytes in its buffer.
            source = 0 if self._path == "-" else self._path
            file = stack.enter_context(open(source, "rb", closefd=self._path != "-"))
            if os.fstat(file.fileno()).st_size > MAX_LOG_BYTES:
                raise OSError(errno.EFBIG, _TOO_LARGE, self._path)
            stream = self._unpacked(file)
            first = self._read(stream)
            self.is_archive = first[_TAR_MARK_AT:].startswith(_TAR_MARK)
            size, piece = 0, b"" if self.is_archive else first
            while piece:
                size += len(piece)
                self.bytes_read = file.tell() if file.seekable() else size
                if size > MAX_LOG_BYTES:
                    self.damage = _TOO_LARGE
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

    def _unpacked(self, file: io.BufferedReader) -> _Readable:
        head = file.peek(8)
        for magic, unpack in _PACKERS.items():
            if head.startswith(magic):
                self.is_packed = True
                return unpack(file)
        return file

    def _read(self, stream: _Readable) -> bytes:
        try:
            return stream.read1(PIECE_BYTES)  # read() would lose what comes before the damage
        except (EOFError, zlib.error, lzma.LZMAError, ValueError) as error:
            self.damage = f"its packed data is damaged or cut short: {error}"
        except OSError as error:
            if not self.is_packed or error.errno is not None:
                raise
            self.damage = f"its packed data is damaged: {error}"  # gzip and bz2 raise OSError without errno
        return b""


class _Buffer(ctypes.Structure):
    """ZSTD_inBuffer and ZSTD_outBuffer of zstd.h."""

    _fields_ = (("data", ctypes.c_void_p), ("size", ctypes.c_size_t), ("at", ctypes.c_size_t))


class _ZstdFile:
    """Unpacks zstd by its library; Python has no module for it before 3.14."""

    def __init__(self, file: io.BufferedReader) -> None:
        self._file = file
        self._library = load_library(_ZSTD_LIBRARY)
        if self._library is None:
            return
        self._library.ZSTD_createDStream.restype = ctypes.c_void_p
        self._library.ZSTD_decompressStream.restype = ctypes.c_size_t
        self._stream = ctypes.c_void_p(self._library.ZSTD_createDStream())
        self._source = _Buffer()
        self._more = 0
        """What the library wants next; 0 at the end of a frame."""

    def read1(self, size: int, /) -> bytes:
        """Return at most `size` bytes; raise ValueError if the data is damaged or the library is missing."""
        if self._library is None:
            raise ValueError(f"{_ZSTD_LIBRARY} is not installed")
        target = ctypes.create_string_buffer(size)
        out = _Buffer(ctypes.cast(target, ctypes.c_void_p), size, 0)
        while not out.at:
            if self._source.at == self._source.size and not self._fill():
                if self._more:
                    raise ValueError("it ends inside a frame")
                return b""
            self._more = self._library.ZSTD_decompressStream(
                self._stream, ctypes.byref(out), ctypes.byref(self._source)
            )
            if self._library.ZSTD_isError(ctypes.c_size_t(self._more)):
                raise ValueError("it is not zstd data")
        return target.raw[: out.at]

    def _fill(self) -> bool:
        data = self._file.read(PIECE_BYTES)
        self._packed = ctypes.create_string_buffer(data, len(data) or 1)
        self._source = _Buffer(ctypes.cast(self._packed, ctypes.c_void_p), len(data), 0)
        return bool(data)


_PACKERS: dict[bytes, Callable[[io.BufferedReader], _Readable]] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),
    b"\xfd7zXZ\0": lzma.LZMAFile,
    b"BZh": bz2.BZ2File,
    b"\x28\xb5\x2f\xfd": _ZstdFile,
}
"""How to unpack a file that begins with these bytes."""
