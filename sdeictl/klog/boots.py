"""Numbers the boots of a log, and leaves out quotations: lines that were already read. No I/O."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sdeictl.klog.messages.boot import BOOTING
from sdeictl.klog.records import Line, Record

BOOT_FALLBACK_SECONDS = 0.010
"""A boot begins where the time of a new line falls back by more than this; CPU clocks differ by less."""
DAMAGED_LINES = 8
"""How many damaged lines in a row can be part of a quotation."""

_Key = tuple["str | None", str, "int | None"]


class Boots:
    """Turns the lines of a log into its records.

    A line is a quotation if the same text with the same time was read in this boot or in the previous one.
    The lines of the first 10 ms cannot be recognised by their times: most have 0.000000, and the next few
    can repeat to the microsecond. They are quotations if the next later line is one.
    """

    def __init__(self, lines: Sequence[Line]) -> None:
        self._lines = lines
        self._boot = 0
        self._latest = 0.0
        self._seen: set[_Key] = set()
        """The lines of this boot."""
        self._seen_before: set[_Key] = set()
        """The lines of the previous boot."""
        self._quoting = False
        """The latest lines are a quotation."""
        self._lost = 0
        """Records lost before a line that was left out."""

    def records(self) -> Iterator[Record]:
        """Yield the records, each with its boot."""
        early: list[Line] = []
        for index, line in enumerate(self._lines):
            if line.at is not None and line.at < BOOT_FALLBACK_SECONDS:
                if line.text.startswith(BOOTING):
                    # Earlier lines belong to another boot.
                    early = self._unseen(early)
                early.append(line)
                continue
            boot = self._boot
            if line.at is None and self._seen and line.text.startswith(BOOTING):
                self._begin_boot()
            if line.at is None or self._is_new(index, line, line.at):
                yield from map(self._keep, early if self._boot > boot else self._unseen(early))
                yield self._keep(line)
            else:
                self._lost += line.lost_before
            early = []
        yield from map(self._keep, self._unseen(early))

    def _unseen(self, lines: Sequence[Line]) -> list[Line]:
        return [line for line in lines if not self._is_quoted(line)]

    def _is_quoted(self, line: Line) -> bool:
        return _key(line) in self._seen or _key(line) in self._seen_before

    def _is_new(self, index: int, line: Line, at: float) -> bool:
        """Tell whether a line is not a quotation; begin a boot if its time falls back."""
        if self._is_quoted(line):
            self._quoting = True
            return False
        if at < self._latest and self._quoting:
            # A quotation that goes on after this line contains it too: serial noise changed its text.
            following = self._lines[index + 1 : index + 1 + DAMAGED_LINES]
            if any(map(self._is_quoted, following)):
                return False
        if at < self._latest - BOOT_FALLBACK_SECONDS:
            self._begin_boot()
        self._quoting = False
        self._latest = max(self._latest, at)
        return True

    def _begin_boot(self) -> None:
        self._boot += 1
        self._latest = 0.0
        self._seen_before, self._seen = self._seen, set()

    def _keep(self, line: Line) -> Record:
        self._seen.add(_key(line))
        lost, self._lost = self._lost + line.lost_before, 0
        return Record(line.text, line.at, self._boot, line.caller, lost)


def _key(line: Line) -> _Key:
    return (line.stamp, line.text, line.sequence)
