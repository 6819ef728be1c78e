"""Kernel configurations: `CONFIG_X=y` and `# CONFIG_X is not set`. No I/O."""

import re
import zlib
from collections.abc import Iterable

MAX_CONFIG_BYTES = 16 << 20


def gunzip(data: bytes) -> bytes:
    """Return the text of a gzip file; raise ValueError if it is damaged, cut or too large."""
    inflater = zlib.decompressobj(wbits=31)
    try:
        text = inflater.decompress(data, MAX_CONFIG_BYTES)
    except zlib.error as error:
        raise ValueError(f"not a gzip file: {error}") from error
    if not inflater.eof:
        raise ValueError("the gzip data is cut short or too large")
    return text


def parse_kconfig(text: bytes, symbols: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Return (symbol, value) of the asked symbols, `n` for "is not set"; the last line counts.

    A symbol without a line is left out: unknown to that source, or its
    dependencies are off. The names are without CONFIG_.
    """
    alternatives = "|".join(map(re.escape, symbols)).encode()
    # The names stand once: with two lists of them a distribution's 13,000 lines take three times as long.
    pattern = re.compile(rb"^(# )?CONFIG_(%b)(=[^\n]*| is not set)[ \r]*$" % alternatives, re.MULTILINE)
    values: dict[str, str] = {}
    for off, symbol, rest in pattern.findall(text):
        assigned = rest.startswith(b"=")
        if assigned is not bool(
            off
        ):  # else it is no line of Kconfig's: `# CONFIG_X=y`, `CONFIG_X is not set`
            values[symbol.decode()] = rest[1:].decode("utf-8", "replace").strip() if assigned else "n"
    return tuple(values.items())
