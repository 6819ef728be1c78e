"""How much of a log is read and kept, so that a log of any shape costs bounded time and memory. No I/O."""

from __future__ import annotations

MAX_LINES = 10_000_000
"""So many lines of all files together are read, 700 MiB of a usual log. A long line counts as several."""
MAX_KEPT_BYTES = 128 << 20
"""So much memory the requests, their answers and the reports of a log may take."""
_LINE_CHARACTERS = 100
_SKIPPED_CHARACTERS = 400
"""Blank lines, and characters that are left out, cost only their decoding."""
_LONG_LINE = 4000
_SLOW = 24
"""How many times as long a line takes that is very long, or in which the format of the log is looked for."""
_RECORD_BYTES = 1000
_FRAME_BYTES = 60
_NAME_BYTES = 200
_CPU_BYTES = 8


class LineBudget:
    """How many lines may still be read. The files of a log share it."""

    def __init__(self, lines: int = MAX_LINES) -> None:
        self._left = lines

    def is_spent(self) -> bool:
        """Tell whether nothing more may be read."""
        return self._left < 0

    def take(self, lines: int, characters: int) -> None:
        """Note that lines were read."""
        cost = max(lines, characters // _LINE_CHARACTERS)
        self._left -= cost * _SLOW if characters > lines * _LONG_LINE else cost

    def take_sample(self, lines: int, characters: int) -> None:
        """Note that lines were read which do not show the format of the log."""
        self._left -= max(lines, characters // _LINE_CHARACTERS) * (_SLOW - 1)

    def take_again(self, lines: int) -> None:
        """Note that lines needed care: one by one they take twice as long as in columns."""
        self._left -= lines

    def skip(self, characters: int) -> None:
        """Note that blank lines were read, or characters that are left out."""
        self._left -= characters // _SKIPPED_CHARACTERS


class KeepBudget:
    """How much of a log may still be kept. A stranger's log can name 4,095 CPUs in each line."""

    def __init__(self, limit: int = MAX_KEPT_BYTES) -> None:
        self._left = limit
        self._names: dict[str, str] = {}
        self.ended_at: int | None = None
        """The place of the first record that was left out; None if none was."""

    def ends_before(self, place: int) -> bool:
        """Tell whether the log ends before the record at a place, because nothing more may be kept."""
        if self._left < 0 and self.ended_at is None:
            self.ended_at = place
        return self.ended_at is not None

    def keep_record(self, text: str) -> None:
        """Note that a request, an answer or a report was kept."""
        self._left -= _RECORD_BYTES + len(text)

    def keep_cpus(self, count: int) -> None:
        """Note that a list of CPUs was kept."""
        self._left -= count * _CPU_BYTES

    def keep_frame(self, name: str) -> str:
        """Return the name of a function on a stack, which is kept once for all stacks."""
        self._left -= _FRAME_BYTES
        if name not in self._names:
            self._left -= _NAME_BYTES + len(name)
        return self._names.setdefault(name, name)
