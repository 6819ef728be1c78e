"""/proc/interrupts: kernel/irq/proc.c, arch/arm64/kernel/smp.c (Linux 7.3). No I/O."""

from __future__ import annotations

import re
from typing import NamedTuple

BACKTRACE_ROW = "CPU backtrace interrupts"
"""The row of IPI_CPU_BACKTRACE, by which a backtrace request reaches a CPU without SDEI."""
STOP_ROW = "CPU stop NMIs"
"""The row of IPI_CPU_STOP_NMI, the second rung of the stop ladder, from Linux 6.12 on."""
BROADCAST_ROW = "Timer broadcast interrupts"
"""The row of IPI_TIMER: a CPU whose own timer stops in its idle state is woken by another."""
TIMER_ROW = "arch_timer"

_COLUMN = r"CPU(\d{1,4})"
_ROW = r"\s*\S+:((?:\s+\d+)+)\s+(\S.*)"


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
    cpus = [int(number) for number in re.findall(_COLUMN, header, re.ASCII)]
    found: dict[int, int] | None = None
    for line in rest.splitlines():
        match = re.match(_ROW, line, re.ASCII)
        if not match or not match[2].endswith(row):
            continue
        counts = [int(count) for count in match[1].split()]
        if len(counts) != len(cpus):
            continue  # the line was cut short
        found = found or dict.fromkeys(cpus, 0)
        for cpu, count in zip(cpus, counts):
            found[cpu] += count
    return found
