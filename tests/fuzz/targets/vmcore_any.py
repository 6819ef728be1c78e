"""Any bytes as a dump: CoreError at most. Flattened dumps, programs and texts are such bytes."""

from __future__ import annotations

from collections.abc import Iterator

from sdeictl.vmcore.open import open_core
from tests.fuzz.harness import Target
from tests.fuzz.targets.vmcore_elf import BASE, check_dump
from tests.fuzz.targets.vmcore_kdump import BASES


def seeds() -> Iterator[bytes]:
    yield BASE[:600]
    yield BASES[0][:500]
    yield b"makedumpfile\0\0\0\0" + bytes(8) + (1).to_bytes(8, "big")
    yield b"\x7fELF\1\2\1" + bytes(60)


def check(data: bytes) -> None:
    check_dump(data)


TARGET = Target(check, seeds, (open_core,), ("makedumpfile", "KDUMP   ", "\x7fELF"), 4096)
