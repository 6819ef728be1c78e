"""Symbolic links of a captured host: they lead where they would if the captured tree were /."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

_LINK_LIMIT = 40
"""The kernel's own limit for one path (MAXSYMLINKS in include/linux/namei.h)."""


def follow_links(path: str, target_of: Callable[[str], str | None]) -> str:
    """Return an absolute path without links, which never leads out of the tree.

    `target_of` returns the target of a link, and None for a path that is none. Raises OSError with ELOOP.
    """
    todo = _steps(path)
    done: list[str] = []
    followed = 0
    while todo:
        step = todo.pop()
        if step == "..":
            done = done[:-1]
            continue
        target = target_of(f"/{'/'.join([*done, step])}")
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
