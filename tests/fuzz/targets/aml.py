"""AML and _LPI: what is unknown has a reason that a capture may carry, and numbers are in their bounds."""

from __future__ import annotations

from collections.abc import Iterator

from sdeictl.formats.acpi import HEADER
from sdeictl.formats.aml import Unknown
from sdeictl.formats.lpi import LpiState, is_known_reason, read_lpi
from tests.fuzz.harness import Target
from tests.fuzz.hosts import acpi_code
from tests.test_idle import state, table

MOST_STATES = 64


def seeds() -> Iterator[bytes]:
    made = (table(), table(state("LPI-1", 2, 3), state("off", 5, 1, enabled=0)))
    yield from (each[HEADER.size :] for each in (*acpi_code(), *made))


def check(data: bytes) -> None:
    """An input is the terms of a DSDT. After four bytes 0xFF the terms of an SSDT follow."""
    tables = [bytes(HEADER.size) + terms for terms in data.split(b"\xff" * 4)]
    for path, found in read_lpi(tables).items():
        assert path.isprintable()
        if isinstance(found, Unknown):
            assert is_known_reason(found.why), found.why
            continue
        assert len(found) <= MOST_STATES
        for one in found:
            check_state(one)


def check_state(one: LpiState) -> None:
    assert isinstance(one.name, str)
    assert 0 <= one.residency < 1 << 32
    assert 0 <= one.latency < 1 << 48
    assert 0 <= one.context_lost < 1 << 32
    assert 1 <= one.number <= MOST_STATES


TARGET = Target(check, seeds, (read_lpi,), ("_LPI", "\\_SB_", "CPU0", "LPI-0"), 3000)
