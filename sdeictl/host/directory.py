"""The files of a host in a directory tree, as a Root."""

from __future__ import annotations

import errno
import os
import posixpath
from collections.abc import Iterable

from sdeictl.host.files import read_file, search_file
from sdeictl.host.manifest import MANIFEST, parse_manifest

_LINK_LIMIT = 40
"""The kernel's own limit for one path (MAXSYMLINKS in include/linux/namei.h)."""


class DirectoryRoot:
    """A directory tree with the files at their paths on the host. No symbolic link leads out of it."""

    live = False

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._resolved: dict[str, str] = {}
        self._manifest = parse_manifest(self._read_manifest())

    def read(self, path: str) -> bytes:
        """Return the content of a file."""
        self._manifest.check(path)
        return read_file(self._resolve(path))

    def search(self, path: str, words: Iterable[bytes], ends: bytes) -> frozenset[bytes]:
        """Return the words that occur in a file and are followed by one of the bytes in `ends`."""
        self._manifest.check(path)
        return search_file(self._resolve(path), words, ends)

    def names(self, path: str) -> tuple[str, ...]:
        """Return the sorted names in a directory, including files that the capture left out."""
        self._manifest.check(path)
        known = self._manifest.listings.get(path)
        return known if known is not None else tuple(sorted(os.listdir(self._resolve(path))))

    def link(self, path: str) -> str:
        """Return the target of a symbolic link."""
        self._manifest.check(path)
        parent, name = posixpath.split(path)
        return os.readlink(os.path.join(self._resolve(parent), name))

    def _read_manifest(self) -> bytes:
        try:
            return read_file(os.path.join(self._directory, MANIFEST))
        except OSError:
            return b"{}"

    def _resolve(self, path: str) -> str:
        """Return where a path of the host is on this machine."""
        parent, name = posixpath.split(path)
        # A large host has thousands of small files in a few hundred directories: walk each directory once.
        if parent not in self._resolved:
            self._resolved[parent] = self._walk(parent)
        here = f"{self._resolved[parent]}/{name}"
        return self._walk(path) if name in ("", ".", "..") or os.path.islink(here) else here

    def _walk(self, path: str) -> str:
        """Follow a path step by step; its links lead where they would if the tree were /."""
        todo = _steps(path)
        done: list[str] = []
        followed = 0
        while todo:
            step = todo.pop()
            if step == "..":
                done = done[:-1]
                continue
            here = os.path.join(self._directory, *done, step)
            if not os.path.islink(here):
                done.append(step)
                continue
            followed += 1
            if followed > _LINK_LIMIT:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            target = os.readlink(here)
            if target.startswith("/"):
                done = []
            todo += _steps(target)
        return os.path.join(self._directory, *done)


def _steps(path: str) -> list[str]:
    """Return the steps of a path in reverse order, so that pop() returns the next one."""
    return [step for step in path.split("/") if step not in ("", ".")][::-1]
