"""A dump with an edited VMCOREINFO and memory: what it shows of the kernel may be missing, and no more."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from sdeictl.vmcore.core import read_core
from sdeictl.vmcore.corefile import DumpFormat, MissingDataError
from sdeictl.vmcore.kernel_state import read_state
from sdeictl.vmcore.memory import KernelMemory
from sdeictl.vmcore.printk import read_log
from tests.fuzz.harness import Target
from tests.fuzz.shapes import Dice, patched
from tests.fuzz.targets.vmcore_elf import check_core
from tests.support.core_builder import IMAGE_PHYS, build_memory, build_notes, note
from tests.test_vmcore import STOPPED

VALUES = (
    b"0", b"1", b"8", b"47", b"48", b"64", b"-1", b"0x0", b"ffffffffffffffff", b"ffff800080000000", b"4096",
    b"16384", b"99999999999999999999", b"x", b"",
)  # fmt: skip


@cache
def base() -> tuple[dict[int, bytes], list[bytes]]:
    """Return the memory of a kernel, and the lines of its VMCOREINFO."""
    memory, info = build_memory(STOPPED)
    return memory, info.splitlines()


class EditedCore:
    """A dump with this memory, as a CoreFile."""

    format = DumpFormat.ELF
    is_truncated = False

    def __init__(self, memory: dict[int, bytes], notes: bytes) -> None:
        self._memory = memory
        self.notes = notes

    def read(self, address: int, size: int) -> bytes:
        for start, data in self._memory.items():
            if start <= address and address + size <= start + len(data):
                return data[address - start : address - start + size]
        raise MissingDataError


def seeds() -> Iterator[bytes]:
    _memory, lines = base()
    yield from (bytes([1, line, 2 * line % len(VALUES)]) for line in range(len(lines)))
    for at in range(0x2000, 0x6000, 173):
        yield bytes([0, 2, at & 0xFF, at >> 8, 4]) + b"\xff\xff\xff\x01"


def check(data: bytes) -> None:
    """Edits of lines of VMCOREINFO, each after an odd byte; then a patch of the kernel's image."""
    dice = Dice(data)
    memory, lines = base()
    lines = list(lines)
    while dice and dice.number(2):
        line = dice.number(len(lines))
        lines[line] = lines[line].partition(b"=")[0] + b"=" + dice.pick(VALUES)
    memory = {**memory, IMAGE_PHYS: patched(memory[IMAGE_PHYS], dice)}
    notes = build_notes(STOPPED, b"") + note(b"VMCOREINFO\0", 0, b"\n".join(lines) + b"\n")
    check_core(read_core(EditedCore(memory, notes)))


TARGET = Target(check, seeds, (read_core, read_state, read_log, KernelMemory.read), (), 512)
