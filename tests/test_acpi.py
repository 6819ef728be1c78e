"""ACPI tables that follow the specification byte by byte: whole, old, short and hostile ones."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sdeictl.formats.acpi import (
    AcpiError,
    Agdi,
    ErrorSource,
    Fadt,
    Madt,
    parse_agdi,
    parse_fadt,
    parse_hest,
    parse_length,
    parse_madt,
)

PARSERS: dict[str, Callable[[bytes], object]] = {
    "SDEI": lambda data: parse_length(data, "SDEI"),
    "FACP": parse_fadt,
    "APIC": parse_madt,
    "HEST": parse_hest,
    "AGDI": parse_agdi,
}


def table(signature: str, body: bytes, revision: int = 1) -> bytes:
    """Return a table with a valid header and checksum (ACPI 6.5, section 5.2.6)."""
    header = struct.pack(
        "<4sIBB6s8sI4sI", signature.encode(), 36 + len(body), revision, 0, b"LAB", b"SDEICTL", 1, b"TEST", 1
    )
    data = bytearray(header + body)
    data[9] = -sum(data) & 0xFF
    return bytes(data)


def fadt(length: int, flags: int) -> bytes:
    body = bytearray(length - 36)
    if length >= 131:
        struct.pack_into("<H", body, 129 - 36, flags)
    return table("FACP", bytes(body), revision=6)


@pytest.mark.parametrize("length", [244, 268, 276])  # ACPI 3.0, 5.1, 6.5
@pytest.mark.parametrize("flags", [0, 1, 3])
def test_fadt(length: int, flags: int) -> None:
    assert parse_fadt(fadt(length, flags)) == Fadt(hvc=bool(flags & 2))


def test_old_fadt_has_no_arm_fields() -> None:
    with pytest.raises(AcpiError, match="116 bytes, fewer than the fields of a table FACP"):
        parse_fadt(fadt(116, 0))


def gicc(mpidr: int, flags: int = 1, length: int = 80) -> bytes:
    """Return a GIC CPU interface: flags at byte 12, MPIDR at byte 68 (ACPI 6.5, section 5.2.12.14)."""
    entry = bytearray(length)
    entry[:2] = bytes([11, length])
    struct.pack_into("<I", entry, 12, flags)
    struct.pack_into("<Q", entry, 68, mpidr)
    return bytes(entry)


def gicd(version: int) -> bytes:
    entry = bytearray(24)
    entry[:2] = bytes([12, 24])
    entry[20] = version
    return bytes(entry)


def madt(*entries: bytes) -> bytes:
    return table("APIC", bytes(8) + b"".join(entries), revision=5)


@pytest.mark.parametrize("length", [76, 80, 82])  # ACPI 5.1, 6.0, 6.5
def test_madt(length: int) -> None:
    entries = [
        gicc(0x0, length=length),
        gicc(0x1_0000_0010, length=length),
        gicd(3),
        bytes([14, 16]) + bytes(14),
    ]
    assert parse_madt(madt(*entries)) == Madt(3, (0, 0x1_0000_0010))


def test_unusable_cpus_are_left_out() -> None:
    entries = gicc(0, flags=0), gicc(1, flags=1 << 3), gicc(2)
    assert parse_madt(madt(*entries)) == Madt(None, (1, 2))


def test_irs_means_gicv5() -> None:
    assert parse_madt(madt(bytes([28, 16]) + bytes(14), gicc(0))) == Madt(5, (0,))


@pytest.mark.parametrize(
    ("entries", "problem"),
    [
        ((bytes([11, 0]),), "the subtable at byte 44 has the length 0"),
        ((bytes([11, 1]),), "the subtable at byte 44 has the length 1"),
        ((gicd(3), bytes([11, 200])), "the subtable at byte 68 has the length 200"),
        ((gicd(3), bytes([11])), "the subtable at byte 68 has the length 0"),
    ],
)
def test_damaged_subtable_names_its_byte(entries: tuple[bytes, ...], problem: str) -> None:
    with pytest.raises(AcpiError, match=problem):
        parse_madt(madt(*entries))


def ghes(number: int, notification: int, event: int, *, kind: int = 9, enabled: int = 1) -> bytes:
    """Return a generic hardware error source: notification structure at byte 32 (section 18.3.2.7)."""
    source = bytearray(64 if kind == 9 else 92)
    struct.pack_into("<HH3xB", source, 0, kind, number, enabled)
    source[32:34] = bytes([notification, 28])
    struct.pack_into("<I", source, 40, event)
    return bytes(source)


def hest(*sources: bytes, count: int | None = None) -> bytes:
    return table("HEST", struct.pack("<I", len(sources) if count is None else count) + b"".join(sources))


def test_hest() -> None:
    polled = bytearray(20)
    struct.pack_into("<HH", polled, 0, 2, 7)
    data = hest(bytes(polled), ghes(1, 11, 804), ghes(2, 8, 0, kind=10), ghes(3, 11, 805, kind=10, enabled=0))
    assert parse_hest(data) == (
        ErrorSource(7, 2, enabled=True, sdei_event=None),
        ErrorSource(1, 9, enabled=True, sdei_event=804),
        ErrorSource(2, 10, enabled=True, sdei_event=None),
        ErrorSource(3, 10, enabled=False, sdei_event=805),
    )


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (hest(ghes(1, 11, 804), count=2), "error source 1 of 2 at byte 104 extends beyond the table"),
        (hest(ghes(1, 11, 804)[:40]), "error source 0 of 1 at byte 40 extends beyond the table"),
        (hest(b"\xff\xff" + bytes(62)), "error source 0 of 1 at byte 40 has the unknown type 65535"),
        (hest(count=0xFFFF_FFFF), "error source 0 of 4294967295 at byte 40 extends"),
    ],
)
def test_damaged_error_source_names_its_byte(data: bytes, problem: str) -> None:
    with pytest.raises(AcpiError, match=problem):
        parse_hest(data)


def agdi(flags: int, event: int, gsiv: int = 0, length: int = 48) -> bytes:
    return table("AGDI", struct.pack("<B3xII", flags, event, gsiv)[: length - 36])


def test_agdi() -> None:
    assert parse_agdi(agdi(0, 804)) == Agdi(804, None)
    assert parse_agdi(agdi(0, 804, length=44)) == Agdi(804, None)
    assert parse_agdi(agdi(1, 0, 42)) == Agdi(None, 42)
    with pytest.raises(AcpiError, match="too few for the interrupt"):
        parse_agdi(agdi(1, 0, length=44))


CORPUS = {
    "SDEI": table("SDEI", b""),
    "FACP": fadt(276, 3),
    "APIC": madt(*(gicc(cpu) for cpu in range(4)), gicd(3)),
    "HEST": hest(ghes(1, 11, 804), ghes(2, 11, 805, kind=10)),
    "AGDI": agdi(0, 804),
}


@given(st.data())
def test_mutated_table_raises_only_acpierror(data: st.DataObject) -> None:
    signature = data.draw(st.sampled_from(sorted(CORPUS)))
    mutated = bytearray(CORPUS[signature])
    for _ in range(data.draw(st.integers(1, 5))):
        mutated[data.draw(st.integers(0, len(mutated) - 1))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):  # otherwise the checksum stops nearly all of them
        mutated[9] = 0
        mutated[9] = -sum(mutated) & 0xFF
    cut = bytes(mutated[: data.draw(st.integers(0, len(mutated)))])
    for sample in (bytes(mutated), cut):
        try:
            PARSERS[signature](sample)
        except AcpiError as error:
            assert str(error)  # noqa: PT017 - not raising is as good


@given(st.sampled_from(sorted(PARSERS)), st.binary(max_size=200))
@example("APIC", struct.pack("<4sI", b"APIC", 0xFFFF_FFFF) + bytes(40))
def test_random_body_raises_only_acpierror(signature: str, body: bytes) -> None:
    for data in (table(signature, body), body):
        try:
            PARSERS[signature](data)
        except AcpiError as error:
            assert str(error)  # noqa: PT017 - not raising is as good


def test_table_size_is_limited() -> None:
    data = madt(*(gicc(cpu) for cpu in range(4096)), gicd(3))
    parsed = parse_madt(data)
    assert len(parsed.mpidrs) == 4096
    with pytest.raises(AcpiError, match="more than such a table can have"):
        parse_madt(madt(*(gicc(cpu) for cpu in range(20_000))))
