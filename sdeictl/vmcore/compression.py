"""How is a page of a compressed dump decompressed? zlib by Python, the others by makedumpfile's libraries."""

from __future__ import annotations

import ctypes
import zlib

from sdeictl.host.libraries import load_library
from sdeictl.vmcore.corefile import MissingDataError

_ZLIB, _LZO, _SNAPPY, _ZSTD = 0x1, 0x2, 0x4, 0x20
"""DUMP_DH_COMPRESSED_* in makedumpfile's diskdump_mod.h."""
_LIBRARIES = {_LZO: "liblzo2.so.2", _SNAPPY: "libsnappy.so.1", _ZSTD: "libzstd.so.1"}


def decompress(data: bytes, flags: int, size: int) -> bytes:
    """Return a page of `size` bytes; `flags` is from its page descriptor.

    Raises MissingDataError if the data is damaged or the library is not installed.
    """
    method = flags & (_ZLIB | _LZO | _SNAPPY | _ZSTD)
    if not method:
        page = data
    elif method == _ZLIB:
        try:
            page = zlib.decompressobj().decompress(data, size + 1)
        except zlib.error as error:
            raise MissingDataError from error
    else:
        page = _decompress_by_library(data, method, size)
    if len(page) != size:
        raise MissingDataError
    return page


def _decompress_by_library(data: bytes, method: int, size: int) -> bytes:
    """Return the page; its length is not `size` if the data is damaged."""
    name = _LIBRARIES.get(method)
    library = load_library(name) if name else None
    if library is None:
        raise MissingDataError
    page = ctypes.create_string_buffer(size)
    length = ctypes.c_size_t(size)
    if method == _ZSTD:
        library.ZSTD_decompress.restype = ctypes.c_size_t
        written = library.ZSTD_decompress(page, length, data, ctypes.c_size_t(len(data)))
        return page.raw if written == size else b""
    if method == _LZO:
        failed = library.lzo1x_decompress_safe(
            data, ctypes.c_size_t(len(data)), page, ctypes.byref(length), None
        )
    else:
        failed = library.snappy_uncompress(data, ctypes.c_size_t(len(data)), page, ctypes.byref(length))
    return b"" if failed else page.raw[: length.value]
