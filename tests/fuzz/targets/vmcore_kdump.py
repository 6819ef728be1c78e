"""Compressed dumps of makedumpfile and QEMU: a damaged one raises CoreError."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from sdeictl.vmcore.kdump import KdumpCore
from tests.fuzz.harness import Target
from tests.fuzz.shapes import Dice, patched
from tests.fuzz.targets.vmcore_elf import check_dump
from tests.support.core_builder import kdump_core
from tests.test_vmcore import STOPPED

COMPRESSORS: tuple[Callable[[bytes], tuple[bytes, int]] | None, ...] = (None, lambda page: (page, 0))
BASES = tuple(kdump_core(STOPPED, compress) for compress in COMPRESSORS)


def seeds() -> Iterator[bytes]:
    for base in range(len(BASES)):
        yield bytes([base])
        for at in (
            8,
            400,
            424,
            428,
            432,
            436,
            440,
            4096 + 48,
            4096 + 56,
            4096 + 96,
            8192 + 8,
            16384,
            16400,
            20000,
        ):
            yield bytes([base, 2, at & 0xFF, at >> 8, 0, 4]) + b"\xff\xff\0\0"
    yield bytes([1, 0, 0, 96, 0])


def check(data: bytes) -> None:
    dice = Dice(data)
    check_dump(patched(dice.pick(BASES), dice))


TARGET = Target(check, seeds, (KdumpCore.read,), (), 512)
