"""The ways makedumpfile compresses a page. All but zlib by the libraries it uses itself."""

import ctypes
import zlib
from functools import cache

from sdeictl.vmcore.corefile import NotInCoreError

_ZLIB, _LZO, _SNAPPY, _ZSTD = 0x1, 0x2, 0x4, 0x20
"""makedumpfile: diskdump_mod.h, DUMP_DH_COMPRESSED_*."""
_LIBRARIES = {_LZO: "liblzo2.so.2", _SNAPPY: "libsnappy.so.1", _ZSTD: "libzstd.so.1"}


def decompress(data: bytes, flags: int, size: int) -> bytes:
    """Return the page; raise NotInCoreError if it is damaged, or its library is not installed."""
    kind = flags & (_ZLIB | _LZO | _SNAPPY | _ZSTD)
    if not kind:
        page = data
    elif kind == _ZLIB:
        try:
            page = zlib.decompressobj().decompress(data, size + 1)
        except zlib.error as error:
            raise NotInCoreError from error
    else:
        page = _by_library(data, kind, size)
    if len(page) != size:
        raise NotInCoreError
    return page


def _by_library(data: bytes, kind: int, size: int) -> bytes:
    library = _load(_LIBRARIES.get(kind, ""))
    if library is None:
        raise NotInCoreError
    page = ctypes.create_string_buffer(size)
    length = ctypes.c_size_t(size)
    if kind == _ZSTD:
        library.ZSTD_decompress.restype = ctypes.c_size_t
        done = library.ZSTD_decompress(page, length, data, ctypes.c_size_t(len(data)))
        return page.raw if done == size else b""
    if kind == _LZO:
        failed = library.lzo1x_decompress_safe(
            data, ctypes.c_size_t(len(data)), page, ctypes.byref(length), None
        )
    else:
        failed = library.snappy_uncompress(data, ctypes.c_size_t(len(data)), page, ctypes.byref(length))
    return b"" if failed else page.raw[: length.value]


@cache
def _load(name: str) -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL(name) if name else None
    except OSError:
        return None
