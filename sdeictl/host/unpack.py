"""Unpacks gzip, xz, bzip2 and zstd piece by piece, in bounded memory."""

from __future__ import annotations

import bz2
import ctypes
import lzma
import zlib
from collections.abc import Callable
from typing import BinaryIO, Protocol

from sdeictl.host.libraries import load_library

MAX_STREAMS = 100_000
"""So many packed streams may follow each other in one file; bgzip makes one for each 64 KiB."""
MAX_WINDOW_BYTES = 128 << 20
"""So much of its output a decompressor may have to remember: `xz -9` needs 64 MiB."""
MAX_UNPACKED_BYTES = 1 << 30
"""Limit for the content of a packed file."""
MAX_BZIP2_BYTES = 192 << 20
"""Limit for the content of a file that bzip2 packed: to unpack it takes ten times as long."""
_BZIP2 = b"BZh"
_PACKED_BYTES = 1 << 16
_ZSTD_WINDOW_LOG_MAX = 100
"""ZSTD_d_windowLogMax of zstd.h."""
_ZSTD_LIBRARY = "libzstd.so.1"


class DamagedError(ValueError):
    """The packed data is damaged, cut short, or needs too much memory; the message is a clause."""


class _Stream(Protocol):
    """One packed stream: the interface of the objects of lzma and bz2."""

    @property
    def eof(self) -> bool:
        """Its end was reached."""

    @property
    def needs_input(self) -> bool:
        """It returns no more without more packed data."""

    @property
    def unused_data(self) -> bytes:
        """What follows its end."""

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        """Take packed data, and return at most `max_length` bytes of the content."""


class Unpacked:
    """The content of a packed file: one stream, or several of the same packer one after the other."""

    def __init__(self, file: BinaryIO, magic: bytes) -> None:
        self._file = file
        self._magic = magic
        self._stream: _Stream | None = None
        self._data = b""
        """Packed data that no stream has taken yet."""
        self._streams = 0
        self._limit = self._left = MAX_BZIP2_BYTES if magic == _BZIP2 else MAX_UNPACKED_BYTES

    def read1(self, size: int, /) -> bytes:
        """Return at most `size` bytes, b"" at the end; raise DamagedError."""
        try:
            while self._stream or self._begin_stream():
                if found := self._read_stream(size):
                    self._left -= len(found)
                    break
            else:
                return b""
        except (zlib.error, lzma.LZMAError, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise DamagedError(f"its packed data is damaged: {error}") from error
        if self._left < 0:
            raise DamagedError(f"it unpacks to more than {self._limit >> 20} MiB")
        return found

    def _read_stream(self, size: int) -> bytes:
        stream = self._stream
        if stream is None:
            return b""
        if stream.needs_input and not self._data and not self._fill():
            raise DamagedError("its packed data is cut short")
        data, self._data = self._data, b""
        found = stream.decompress(data, size)
        if stream.eof:
            self._data, self._stream = stream.unused_data, None
        return found

    def _begin_stream(self) -> bool:
        """Begin the next stream; return False at the end of the file."""
        self._data = self._data.lstrip(b"\0")  # a tape, and xz itself, fill the last block with zeros
        while len(self._data) < len(self._magic) and self._fill():
            self._data = self._data.lstrip(b"\0")
        if not self._data:
            return False
        if not self._data.startswith(self._magic):
            raise DamagedError("other data follows its packed data")
        self._streams += 1
        if self._streams > MAX_STREAMS:
            raise DamagedError(f"it has more than {MAX_STREAMS:,} packed streams")
        self._stream = _STREAMS[self._magic]()
        return True

    def _fill(self) -> bool:
        more = self._file.read(_PACKED_BYTES)
        self._data += more
        return bool(more)


class _GzipStream:
    """One member of a gzip file. zlib checks its length and its checksum."""

    def __init__(self) -> None:
        self._inflater = zlib.decompressobj(wbits=31)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._inflater.eof

    @property
    def unused_data(self) -> bytes:
        return self._inflater.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        found = self._inflater.decompress(self._inflater.unconsumed_tail + data, max_length)
        self.needs_input = len(found) < max_length and not self._inflater.unconsumed_tail
        return found


class _Buffer(ctypes.Structure):
    """ZSTD_inBuffer and ZSTD_outBuffer of zstd.h."""

    _fields_ = (("data", ctypes.c_void_p), ("size", ctypes.c_size_t), ("at", ctypes.c_size_t))


class _ZstdStream:
    """One frame of zstd, by its library; Python has no module for it before 3.14.

    A window may have 32 MiB; the levels of zstd(1) without --ultra or --long need 8 MiB.
    """

    def __init__(self) -> None:
        library = load_library(_ZSTD_LIBRARY)
        if library is None:
            raise DamagedError(f"it is packed by zstd, and {_ZSTD_LIBRARY} is not installed")
        library.ZSTD_createDStream.restype = ctypes.c_void_p
        library.ZSTD_decompressStream.restype = ctypes.c_size_t
        self._library = library
        self._state = ctypes.c_void_p(library.ZSTD_createDStream())
        library.ZSTD_DCtx_setParameter(self._state, _ZSTD_WINDOW_LOG_MAX, 25)
        self._packed = b""
        self.eof = False
        self.needs_input = True
        self.unused_data = b""

    def __del__(self) -> None:
        if state := getattr(self, "_state", None):
            self._library.ZSTD_freeDStream(state)

    def decompress(self, data: bytes, max_length: int) -> bytes:
        self._packed += data
        # addressof() and no cast(): a cast leaves a cycle of references, so its memory stays.
        source, target = (
            ctypes.create_string_buffer(self._packed, len(self._packed) or 1),
            ctypes.create_string_buffer(max_length),
        )
        packed = _Buffer(ctypes.addressof(source), len(self._packed), 0)
        out = _Buffer(ctypes.addressof(target), max_length, 0)
        more = self._library.ZSTD_decompressStream(self._state, ctypes.byref(out), ctypes.byref(packed))
        if self._library.ZSTD_isError(ctypes.c_size_t(more)):
            raise DamagedError("its packed data is damaged: it is not zstd data, or needs too much memory")
        self._packed = self._packed[packed.at :]
        self.eof = more == 0
        self.needs_input = out.at < max_length and not self._packed
        if self.eof:
            self.unused_data, self._packed = self._packed, b""
        return ctypes.string_at(target, out.at)


def _xz_stream() -> _Stream:
    return lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=MAX_WINDOW_BYTES)


_STREAMS: dict[bytes, Callable[[], _Stream]] = {
    b"\x1f\x8b": _GzipStream,
    b"\xfd7zXZ\0": _xz_stream,
    _BZIP2: bz2.BZ2Decompressor,
    b"\x28\xb5\x2f\xfd": _ZstdStream,
}
"""How a file begins, and what unpacks it."""
MAGIC_BYTES = max(map(len, _STREAMS))


def magic_of(head: bytes) -> bytes | None:
    """Return the magic number of the packer at the beginning of a file; None if no packer is known."""
    return next((magic for magic in _STREAMS if head.startswith(magic)), None)
