"""ACPI tables: headers, FACP, APIC, HEST, AGDI. ACPI 6.5; include/acpi/actbl*.h (Linux 7.3). No I/O."""

import struct
from collections.abc import Callable, Iterator

from sdeictl.probe.facts import AcpiTable, Agdi, ErrorSource, Fadt, Madt

HEADER = struct.Struct("<4sIBB6s8sI4sI")
MAX_TABLE_BYTES = 1 << 20
"""A thousand CPUs need 90 KB."""

_GICC, _GICD, _IRS = 11, 12, 28
_GICC_ENABLED, _GICC_ONLINE_CAPABLE = 1 << 0, 1 << 3
_GICC_LEAST = 76
"""Bytes of the shortest GICC entry that the kernel takes (arch/arm64/include/asm/acpi.h)."""
_GICC_FIELDS = struct.Struct("<I52xQ")
"""Flags at byte 12, MPIDR at byte 68."""
_NOTIFIED_BY_SDEI = 11
_GHES_TYPES = (9, 10)
# Length of each HEST source, from its first bytes (ACPI 6.5, section 18.3.2).
_HEST_LENGTHS: dict[int, Callable[[bytes], int]] = {
    0: lambda source: 40 + 28 * source[32],
    1: lambda source: 48 + 28 * source[44],
    2: lambda _: 20,
    6: lambda _: 48,
    7: lambda _: 44,
    8: lambda _: 56,
    9: lambda _: 64,
    10: lambda _: 92,
    11: lambda source: 48 + 28 * source[44],
}


class AcpiError(ValueError):
    """The bytes are not the table they should be; the message names what is wrong."""


def parse_header(data: bytes, signature: str) -> AcpiTable:
    """Return the header of a whole table; raise AcpiError if signature, length or checksum is wrong."""
    if len(data) < HEADER.size:
        raise AcpiError(f"{len(data)} bytes, shorter than an ACPI header (36)")
    found, length, revision, checksum, oem_id, oem_table_id, *_ = HEADER.unpack_from(data)
    if found != signature.encode():
        raise AcpiError(f"signature {found!r} at byte 0, wanted {signature!r}")
    if not HEADER.size <= length <= len(data):
        raise AcpiError(f"length {length} at byte 4, but {len(data)} bytes are there")
    if length > MAX_TABLE_BYTES:
        raise AcpiError(f"length {length} at byte 4 is more than such a table can have")
    if total := sum(data[:length]) & 0xFF:
        raise AcpiError(f"checksum {checksum:#04x} at byte 9 is off by {total:#04x}")
    return AcpiTable(signature, length, revision, _text(oem_id), _text(oem_table_id))


def parse_fadt(data: bytes) -> Fadt:
    """Return what a table FACP says of PSCI: ARM_BOOT_ARCH, 16 bits at byte 129 (since ACPI 5.1)."""
    table = _whole(data, "FACP", 131)
    flags = int(struct.unpack_from("<H", table, 129)[0])
    return Fadt(bool(flags & 1), bool(flags & 2))


def parse_madt(data: bytes) -> Madt:
    """Return interrupt controller and usable CPUs of a table APIC, whose subtables follow byte 44."""
    table = _whole(data, "APIC", 44)
    version = None
    mpidrs = []
    for kind, subtable in _subtables(table, 44):
        if kind == _GICD and len(subtable) >= 24:
            version = subtable[20] or version
        elif kind == _IRS:
            version = 5
        elif kind == _GICC and len(subtable) >= _GICC_LEAST:
            flags, mpidr = _GICC_FIELDS.unpack_from(subtable, 12)
            if flags & (_GICC_ENABLED | _GICC_ONLINE_CAPABLE):
                mpidrs.append(mpidr)
    return Madt(version, tuple(mpidrs))


def parse_hest(data: bytes) -> tuple[ErrorSource, ...]:
    """Return the error sources of a table HEST; their number is at byte 36, they follow byte 40."""
    table = _whole(data, "HEST", 40)
    (count,) = struct.unpack_from("<I", table, 36)
    sources = []
    offset = 40
    for number in range(count):
        source = table[offset:]
        kind = int.from_bytes(source[:2], "little")
        try:
            length = _HEST_LENGTHS[kind](source)
        except (KeyError, IndexError):
            raise AcpiError(f"error source {number} of {count} at byte {offset} has type {kind}") from None
        if len(source) < length or not source:
            raise AcpiError(f"error source {number} of {count} at byte {offset} goes beyond the end")
        sources.append(_error_source(kind, source))
        offset += length
    return tuple(sources)


def _error_source(kind: int, source: bytes) -> ErrorSource:
    (number,) = struct.unpack_from("<H", source, 2)
    if kind not in _GHES_TYPES:
        return ErrorSource(number, kind, enabled=True, sdei_event=None)
    by_sdei = source[32] == _NOTIFIED_BY_SDEI
    event = int(struct.unpack_from("<I", source, 40)[0]) if by_sdei else None
    return ErrorSource(number, kind, bool(source[7]), event)


def parse_agdi(data: bytes) -> Agdi:
    """Return what a table AGDI announces: an SDEI event (byte 40), or an interrupt (byte 44, since 1.1)."""
    table = _whole(data, "AGDI", 44)
    if not table[36] & 1:
        return Agdi(int(struct.unpack_from("<I", table, 40)[0]), None)
    if len(table) < 48:
        raise AcpiError(f"{len(table)} bytes, too short for the interrupt that its flags announce")
    return Agdi(None, int(struct.unpack_from("<I", table, 44)[0]))


def _whole(data: bytes, signature: str, least: int) -> bytes:
    """Return the table's own bytes; raise AcpiError if it is damaged or shorter than its fields."""
    length = parse_header(data, signature).length
    if length < least:
        raise AcpiError(f"{length} bytes, shorter than the fields of a table {signature} ({least})")
    return data[:length]


def _subtables(table: bytes, offset: int) -> Iterator[tuple[int, bytes]]:
    while offset < len(table):
        length = table[offset + 1] if offset + 1 < len(table) else 0
        if length < 2 or offset + length > len(table):
            raise AcpiError(f"the subtable at byte {offset} has length {length}")
        yield table[offset], table[offset : offset + length]
        offset += length


def _text(data: bytes) -> str:
    return data.decode("ascii", "replace").rstrip("\0 ")
