"""/proc/interrupts: kernel/irq/proc.c, arch/arm64/kernel/smp.c (Linux 7.3). No I/O."""

import re

BACKTRACE_ROW = "CPU backtrace interrupts"
TIMER_ROW = "arch_timer"

_COLUMN = re.compile(r"CPU(\d{1,4})", re.ASCII)
_ROW = re.compile(r"\s*\S+:((?:\s+\d+)+)\s+(\S.*)", re.ASCII)


def parse_interrupts(text: str, row: str) -> dict[int, int] | None:
    """Return the counts, by CPU, of the rows whose text ends with `row`; None if there is no such row.

    Rows are found by their text: their numbers differ between kernels. The
    columns are the CPUs that were online.
    """
    header, _, rest = text.partition("\n")
    cpus = [int(number) for number in _COLUMN.findall(header)]
    found: dict[int, int] | None = None
    for line in rest.splitlines():
        match = _ROW.match(line)
        if not match or not match[2].endswith(row):
            continue
        counts = [int(count) for count in match[1].split()]
        if len(counts) != len(cpus):
            continue  # a line that was cut
        found = found or dict.fromkeys(cpus, 0)
        for cpu, count in zip(cpus, counts, strict=True):
            found[cpu] += count
    return found
