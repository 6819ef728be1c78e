"""The records of a kernel log, independent of the format of the log. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat

from sdeictl.text import NamedTuple


class Record(NamedTuple):
    """One line of kernel text, with its boot."""

    text: str
    at: float | None
    """Seconds since that boot; None if the log has no times."""
    boot: int = 0
    """0 for the first boot in the log, 1 for the second, and so on."""
    caller: str | None = None
    """`T<pid>` or `C<cpu>` of the kernel code that logged it; None without CONFIG_PRINTK_CALLER."""
    lost_before: int = 0
    """How many records are known to be missing right before this one."""
    file: int = 0
    """0 for the first file of the log, 1 for the second, and so on."""
    place: int = 0
    """Its place among all records of the log, from 0."""


class KernelLog(NamedTuple):
    """All kernel records of a log in their order, without quotations."""

    records: tuple[Record, ...]
    lost: int
    """How many records are known to be missing: sequence gaps, and lines that a console dropped."""
    relayed: bool = False
    """The log came through syslog or the journal, which may have lost records without a trace."""
    notes: tuple[str, ...] = ()
    """What limits what the log can show, as sentences."""
    unread: str | None = None
    """Why the records of the latest boot are not known, a clause; None if they are."""

    def last_boot(self) -> tuple[Record, ...]:
        """Return the records of the latest boot in the log."""
        if not self.records:
            return ()
        latest = self.records[-1].boot
        return tuple(record for record in self.records if record.boot == latest)


class Run(NamedTuple):
    """Lines of kernel text with times, as columns of equal length: whole columns are compared fast."""

    stamps: Sequence[str]
    """What tells a line from others with the same text: see Line."""
    times: Sequence[float]
    """Seconds since the boot."""
    texts: Sequence[str]
    callers: Sequence[str]
    """Empty without CONFIG_PRINTK_CALLER."""
    sequences: Sequence[int] | None = None
    """The sequence numbers in /dev/kmsg; None in other formats."""

    def part(self, start: int, end: int) -> Run:
        """Return the lines from one place up to another."""
        part = slice(start, end)
        sequences = self.sequences[part] if self.sequences else None
        return Run(self.stamps[part], self.times[part], self.texts[part], self.callers[part], sequences)

    def lines(self) -> list[Line]:
        """Return the lines one by one."""
        sequences = self.sequences or repeat(None)
        columns = zip(self.stamps, self.times, self.texts, self.callers, sequences)
        return [
            Line(text, stamp, at, caller or None, sequence=sequence)
            for stamp, at, text, caller, sequence in columns
        ]


class Line(NamedTuple):
    """One line of kernel text as a parser reads it, before quotations are left out."""

    text: str
    stamp: str | None
    """The time as text. Two lines can be the same record only if it is equal."""
    at: float | None
    """Seconds since the boot; None if the log has no times."""
    caller: str | None = None
    lost_before: int = 0
    sequence: int | None = None
    """The sequence number in /dev/kmsg, which tells records apart; None in other formats."""
    begins_boot: bool = False
    """The line is a mark between two boots, as `journalctl` prints it."""
