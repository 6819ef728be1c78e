"""ACPI tables: a damaged one raises AcpiError, and a cleaned one says what the whole one says."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from sdeictl.formats.acpi import (
    MAX_TABLE_BYTES,
    AcpiError,
    parse_agdi,
    parse_fadt,
    parse_hest,
    parse_length,
    parse_madt,
)
from sdeictl.probe.clean_acpi import clean_table
from tests.fuzz.harness import Target
from tests.fuzz.shapes import Dice, patched
from tests.test_acpi import CORPUS

PARSERS: dict[str, Callable[[bytes], object]] = {
    "SDEI": lambda data: parse_length(data, "SDEI"),
    "FACP": parse_fadt,
    "APIC": parse_madt,
    "HEST": parse_hest,
    "AGDI": parse_agdi,
}
NAMES = tuple(PARSERS)


def seeds() -> Iterator[bytes]:
    for number, _name in enumerate(NAMES):
        yield bytes([number])
        yield bytes([number, 1, 2, 36, 1, 255])


def check(data: bytes) -> None:
    """The first byte is the kind of the table, the second one says whether length and checksum are right."""
    dice = Dice(data)
    name, right = dice.pick(NAMES), dice.number(2)
    table = patched(CORPUS[name], dice)
    if right and len(table) > 9:
        table = _made_right(table)
    found = outcome(name, table)
    if not isinstance(found, str):
        length = parse_length(table, name)
        assert 36 <= length <= min(len(table), MAX_TABLE_BYTES)
        assert outcome(name, table[:length]) == found, "what follows a table changes it"
        assert isinstance(outcome(name, table[: length - 1]), str), "a table that is cut has a value"
    cleaned = clean_table(name, table)
    assert outcome(name, cleaned) == found
    assert clean_table(name, cleaned) == cleaned


def outcome(name: str, table: bytes) -> object:
    """Return what a table says, or what is wrong with it as text."""
    try:
        return PARSERS[name](table)
    except AcpiError as error:
        return str(error)


def _made_right(table: bytes) -> bytes:
    whole = bytearray(table)
    whole[4:8] = len(table).to_bytes(4, "little")
    whole[9] = (whole[9] - sum(whole)) & 0xFF
    return bytes(whole)


TARGET = Target(check, seeds, (parse_length, parse_fadt, parse_madt, parse_hest, parse_agdi))
