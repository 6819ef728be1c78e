"""What a log shows about its kernel: the architecture, the release, the CPU that panicked. No I/O."""

from __future__ import annotations

import re

from sdeictl.klog.messages import architecture, backtrace, stop
from sdeictl.klog.records import Record

STOPPER_LINES = 3
"""A panicking CPU prints its number within so many lines after the panic."""
SAYS_TIMEOUTS = (7, 2)
"""The first release that is known to print a line when it stops waiting for answers."""
LISTS_EXACTLY = (6, 12)
"""From this release on arm64 lists only CPUs that it could not stop (arch/arm64/kernel/smp.c)."""


class Kernel:
    """The kernel of one boot, as its lines show it."""

    def __init__(self, release: str | None) -> None:
        self.release = release
        self.architectures: set[str] = set()
        """Every architecture that a line shows; more than one in a damaged log."""
        self.prints_pmr = False
        """It prints the priority mask: it uses pseudo-NMI."""
        self.stopper: int | None = None
        """The CPU that panicked, so it stops the others; None if unknown."""
        self._oops: Record | None = None
        self._oops_cpu: int | None = None
        self._panic: Record | None = None

    def read(self, record: Record) -> None:
        """Take a line that no rule of the analysis knows."""
        text = record.text
        if evidence := architecture.architecture_of_line(text):
            self.architectures.add(evidence)
        self.prints_pmr = self.prints_pmr or backtrace.PRIORITY_MASK.match(text) is not None
        cpu_line = backtrace.CPU_LINE.match(text)
        if cpu_line and self.release is None:
            self.release = architecture.release_of_line(text)
        if text.startswith(architecture.RELEASE_LINE) and (
            built := architecture.architecture_of_compiler(text)
        ):
            self.architectures.add(built)
        if text.startswith(stop.OOPS):
            self._oops, self._oops_cpu = record, None
        if cpu_line and _is_soon_after(record, self._oops) and self._oops_cpu is None:
            self._oops_cpu = int(cpu_line[1])
        if cpu_line and _is_soon_after(record, self._panic) and self.stopper is None:
            self.stopper = int(cpu_line[1])

    def panics(self, record: Record) -> None:
        """Take the line of a panic."""
        self.stopper, self._panic = logging_cpu(record), record
        # The panic of an oops prints no further line with the CPU (panic() in kernel/panic.c).
        if self.stopper is None and stop.AFTER_OOPS in record.text:
            self.stopper = self._oops_cpu

    def says_timeouts(self) -> bool:
        """Tell whether it surely prints a line when it stops waiting for answers."""
        return self._is_since(SAYS_TIMEOUTS)

    def lists_exactly(self) -> bool:
        """Tell whether it surely lists only CPUs that it could not stop."""
        return self._is_since(LISTS_EXACTLY) and self.all_architectures() <= {"arm64"}

    def all_architectures(self) -> set[str]:
        """Return the architectures that its lines and its release show."""
        named = architecture.architecture_of_release(self.release or "")
        return self.architectures | ({named} if named else set())

    def _is_since(self, release: tuple[int, int]) -> bool:
        found = re.match(r"(\d{1,5})\.(\d{1,5})", self.release or "", re.ASCII)
        return found is not None and (int(found[1]), int(found[2])) >= release


def _is_soon_after(record: Record, start: Record | None) -> bool:
    """Tell whether the code that logged one record logged another one right after it."""
    return start is not None and record.caller == start.caller and record.place <= start.place + STOPPER_LINES


def logging_cpu(record: Record) -> int | None:
    """Return the CPU that logged a record outside a task (CONFIG_PRINTK_CALLER); None if unknown."""
    caller = record.caller or ""
    return int(caller[1:]) if caller.startswith("C") else None
