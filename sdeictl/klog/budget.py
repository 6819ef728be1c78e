"""How much of a log is kept, so that a log of any shape costs bounded memory. No I/O."""

from __future__ import annotations

MAX_KEPT_BYTES = 128 << 20
"""So much memory the requests, their answers and the reports of a log may take."""
_RECORD_BYTES = 1000
_FRAME_BYTES = 60
_NAME_BYTES = 200
_CPU_BYTES = 8
_MEMBER_BYTES = 150
"""In a set, and in the episode."""


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

    def keep_members(self, count: int) -> None:
        """Note that CPUs and tasks of a stall were kept."""
        self._left -= count * _MEMBER_BYTES

    def keep_frame(self, name: str) -> str:
        """Return the name of a function on a stack, which is kept once for all stacks."""
        self._left -= _FRAME_BYTES
        if name not in self._names:
            self._left -= _NAME_BYTES + len(name)
        return self._names.setdefault(name, name)
