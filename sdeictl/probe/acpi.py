"""Reads how a firmware with ACPI describes the machine: its tables, and the names in DMI."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from sdeictl.formats.acpi import AcpiError, parse_agdi, parse_fadt, parse_hest, parse_length, parse_madt
from sdeictl.host.gap import GapKind
from sdeictl.host.paths import ACPI_TABLES, DMI
from sdeictl.host.reader import Reader
from sdeictl.probe.facts import HostFacts

T = TypeVar("T")


def with_acpi(reader: Reader, facts: HostFacts, tables: tuple[str, ...]) -> HostFacts:
    """Return the facts with those in the ACPI tables and in DMI added."""
    _, broken = _read_table(reader, tables, "SDEI", lambda data: parse_length(data, "SDEI"))
    return facts._replace(
        tables="acpi",
        acpi_tables=tables,
        acpi_sdei_broken=broken,
        fadt=_read_table(reader, tables, "FACP", parse_fadt)[0],
        madt=_read_table(reader, tables, "APIC", parse_madt)[0],
        hest=_read_table(reader, tables, "HEST", parse_hest)[0],
        agdi=_read_table(reader, tables, "AGDI", parse_agdi)[0],
        model=_read_dmi(reader, "sys_vendor", "product_name"),
        firmware=_read_dmi(reader, "bios_vendor", "bios_version", "bios_date"),
    )


def _read_table(
    reader: Reader, tables: tuple[str, ...], signature: str, parse: Callable[[bytes], T]
) -> tuple[T | None, str | None]:
    """Return a parsed table, or else the problem with it; (None, None) if it is absent or denied."""
    if signature not in tables:
        return None, None
    path = f"{ACPI_TABLES}/{signature}"
    data = reader.attempt(path, reader.root.read)
    if data is None:
        return None, None
    try:
        return parse(data), None
    except AcpiError as error:
        reader.gap(path, GapKind.BROKEN, str(error))
        return None, str(error)


def _read_dmi(reader: Reader, *names: str) -> str | None:
    return " ".join(filter(None, (reader.value(f"{DMI}/{name}") for name in names))) or None
