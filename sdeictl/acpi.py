"""ACPI table headers. ACPI 6.5, section 5.2.6; include/acpi/actbl.h (Linux 7.3). No I/O."""

import struct

from sdeictl.facts import AcpiTable

HEADER = struct.Struct("<4sIBB6s8sI4sI")


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
    if total := sum(data[:length]) & 0xFF:
        raise AcpiError(f"checksum {checksum:#04x} at byte 9 is off by {total:#04x}")
    return AcpiTable(signature, length, revision, _text(oem_id), _text(oem_table_id))


def _text(data: bytes) -> str:
    return data.decode("ascii", "replace").rstrip("\0 ")
