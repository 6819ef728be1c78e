"""/proc/interrupts: kernel/irq/proc.c, arch/arm64/kernel/smp.c (Linux 7.3). No I/O."""

from __future__ import annotations

import re
from itertools import takewhile

from sdeictl.text import NamedTuple, lines_of

BACKTRACE_ROW = "CPU backtrace interrupts"
"""The row of IPI_CPU_BACKTRACE, by which a backtrace request reaches a CPU without SDEI."""
STOP_ROW = "CPU stop NMIs"
"""The row of IPI_CPU_STOP_NMI, the second rung of the stop ladder, from Linux 6.12 on."""
BROADCAST_ROW = "Timer broadcast interrupts"
"""The row of IPI_TIMER: a CPU whose own timer stops in its idle state is woken by another."""
TIMER_ROW = "arch_timer"

MAX_LINE_BYTES = 128 << 10
"""Limit for a line; a row of 4,096 CPUs has 46 KiB. A longer one is not a line of this file."""
_COLUMN = r"CPU(\d{1,4})"
_MAX_DIGITS = 20


class Interrupts(NamedTuple):
    """The facts in /proc/interrupts other than its counts."""

    gic: str | None
    """The name of the interrupt controller: `GICv3`, `GICv2`, ..."""
    cpus: int | None
    """The number of columns: one for each CPU that is online."""
    backtrace_row: bool
    """The row BACKTRACE_ROW exists: the kernel can ask for backtraces by IPI."""
    broadcasts: int | None = None
    """How often a CPU was woken by a timer of another one, BROADCAST_ROW; None without such a row."""
    stop_row: bool = False
    """The row STOP_ROW exists: the kernel can stop CPUs by pseudo-NMI."""


def parse_interrupts(text: str, row: str) -> dict[int, int] | None:
    """Return the count of each online CPU in the rows with a text that ends with `row`; None without one.

    The text identifies a row, because its number differs between kernels. Several such rows are summed.
    """
    header, _, rest = text.partition("\n")
    cpus = [int(number) for number in re.findall(_COLUMN, header[:MAX_LINE_BYTES], re.ASCII)]
    found: dict[int, int] | None = None
    for line in lines_of(rest):
        if not line.rstrip().endswith(row) or len(line) > MAX_LINE_BYTES:
            continue
        counts = counts_of_row(line)
        if len(counts) != len(cpus):
            continue  # the line was cut short
        found = found or dict.fromkeys(cpus, 0)
        for cpu, count in zip(cpus, counts):
            found[cpu] += count
    return found


def counts_of_row(line: str) -> list[int]:
    """Return the counts of a row, which stand between its label and its text; [] if it is no row."""
    label, *words = line.split() or [""]
    return [int(word) for word in takewhile(_is_count, words)] if label.endswith(":") else []


def _is_count(word: str) -> bool:
    return word.isascii() and word.isdigit() and len(word) <= _MAX_DIGITS
