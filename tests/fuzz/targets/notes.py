"""ELF notes and VMCOREINFO: notes only within the data, registers within their bounds."""

from __future__ import annotations

from collections.abc import Iterator

from sdeictl.vmcore.notes import parse_notes, parse_registers
from sdeictl.vmcore.vmcoreinfo import find_vmcoreinfo
from tests.fuzz.harness import Target
from tests.support.core_builder import FakeCpu, note, prstatus

KEYS = (
    "NUMBER(VA_BITS)",
    "SYMBOL(_stext)",
    "OFFSET(printk_info.seq)",
    "SIZE(prb_desc)",
    "CRASHTIME",
    "PAGESIZE",
)


def seeds() -> Iterator[bytes]:
    info = "".join(f"{key}=48\n" for key in KEYS).encode() + b"OSRELEASE=7.3.4\nCRASHTIME=-1\nNUMBER(x)=0xf\n"
    yield prstatus(FakeCpu(4096)) + note(b"VMCOREINFO\0", 0, info)
    yield note(b"VMCOREINFO\0", 0, b"CRASHTIME=" + b"9" * 5000 + b"\n")


def check(data: bytes) -> None:
    notes = list(parse_notes(data))
    assert sum(12 + len(each.data) for each in notes) <= len(data)
    cut = list(parse_notes(data[: len(data) // 2]))
    assert notes[: len(cut)] == cut, "a cut changes a whole note"
    for each in notes:
        registers = parse_registers(each)
        if registers:
            assert all(0 <= value < 1 << 64 for value in (registers.pc, registers.sp, registers.pstate))
            assert isinstance(registers.user, bool)
    info = find_vmcoreinfo(notes)
    for key in (*KEYS, *info.fields):
        assert isinstance(info.find(key), (int, type(None)))
    assert info.crash_time is None or info.crash_time >= 0


TARGET = Target(
    check, seeds, (parse_notes, parse_registers, find_vmcoreinfo), ("VMCOREINFO", *KEYS, "=0x"), 8192
)
