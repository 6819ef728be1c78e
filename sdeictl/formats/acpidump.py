"""The text that acpidump(8) of ACPICA prints: every ACPI table in hexadecimal. No I/O."""

from __future__ import annotations

import re

from sdeictl.text import lines_of

MAX_DUMP_BYTES = 16 << 20
"""Limit for the text; a server with many SSDTs prints 4 MiB."""
_HEAD = re.compile(r"([A-Z0-9_!]{4}) @ 0x[0-9A-Fa-f]{1,16}\s*$")
_LINE = re.compile(r"\s{1,8}([0-9A-Fa-f]{1,8}): ((?:[0-9A-Fa-f]{2} ){1,16})")


def parse_acpidump(text: str) -> dict[str, bytes]:
    """Return the first table of each signature; {} if the text has none.

    A table ends where a line is missing, so its own length shows that it was cut.
    """
    tables: dict[str, bytearray] = {}
    table: bytearray | None = None
    for line in lines_of(text):
        head, row = _HEAD.match(line), _LINE.match(line)
        if head:
            table = None if head[1] in tables else tables.setdefault(head[1], bytearray())
        elif row and table is not None and int(row[1], 16) == len(table):
            table += bytes.fromhex(row[2])
        else:
            table = None
    return {signature: bytes(data) for signature, data in tables.items()}
