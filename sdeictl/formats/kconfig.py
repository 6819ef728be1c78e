"""Kernel configurations, with the lines `CONFIG_X=y` and `# CONFIG_X is not set`. No I/O."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable

MAX_CONFIG_BYTES = 16 << 20
_MAX_VALUE_BYTES = 100
"""The rest of a longer value is left out: it is none that a check knows."""


def gunzip(data: bytes) -> bytes:
    """Return the content of a gzip file; raise ValueError if it is damaged, cut or above MAX_CONFIG_BYTES."""
    inflater = zlib.decompressobj(wbits=31)
    try:
        text = inflater.decompress(data, MAX_CONFIG_BYTES)
    except zlib.error as error:
        raise ValueError(f"it is not a gzip file: {error}") from error
    if not inflater.eof:
        raise ValueError("its gzip data is cut short or too large")
    return text


def parse_kconfig(text: bytes, symbols: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Return (symbol, value) of each of these symbols, `n` for "is not set"; the last line counts.

    The symbols are written without CONFIG_. A symbol without a line is left out: the kernel's source does
    not know it, or its dependencies are off.
    """
    alternatives = "|".join(map(re.escape, symbols)).encode()
    # A pattern that begins with fixed text is found four times as fast as one that begins with ^ or (# )?.
    pattern = re.compile(rb"CONFIG_(%b)(=[^\n]*| is not set)[ \r]*$" % alternatives, re.MULTILINE)
    values: dict[str, str] = {}
    for match in pattern.finditer(text):
        assigned = match[2].startswith(b"=")
        before = text[text.rfind(b"\n", 0, match.start()) + 1 : match.start()]
        expected = b"" if assigned else b"# "
        if before != expected:  # Kconfig writes neither `# CONFIG_X=y` nor `CONFIG_X is not set`
            continue
        value = match[2][1 : 1 + _MAX_VALUE_BYTES].decode("utf-8", "replace").strip()
        values[match[1].decode()] = value if assigned else "n"
    return tuple(values.items())
