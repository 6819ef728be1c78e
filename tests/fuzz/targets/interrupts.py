"""/proc/interrupts: counts only from whole rows, and the same facts from what a capture keeps."""

from __future__ import annotations

from collections.abc import Iterator

from sdeictl.formats.interrupts import (
    BACKTRACE_ROW,
    BROADCAST_ROW,
    STOP_ROW,
    TIMER_ROW,
    Interrupts,
    parse_interrupts,
)
from sdeictl.host.paths import INTERRUPTS
from sdeictl.host.reader import Reader
from sdeictl.probe.clean_text import clean_interrupts
from sdeictl.probe.settings import read_interrupts
from tests.fuzz.harness import Target
from tests.fuzz.hosts import MemoryRoot, file_of
from tests.fuzz.shapes import with_long_numbers

ROWS = (BACKTRACE_ROW, BROADCAST_ROW, STOP_ROW, TIMER_ROW)


def seeds() -> Iterator[bytes]:
    yield from with_long_numbers(file[:1500] for file in file_of(INTERRUPTS))
    rows = "".join(f"IPI{number}:  1  2  {row}\n" for number, row in enumerate(ROWS))
    yield f"      CPU0  CPU1\n 11:  7  8  GICv3  27 Level  arch_timer\n{rows}".encode()


def check(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    for row in ROWS:
        counts = parse_interrupts(text, row)
        assert counts is None or all(count >= 0 for count in counts.values())
    facts = read(data)
    assert facts is None or facts.broadcasts is None or facts.broadcasts >= 0
    cleaned = clean_interrupts(data)
    assert read(cleaned) == facts
    assert clean_interrupts(cleaned) == cleaned


def read(data: bytes) -> Interrupts | None:
    return read_interrupts(Reader(MemoryRoot({INTERRUPTS: data})))


TARGET = Target(
    check, seeds, (parse_interrupts, read_interrupts), (*ROWS, "CPU0 ", "  GICv3  27 Level  ", "IPI1: "), 8192
)
