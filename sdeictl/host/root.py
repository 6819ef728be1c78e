"""Root: read access to the files of one host, either the running host or a captured one.

Every path is the path on the host. live.py, directory.py, archive.py and recording.py implement it.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable
from typing import Protocol

_LINK_LIMIT = 40
"""The kernel's own limit for one path (MAXSYMLINKS in include/linux/namei.h)."""
MAX_STEPS = 10_000_000
"""So many names in paths are looked at for all paths together: each step looks at those before it again. The
probe of a host with 4,096 CPUs needs 2 million."""


class Root(Protocol):
    """Read access to one host. Every method raises OSError as open(2) would on the host."""

    live: bool
    """The host runs here: the kernel decides about each access now, not at the time of a capture."""

    def read(self, path: str) -> bytes:
        """Return the content of a file."""

    def search(self, path: str, words: Iterable[bytes], ends: bytes) -> frozenset[bytes]:
        """Return the words that occur in a file and are followed by one of the bytes in `ends`.

        For files that are too large to be held in memory.
        """

    def names(self, path: str) -> tuple[str, ...]:
        """Return the sorted names in a directory."""

    def link(self, path: str) -> str:
        """Return the target of a symbolic link."""


class LinkFollower:
    """Follows the symbolic links of a tree, which never lead out of it, in bounded time."""

    def __init__(self, target_of: Callable[[str], str | None]) -> None:
        """`target_of` returns the target of a link, and None for a path that is none."""
        self._target_of = target_of
        self._left = MAX_STEPS

    def follow(self, path: str) -> str:
        """Return an absolute path without links.

        Raises OSError: with ELOOP after 40 links, as the kernel does, with EFBIG after MAX_STEPS.
        """
        todo = _steps(path)
        done: list[str] = []
        followed = 0
        while todo:
            step = todo.pop()
            self._left -= 1 + len(done)
            if self._left < 0:
                raise OSError(errno.EFBIG, "links of this tree lead further than links of a host do", path)
            if step == "..":
                done = done[:-1]
                continue
            target = self._target_of(f"/{'/'.join([*done, step])}")
            if target is None:
                done.append(step)
                continue
            followed += 1
            if followed > _LINK_LIMIT:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            if target.startswith("/"):
                done = []
            todo += _steps(target)
        return f"/{'/'.join(done)}"


def _steps(path: str) -> list[str]:
    """Return the steps of a path in reverse order, so that pop() returns the next one."""
    return [step for step in path.split("/") if step not in ("", ".")][::-1]
