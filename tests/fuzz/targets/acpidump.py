"""The text of acpidump: a cut text gives the beginnings of the same tables."""

from __future__ import annotations

from collections.abc import Iterator

from sdeictl.formats.acpidump import parse_acpidump
from sdeictl.probe.clean_acpi import TABLES, clean_acpidump, clean_table
from tests.fuzz.harness import Target
from tests.fuzz.shapes import with_long_numbers
from tests.test_acpi import CORPUS

ROW = 16


def dumped(name: str, data: bytes) -> str:
    rows = (
        f"    {at:04X}: {data[at : at + ROW].hex(' ').upper()}  ....\n" for at in range(0, len(data), ROW)
    )
    return f"{name} @ 0x0000000000000000\n{''.join(rows)}\n"


def seeds() -> Iterator[bytes]:
    yield from with_long_numbers(dumped(name, data[:200]).encode() for name, data in CORPUS.items())
    yield "".join(dumped(name, data[:64]) for name, data in CORPUS.items()).encode()


def check(data: bytes) -> None:
    text = data.decode("ascii", "replace")
    tables = parse_acpidump(text)
    cut = parse_acpidump(text[: text.rfind("\n", 0, len(text) // 2) + 1])
    assert all(tables[name].startswith(part) for name, part in cut.items())
    cleaned = parse_acpidump(clean_acpidump(text))
    known = {name for name in tables if name in (*TABLES, "DSDT", "SSDT")}
    assert {name: cleaned[name] for name in known} == {
        name: clean_table(name, tables[name]) for name in known
    }
    assert bool(cleaned) is bool(tables)


TARGET = Target(check, seeds, (parse_acpidump,), (" @ 0x0000000000000000\n", "    0000: ", "APIC", "DSDT"))
