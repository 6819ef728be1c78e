"""Remembers which of the latest lines of a log were read, in bounded memory. No I/O."""

from __future__ import annotations

from collections.abc import Sequence

SURE_LINES = 200_000
"""At least so many of the latest lines are remembered."""
_PART_LINES = 50_000


class SeenLines:
    """The latest lines of this boot and of the previous one, by their hashes.

    Two different lines have equal hashes once in 10^14 lookups.
    """

    def __init__(self) -> None:
        self._boot = 0
        self._parts: list[tuple[int, set[int]]] = [(0, set())]
        """(boot, lines), the latest part last. The oldest part is forgotten as a whole."""
        self._forgot_in = -2
        """The number of the latest boot that lost lines here."""

    def __contains__(self, key: int) -> bool:
        return any(key in part for _boot, part in self._parts)

    def has_none(self, keys: Sequence[int], *, later: bool) -> bool:
        """Tell whether these lines are all different, and none was read.

        `later`: this boot has no line with such a late time, so it cannot have these lines.
        """
        parts = [part for boot, part in self._parts if boot != self._boot or not later]
        return len(set(keys)) == len(keys) and all(part.isdisjoint(keys) for part in parts)

    def add(self, *keys: int) -> None:
        """Remember lines of this boot."""
        self._parts[-1][1].update(keys)
        if len(self._parts[-1][1]) >= _PART_LINES:
            self._parts.append((self._boot, set()))
            if sum(len(part) for _boot, part in self._parts[1:]) >= SURE_LINES:
                self._forgot_in = self._parts.pop(0)[0]

    def begin_boot(self) -> None:
        """Forget the previous boot: this one is the previous boot now."""
        previous, self._boot = self._boot, self._boot + 1
        self._parts = [(boot, part) for boot, part in self._parts if boot == previous and part]
        self._parts.append((self._boot, set()))

    def forgot(self) -> bool:
        """Tell whether lines of this boot or of the previous one were forgotten."""
        return self._forgot_in >= self._boot - 1

    def is_empty(self) -> bool:
        """Tell whether this boot has no line yet."""
        return not any(part for boot, part in self._parts if boot == self._boot)
