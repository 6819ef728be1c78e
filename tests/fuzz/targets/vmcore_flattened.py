"""Flattened dumps of `makedumpfile -F`: a damaged stream raises CoreError."""

from __future__ import annotations

from collections.abc import Iterator

from sdeictl.vmcore.flattened import FlattenedFile
from tests.fuzz.harness import Target
from tests.fuzz.shapes import Dice, patched
from tests.fuzz.targets.vmcore_elf import check_dump
from tests.fuzz.targets.vmcore_kdump import BASES as KDUMP_BASES
from tests.support.core_builder import flattened

BASES = tuple(flattened(base, piece=piece) for base in KDUMP_BASES for piece in (1000, 1 << 16))


def seeds() -> Iterator[bytes]:
    for base in range(len(BASES)):
        yield bytes([base])
        for at in (4096, 4100, 4104, 4108, 4112, 5112, 5120):
            yield bytes([base, 2, at & 0xFF, at >> 8, 0, 4]) + b"\xff\xff\0\0"


def check(data: bytes) -> None:
    dice = Dice(data)
    check_dump(patched(dice.pick(BASES), dice))


TARGET = Target(check, seeds, (FlattenedFile.read,), (), 512)
