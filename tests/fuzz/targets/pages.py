"""Pages of a compressed dump by any method: a whole page of the right size, or MissingDataError."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Iterator

from sdeictl.vmcore.compression import decompress
from sdeictl.vmcore.corefile import MissingDataError
from tests.fuzz.harness import Target
from tests.fuzz.shapes import Dice

METHODS = (0, 1, 2, 4, 0x20, 3, 0x40, 0x80000001)
SIZES = (64, 4096)
PAGE = bytes(range(64))


def seeds() -> Iterator[bytes]:
    yield bytes([0, 0]) + PAGE
    yield bytes([1, 0]) + zlib.compress(PAGE)
    yield bytes([1, 1]) + zlib.compress(bytes(5000))
    yield bytes([3, 0, 64, 63 << 2]) + PAGE  # snappy: the length, and one literal of 64 bytes
    yield bytes([4, 0]) + bytes.fromhex("28b52ffd2040010200") + PAGE
    yield bytes([2, 0, 17 + 61]) + PAGE


def check(data: bytes) -> None:
    dice = Dice(data)
    method, size = dice.pick(METHODS), dice.pick(SIZES)
    with contextlib.suppress(MissingDataError):
        assert len(decompress(dice.rest(), method, size)) == size


TARGET = Target(check, seeds, (decompress,), (), 512)
