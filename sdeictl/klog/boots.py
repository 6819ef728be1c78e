"""Numbers the boots of a log, and leaves out quotations: lines that were already read. No I/O."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from operator import sub

from sdeictl.klog.messages.boot import BOOTING
from sdeictl.klog.records import Line, Record, Run
from sdeictl.klog.seen import SeenLines

BOOT_FALLBACK_SECONDS = 0.010
"""A boot begins where the time of a new line falls back by more than this; CPU clocks differ by less."""
DAMAGED_LINES = 8
"""How many damaged lines in a row can be part of a quotation."""
MAX_EARLY_LINES = 20_000
MAX_EARLY_CHARACTERS = 8 << 20
"""So much of the first 10 ms waits for a later line. Only a host whose clock stands still prints more."""
MAX_MARKED = 50_000
"""So many boots at least are in two of the pieces in which a log is read."""
CONTINUES = frozenset(" \t[0123456789")
"""A line that begins so continues an earlier one: a stack, or an RCU stall."""


class Boots:
    """Turns the lines of a log into its records, in pieces of any size.

    A line is a quotation if the same text with the same time was read in this boot or in the previous one.
    The lines of the first 10 ms cannot be recognised by their times: most have 0.000000, and the next few
    can repeat to the microsecond. They are quotations if the next later line is one. A mark between two boots
    changes that: all lines after it are records, unless that later line is a quotation.
    """

    def __init__(self, beginnings: frozenset[str] | None = None, *, several_files: bool = False) -> None:
        self._beginnings = beginnings
        """The first three characters of the records that are wanted; None if all are."""
        self._several_files = several_files
        """A record of /dev/kmsg may also be in another format in another file."""
        self.file = 0
        """The number of the file that is read."""
        self.count = 0
        """How many records were read."""
        self.restarts = 0
        """How many boots began without a first line: the time fell back."""
        self.forgot_lines = False
        """A boot began, and its lines may repeat lines that were forgotten."""
        self.marked: set[int] = set()
        """The numbers of the latest boots that began with a mark, as journalctl prints it."""
        self._boot = 0
        self._latest = 0.0
        self._seen = SeenLines()
        self._quoted_file: int | None = None
        """The latest lines are a quotation in this file."""
        self._lost = 0
        """Records lost before a line that was left out."""
        self._early: list[Line] = []
        """Lines of the first 10 ms; the next later line decides about them."""
        self._after_mark = False
        """No later line has come since a mark between two boots."""
        self._early_characters = 0
        self._held: list[Line] = []
        """Lines that wait for the lines after them."""

    def read(self, lines: Sequence[Line], *, last: bool = False) -> Iterator[Record]:
        """Yield the records in the next lines; `last` says that no more follow."""
        lines = [*self._held, *lines]
        self._held = []
        for index, line in enumerate(lines):
            following = lines[index + 1 : index + 1 + DAMAGED_LINES] if self._quoted_file is not None else ()
            if self._quoted_file is not None and len(following) < DAMAGED_LINES and not last:
                self._held = lines[index:]
                return
            yield from self._read_line(line, following)
        if last:
            yield from map(self._keep, self._unseen_early())
            self._early = []

    def read_run(self, run: Run) -> list[Record] | None:
        """Return the wanted records in lines that need no care: none is a quotation, and no boot begins.

        Returns None if some of them need care.
        """
        times, first_time = run.times, min(run.times)
        if self._early or self._held or self._lost or first_time < BOOT_FALLBACK_SECONDS:
            return None
        fallback = _fallback([self._latest, *times])
        if fallback > (BOOT_FALLBACK_SECONDS if self._quoted_file is None else 0):
            return None
        later = first_time > self._latest
        keys = _keys_of_run(run)
        if not self._seen.has_none(keys, later=later):
            return None
        if self._several_files:
            lines = run.lines()
            if not self._seen.has_none(list(map(_key_elsewhere, lines)), later=later):
                return None
            self._seen.add(*map(_mark, lines))
        self._seen.add(*keys)
        self._quoted_file, self._latest, self._after_mark = None, max(self._latest, *times), False
        first, self.count = self.count, self.count + len(keys)
        return [
            Record(run.texts[at], times[at], self._boot, run.callers[at] or None, 0, self.file, first + at)
            for at in self._wanted(run.texts)
        ]

    def _wanted(self, texts: Sequence[str]) -> Sequence[int]:
        """Return the places of the wanted lines. The first and the last are: they show where the log goes."""
        begins, last = self._beginnings, len(texts) - 1
        if begins is None:
            return range(len(texts))
        return [
            at
            for at, text in enumerate(texts)
            if text[:3] in begins or text[:1] in CONTINUES or at == last or not at
        ]

    def _read_line(self, line: Line, following: Sequence[Line]) -> Iterator[Record]:
        if line.begins_boot:
            yield from map(self._keep, self._unseen_early())
            self._early = []
            if not self._seen.is_empty():
                self._begin_boot()
                self._note_mark()
            self._after_mark = True
            return
        if line.at is not None and line.at < BOOT_FALLBACK_SECONDS:
            if line.text.startswith(BOOTING):
                # Earlier lines belong to another boot.
                self._early = self._unseen_early()
            self._early.append(line)
            self._early_characters += len(line.text)
            if len(self._early) > MAX_EARLY_LINES or self._early_characters > MAX_EARLY_CHARACTERS:
                yield from self._keep_early()
            return
        early, self._early, self._early_characters = self._early, [], 0
        after_mark, self._after_mark = self._after_mark, False
        boot = self._boot
        if line.at is None and line.text.startswith(BOOTING) and not self._seen.is_empty():
            self._begin_boot()
        if line.at is None or self._is_new(line, line.at, following, early):
            yield from map(self._keep, early if after_mark or self._boot > boot else self._unseen(early))
            yield self._keep(line)
        else:
            self._lost += line.lost_before

    def _note_mark(self) -> None:
        self.marked.add(self._boot)
        if len(self.marked) > MAX_MARKED:
            self.marked = {boot for boot in self.marked if boot > self._boot - MAX_MARKED // 2}

    def _keep_early(self) -> Iterator[Record]:
        """Yield lines of the first 10 ms, too many to wait: they begin a boot if one of them is new."""
        early, unseen = self._early, self._unseen_early()
        self._early, self._early_characters = [], 0
        if unseen and self._latest >= BOOT_FALLBACK_SECONDS:
            self._begin_boot()
            self.restarts += not any(line.text.startswith(BOOTING) for line in early)
            unseen = early
        yield from map(self._keep, unseen)

    def _unseen_early(self) -> list[Line]:
        """Return which of the waiting lines are records, where no later line decides about them."""
        unseen = self._unseen(self._early)
        return self._early if unseen and self._after_mark else unseen

    def _unseen(self, lines: Sequence[Line]) -> list[Line]:
        return [line for line in lines if not self._is_quoted(line)]

    def _is_quoted(self, line: Line) -> bool:
        return _key(line) in self._seen or (self._several_files and _key_elsewhere(line) in self._seen)

    def _is_new(self, line: Line, at: float, following: Sequence[Line], early: Sequence[Line]) -> bool:
        """Tell whether a line is not a quotation; begin a boot if its time falls back."""
        if self._is_quoted(line):
            self._quoted_file = self.file
            return False
        quoting = at < self._latest and self._quoted_file is not None
        if quoting and any(map(self._is_quoted, following)):
            # The quotation contains this line too: serial noise changed its text. But another file can hold
            # a line that the first one lacks.
            return self.file > 0
        if at < self._latest - BOOT_FALLBACK_SECONDS:
            self._begin_boot()
            if not any(first.text.startswith(BOOTING) for first in early):
                self.restarts += 1
                self.forgot_lines = self.forgot_lines or self._seen.forgot()
        self._quoted_file = None
        self._latest = max(self._latest, at)
        return True

    def _begin_boot(self) -> None:
        self._boot += 1
        self._latest = 0.0
        self._seen.begin_boot()

    def _keep(self, line: Line) -> Record:
        self._seen.add(_key(line))
        if self._several_files:
            self._seen.add(_mark(line))
        lost, self._lost = self._lost + line.lost_before, 0
        self.count += 1
        return Record(line.text, line.at, self._boot, line.caller, lost, self.file, self.count - 1)


def _fallback(times: list[float]) -> float:
    """Return by how much a time falls back behind the latest one before it, at most."""
    if times == sorted(times):
        return 0.0
    behind: Iterator[float] = map(sub, accumulate(times, max), times)
    return max(behind)


def _key(line: Line) -> int:
    """Return what two copies of a line have in common. Two records of /dev/kmsg differ by their numbers."""
    if line.sequence is None:
        return hash((line.stamp, line.text))
    return hash((line.stamp, line.text, line.sequence))


def _keys_of_run(run: Run) -> list[int]:
    if run.sequences is None:
        return list(map(hash, zip(run.stamps, run.texts)))
    return list(map(hash, zip(run.stamps, run.texts, run.sequences)))


def _mark(line: Line) -> int:
    """Return what a line leaves for other files, of /dev/kmsg or of another format."""
    return hash((line.stamp, line.text, "other" if line.sequence is None else "kmsg"))


def _key_elsewhere(line: Line) -> int:
    """Return the mark that the same record leaves in a file of the other kind."""
    return hash((line.stamp, line.text, "kmsg" if line.sequence is None else "other"))
