"""ACPI tables: FACP, APIC, HEST, AGDI, and the header of any table. No I/O.

ACPI 6.5; include/acpi/actbl*.h (Linux 7.3). Numbers are little-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

from sdeictl.text import NamedTuple

HEADER = struct.Struct("<4sIBB6s8sI4sI")
MAX_TABLE_BYTES = 1 << 20
"""Limit for a table; the table APIC of 1,000 CPUs needs 90 KB."""

_GICC, _GICD, _IRS = 11, 12, 28
_GICC_ENABLED, _GICC_ONLINE_CAPABLE = 1 << 0, 1 << 3
_GICC_MIN_BYTES = 76
"""The shortest GICC entry that the kernel accepts (arch/arm64/include/asm/acpi.h)."""
_GICC_FIELDS = struct.Struct("<I52xQ")
"""From byte 12 of a GICC entry: the flags, and at byte 68 the MPIDR."""
NOTIFIED_BY_SDEI = 11
GHES_TYPES = (9, 10)
# The length in bytes of each type of HEST error source, from its first bytes (ACPI 6.5, section 18.3.2).
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
    """The bytes are not a whole table of the expected type; the message says why."""


class Fadt(NamedTuple):
    """The table FACP: how the kernel calls the firmware (ACPI 6.5, section 5.2.9.4)."""

    hvc: bool
    """By HVC, which a hypervisor or firmware at EL2 serves; otherwise by SMC."""


class Madt(NamedTuple):
    """The table APIC: the interrupt controller and the CPUs (ACPI 6.5, section 5.2.12)."""

    gic_version: int | None
    """1 to 5; None if the table does not state it."""
    mpidrs: tuple[int, ...]
    """MPIDR_EL1 of each CPU that is enabled or can be brought online, in table order."""


class ErrorSource(NamedTuple):
    """One error source in the table HEST (ACPI 6.5, section 18.3.2)."""

    id: int
    type: int
    """9 is generic hardware, 10 the same in version 2; only these can be notified by SDEI."""
    enabled: bool
    sdei_event: int | None
    """The SDEI event that notifies the kernel of an error; None for another notification."""


class Agdi(NamedTuple):
    """The table AGDI: how a diagnostic dump request of the BMC reaches the kernel (Arm DEN0093)."""

    sdei_event: int | None
    gsiv: int | None
    """The interrupt, where the table announces one instead of an event."""


def parse_length(data: bytes, signature: str) -> int:
    """Return the length in bytes of a table; raise AcpiError if its header or its checksum is wrong."""
    if len(data) < HEADER.size:
        raise AcpiError(f"it has {len(data)} bytes, fewer than an ACPI header ({HEADER.size})")
    found, length, _revision, checksum, *_ = HEADER.unpack_from(data)
    if found != signature.encode():
        raise AcpiError(f"the signature at byte 0 is not {signature!r}")
    if not HEADER.size <= length <= len(data):
        raise AcpiError(f"the length at byte 4 is {length}, but the file has {len(data)} bytes")
    if length > MAX_TABLE_BYTES:
        raise AcpiError(f"the length at byte 4 is {length}, more than such a table can have")
    if total := sum(data[:length]) & 0xFF:
        raise AcpiError(f"the checksum {checksum:#04x} at byte 9 is off by {total:#04x}")
    return int(length)


def parse_fadt(data: bytes) -> Fadt:
    """Return the table FACP; its ARM_BOOT_ARCH flags are 16 bits at byte 129 (since ACPI 5.1)."""
    table = _whole(data, "FACP", 131)
    flags = int(struct.unpack_from("<H", table, 129)[0])
    return Fadt(hvc=bool(flags & 2))


def parse_madt(data: bytes) -> Madt:
    """Return the table APIC; its subtables begin at byte 44."""
    table = _whole(data, "APIC", 44)
    version = None
    mpidrs = []
    for kind, subtable in _subtables(table, 44):
        if kind == _GICD and len(subtable) >= 24:
            version = subtable[20] or version
        elif kind == _IRS:
            version = 5
        elif kind == _GICC and len(subtable) >= _GICC_MIN_BYTES:
            flags, mpidr = _GICC_FIELDS.unpack_from(subtable, 12)
            if flags & (_GICC_ENABLED | _GICC_ONLINE_CAPABLE):
                mpidrs.append(mpidr)
    return Madt(version, tuple(mpidrs))


def parse_hest(data: bytes) -> tuple[ErrorSource, ...]:
    """Return the error sources in the table HEST: their number is at byte 36, the first one at byte 40."""
    table = _whole(data, "HEST", 40)
    (count,) = struct.unpack_from("<I", table, 36)
    sources = []
    offset = 40
    for number in range(count):
        source = table[offset:]
        kind = int.from_bytes(source[:2], "little")
        length = source_length(kind, source)
        if length is None:
            raise AcpiError(f"error source {number} of {count} at byte {offset} has the unknown type {kind}")
        if length > len(source):
            raise AcpiError(f"error source {number} of {count} at byte {offset} extends beyond the table")
        sources.append(_error_source(kind, source))
        offset += length
    return tuple(sources)


def source_length(kind: int, source: bytes) -> int | None:
    """Return the length in bytes of an error source, more than there are if it is cut; None if unknown."""
    if kind not in _HEST_LENGTHS:
        return None
    try:
        return _HEST_LENGTHS[kind](source)
    except IndexError:
        return len(source) + 1


def _error_source(kind: int, source: bytes) -> ErrorSource:
    (number,) = struct.unpack_from("<H", source, 2)
    if kind not in GHES_TYPES:
        return ErrorSource(number, kind, enabled=True, sdei_event=None)
    by_sdei = source[32] == NOTIFIED_BY_SDEI
    event = int(struct.unpack_from("<I", source, 40)[0]) if by_sdei else None
    return ErrorSource(number, kind, bool(source[7]), event)


def parse_agdi(data: bytes) -> Agdi:
    """Return the table AGDI: an SDEI event at byte 40, or since version 1.1 an interrupt at byte 44."""
    table = _whole(data, "AGDI", 44)
    if not table[36] & 1:
        return Agdi(int(struct.unpack_from("<I", table, 40)[0]), None)
    if len(table) < 48:
        raise AcpiError(f"it has {len(table)} bytes, too few for the interrupt that the flags announce")
    return Agdi(None, int(struct.unpack_from("<I", table, 44)[0]))


def _whole(data: bytes, signature: str, least: int) -> bytes:
    """Return the bytes of a table without what follows; raise AcpiError if it is damaged or too short."""
    length = parse_length(data, signature)
    if length < least:
        raise AcpiError(f"it has {length} bytes, fewer than the fields of a table {signature} need ({least})")
    return data[:length]


def _subtables(table: bytes, offset: int) -> Iterator[tuple[int, bytes]]:
    """Yield (type, bytes) of each subtable from a byte on; the second byte of each is its length."""
    while offset < len(table):
        length = table[offset + 1] if offset + 1 < len(table) else 0
        if length < 2 or offset + length > len(table):
            raise AcpiError(f"the subtable at byte {offset} has the length {length}")
        yield table[offset], table[offset : offset + length]
        offset += length
