"""The lines of a text: encodings, line ends, blanks, tabs and colours. No I/O."""

from __future__ import annotations

import codecs
import re

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"),
)  # fmt: skip
_SAMPLE_BYTES = 1000
_COLOUR = r"\x1b\[[0-9;]{0,20}[mK]"
_BLANKS = str.maketrans({"\u00a0": " ", "\u202f": " ", "\u200b": None, "\ufeff": None})


def decode(data: bytes) -> str:
    """Return the text of a file in UTF-8 or UTF-16; bytes that are neither become replacement characters."""
    for mark, encoding in _BOMS:
        if data.startswith(mark):
            return data[len(mark) :].decode(encoding, "replace")
    sample = data[:_SAMPLE_BYTES]
    if len(sample) > 1 and not any(sample[1::2]) and all(sample[::2]):
        return data.decode("utf-16-le", "replace")
    return data.decode("utf-8", "replace")


def split_lines(text: str) -> tuple[list[str], bool]:
    """Return the lines of a text that have a line end, and whether it ends with one."""
    lines = re.split(r"\r\n|\r|\n", text) if "\r" in text else text.split("\n")
    return lines[:-1], not lines[-1]


def clean(line: str) -> str:
    r"""Return a line without colours and trailing blanks, and with real tabs (syslog: #011, dmesg: \x09)."""
    if "\x1b" in line:
        line = re.sub(_COLOUR, "", line)
    if "#011" in line or "\\x09" in line:
        line = line.replace("#011", "\t").replace("\\x09", "\t")
    return (line if line.isascii() else line.translate(_BLANKS)).rstrip()
