"""What of the ACPI tables may leave the host: the fields that formats/acpi.py reads. No I/O.

The names of the vendor, addresses and code are zero. A damaged table stays damaged in the same way.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

from sdeictl.formats.acpi import GHES_TYPES, HEADER, MAX_TABLE_BYTES, NOTIFIED_BY_SDEI, source_length
from sdeictl.formats.acpidump import parse_acpidump

TABLES = ("AGDI", "APIC", "FACP", "HEST", "SDEI")
"""The tables that a check reads."""
_CHECKSUM_AT, _FILLER_AT = 9, 16
_GICC, _GICD = 11, 12
_COUNTS_AT = {0: 32, 1: 44, 11: 44}
"""Where an error source of HEST says how many banks follow, by its type."""
_NO_TABLE = "____"
"""Stands for all tables that no check reads."""

_Ranges = Iterator[tuple[int, int]]


def clean_table(signature: str, data: bytes) -> bytes:
    """Return a table of the same length with only the fields that are read."""
    fields = _FIELDS.get(signature)
    if fields is None:
        return _empty(signature)
    clean = bytearray(len(data))
    (length,) = struct.unpack_from("<I", data, 4) if len(data) >= HEADER.size else (len(data),)
    clean[4:10] = data[4:10]
    if data[:4] == signature.encode() and length <= MAX_TABLE_BYTES:
        for start, end in fields(data[:length]):
            clean[start:end] = data[start:end]
    clean[:4] = signature.encode()[: len(data)] if data[:4] == signature.encode() else b"????"[: len(data)]
    _keep_sum(clean, data)
    return bytes(clean)


def _keep_sum(clean: bytearray, data: bytes) -> None:
    """Give the cleaned table the sum of the whole one, so that its checksum is right or wrong by the same.

    A table without a length of its own has no checksum.
    """
    (length,) = struct.unpack_from("<I", data, 4) if len(data) >= HEADER.size else (0,)
    if length >= HEADER.size:
        clean[_FILLER_AT] = (sum(data[:length]) - sum(clean[:length])) & 0xFF


def _empty(signature: str) -> bytes:
    """Return a table without content."""
    table = bytearray(HEADER.pack(signature[:4].encode(), HEADER.size, 0, 0, b"", b"", 0, b"", 0))
    table[_CHECKSUM_AT] = -sum(table) & 0xFF
    return bytes(table)


def _fadt(_data: bytes) -> _Ranges:
    yield 129, 131


def _agdi(_data: bytes) -> _Ranges:
    yield 36, 37
    yield 40, 48


def _madt(data: bytes) -> _Ranges:
    at = 44
    while at + 1 < len(data) and data[at + 1] >= 2:
        end = at + data[at + 1]
        fields = {_GICC: ((12, 16), (68, 76)), _GICD: ((20, 21),)}.get(data[at], ())
        for first, behind in ((0, 2), *fields):
            yield min(at + first, end), min(at + behind, end)
        at = end
    yield at, at + 2


def _hest(data: bytes) -> _Ranges:
    yield 36, 40
    at = 40
    for _number in range(int.from_bytes(data[36:40], "little")):
        source = data[at:]
        kind = int.from_bytes(source[:2], "little")
        length = source_length(kind, source)
        yield at, at + 4
        if counts_at := _COUNTS_AT.get(kind):
            yield at + counts_at, min(at + counts_at + 1, len(data))
        if length is None or length > len(source):
            return
        for first, behind in _hest_fields(kind, source):
            yield at + first, at + behind
        at += length


def _hest_fields(kind: int, source: bytes) -> _Ranges:
    """Yield what is read of an error source behind its type and number."""
    if kind in GHES_TYPES:
        yield 7, 8
        yield 32, 33
        if source[32] == NOTIFIED_BY_SDEI:
            yield 40, 44


_FIELDS: dict[str, Callable[[bytes], _Ranges]] = {
    "AGDI": _agdi, "APIC": _madt, "FACP": _fadt, "HEST": _hest, "SDEI": lambda _data: iter(()),
}  # fmt: skip


def clean_acpidump(text: str) -> str:
    """Return the text of acpidump with the same tables, as far as a check reads them."""
    tables = parse_acpidump(text)
    wanted = {name: data for name, data in tables.items() if name in (*TABLES, "DSDT", "SSDT")}
    if len(wanted) < len(tables):
        wanted[_NO_TABLE] = _empty(_NO_TABLE)
    return "".join(_dumped(name, clean_table(name, data)) for name, data in sorted(wanted.items()))


def _dumped(name: str, data: bytes) -> str:
    rows = (
        f"    {at:04X}: {' '.join(f'{byte:02X}' for byte in data[at : at + 16])} \n"
        for at in range(0, len(data), 16)
    )
    return f"{name} @ 0x0\n{''.join(rows)}\n"
