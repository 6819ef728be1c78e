"""A byte of /proc/kcore, and the address of a symbol in /proc/kallsyms: OSError at most."""

from __future__ import annotations

import io
from collections.abc import Iterator

from sdeictl.host.gap import GapKind
from sdeictl.host.reader import Reader
from sdeictl.probe.deep import _address_of, byte_at
from sdeictl.probe.kernel import FLAG
from tests.fuzz.harness import Target
from tests.fuzz.hosts import MemoryRoot
from tests.fuzz.shapes import Dice, patched
from tests.support.core_builder import elf_core
from tests.test_vmcore import STOPPED

BASE = elf_core(STOPPED)[:2000]
ADDRESSES = (0, 1, 0xFFFF800080000000, (1 << 64) - 1)


def seeds() -> Iterator[bytes]:
    for at in (4, 5, 16, 32, 54, 56, 58, 64, 72, 80, 96):
        yield bytes([0, at % 4, 2, at, 0, 2, 0xFF, 0xFF])
    yield b"\1" + f"ffff800081000000 b {FLAG}\n".encode()
    yield b"\1" + f"0000000000000000 b {FLAG}\n".encode()


def check(data: bytes) -> None:
    dice = Dice(data)
    if dice.number(2):
        reader = Reader(MemoryRoot({}))
        address = _address_of(reader, dice.rest(), FLAG, "/proc/kcore")
        assert address is None or 0 < address < 1 << 64
        assert all(gap.kind is GapKind.DENIED for gap in reader.gaps)
        return
    address = dice.pick(ADDRESSES)
    try:
        assert 0 <= byte_at(io.BytesIO(patched(BASE, dice)), address) < 256
    except OSError as error:
        assert error.strerror


TARGET = Target(check, seeds, (byte_at,), (FLAG,), 512)
