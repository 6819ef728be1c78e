"""Reads how a firmware with ACPI describes the machine: its tables, and the names in DMI."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

from sdeictl.formats.acpi import AcpiError, parse_agdi, parse_fadt, parse_hest, parse_length, parse_madt
from sdeictl.formats.acpidump import MAX_DUMP_BYTES, parse_acpidump
from sdeictl.host.gap import GapKind
from sdeictl.host.paths import ACPI_TABLES, DMI
from sdeictl.host.reader import Reader
from sdeictl.probe.facts import HostFacts
from sdeictl.probe.kept import Kept

ACPIDUMP = "/acpidump.txt"
"""Where a captured tree may have the text of acpidump(8)."""

CODE = r"DSDT|SSDT\d{0,3}"
"""The names of the tables with AML."""

DMI_NAMES = ("sys_vendor", "product_name", "bios_vendor", "bios_version", "bios_date")
"""The machine and its firmware."""
NOT_ALL_TABLES = "not all of the tables DSDT and SSDT can be read"
"""Why the idle states are unknown, a clause."""

T = TypeVar("T")


class Tables:
    """The ACPI tables of a host, by their signatures."""

    def __init__(self, reader: Reader, dump: dict[str, bytes] | None = None) -> None:
        self._reader = reader
        self._dump = dump
        self.names = tuple(sorted(dump)) if dump is not None else reader.listing(ACPI_TABLES) or ()

    def read(self, signature: str) -> bytes | None:
        """Return a table; None if it does not exist, and with a gap if it cannot be read."""
        if signature not in self.names:
            return None
        if self._dump is not None:
            return self._dump[signature]
        return self._reader.attempt(f"{ACPI_TABLES}/{signature}", self._reader.root.read)

    def parse(self, signature: str, parse: Callable[[bytes], T]) -> tuple[T | None, str | None]:
        """Return a parsed table, or else the problem with it; (None, None) if it is absent or denied."""
        data = self.read(signature)
        if data is None:
            return None, None
        try:
            return parse(data), None
        except AcpiError as error:
            self._reader.gap(f"{ACPI_TABLES}/{signature}", GapKind.BROKEN, str(error))
            return None, str(error)


def dumped_tables(reader: Reader) -> Tables | None:
    """Return the tables in the text of acpidump that a captured tree may have instead of the tables."""
    data = None if reader.root.live else reader.optional(ACPIDUMP, reader.root.read)
    if data is None:
        return None
    tables = parse_acpidump(data[:MAX_DUMP_BYTES].decode("ascii", "replace"))
    if not tables:
        reader.gap(ACPIDUMP, GapKind.BROKEN, "it contains no table: it is not the text that acpidump prints")
        return None
    return Tables(reader, tables)


def with_acpi(reader: Reader, facts: HostFacts, tables: Tables, kept: Kept) -> HostFacts:
    """Return the facts with those in the ACPI tables and in DMI added."""
    _, broken = tables.parse("SDEI", lambda data: parse_length(data, "SDEI"))
    return _with_lpi(facts, tables, kept)._replace(
        tables="acpi",
        acpi_tables=tables.names,
        acpi_sdei_broken=broken,
        fadt=tables.parse("FACP", parse_fadt)[0],
        madt=tables.parse("APIC", parse_madt)[0],
        hest=tables.parse("HEST", parse_hest)[0],
        agdi=tables.parse("AGDI", parse_agdi)[0],
        model=_read_dmi(reader, *DMI_NAMES[:2]),
        firmware=_read_dmi(reader, *DMI_NAMES[2:]),
    )


def _with_lpi(facts: HostFacts, tables: Tables, kept: Kept) -> HostFacts:
    """Return the facts with the idle states that the tables describe, if they do so alike for every CPU."""
    if not (facts.idle_states and facts.idle_states.states):
        return facts
    # Few hosts have idle states in use that need these.
    from sdeictl.formats.aml import MAX_CODE_BYTES, Unknown  # noqa: PLC0415
    from sdeictl.formats.lpi import TOO_MUCH_CODE, read_lpi  # noqa: PLC0415

    names = [name for name in tables.names if re.fullmatch(CODE, name, re.ASCII)]
    code: list[bytes] = []
    for name in sorted(names):
        data = tables.read(name)
        if data is None:
            return facts._replace(lpi_unknown=NOT_ALL_TABLES)
        code.append(data)
        if sum(map(len, code)) > MAX_CODE_BYTES:
            return facts._replace(lpi_unknown=TOO_MUCH_CODE)
    if not code:
        return facts._replace(lpi_unknown=NOT_ALL_TABLES)
    if kept.lpi is not None:
        known, why = (None, kept.lpi) if isinstance(kept.lpi, str) else (kept.lpi, "")
        return facts._replace(lpi=known, lpi_unknown=why)
    found = set(read_lpi(code).values())
    unknown = sorted(states.why for states in found if isinstance(states, Unknown))
    if unknown:
        return facts._replace(lpi_unknown=unknown[0])
    if len(found) != 1:
        why = "the CPUs have different states" if found else "no table has _LPI"
        return facts._replace(lpi_unknown=why)
    (states,) = (states for states in found if not isinstance(states, Unknown))
    return facts._replace(lpi=states)


def _read_dmi(reader: Reader, *names: str) -> str | None:
    return " ".join(filter(None, (reader.value(f"{DMI}/{name}") for name in names))) or None
