"""The files of a host in a directory tree, as a Root."""

from __future__ import annotations

import errno
import os
import posixpath
from collections.abc import Iterable

from sdeictl.host.files import list_directory, read_file, search_file
from sdeictl.host.manifest import MANIFEST, parse_manifest
from sdeictl.host.root import LinkFollower

MAX_CALLS = 300_000
"""So many files, directories and links are read; the probe of a host with 4,096 CPUs reads 50,000."""
MAX_READ_BYTES = 1 << 30
"""Limit for the files together; a host has less than 100 MiB that the probe reads."""


class DirectoryRoot:
    """A directory tree with the files at their paths on the host. No symbolic link leads out of it."""

    live = False

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._follower = LinkFollower(self._target)
        self._resolved: dict[str, str] = {}
        self._calls = MAX_CALLS
        self._bytes = MAX_READ_BYTES
        self._manifest = parse_manifest(self._read_manifest())

    def read(self, path: str) -> bytes:
        """Return the content of a file."""
        self._begin(path)
        data = read_file(self._resolve(path))
        self._bytes -= len(data)
        return data

    def search(self, path: str, words: Iterable[bytes], ends: bytes) -> frozenset[bytes]:
        """Return the words that occur in a file and are followed by one of the bytes in `ends`."""
        self._begin(path)
        return search_file(self._resolve(path), words, ends)

    def names(self, path: str) -> tuple[str, ...]:
        """Return the sorted names in a directory, including files that the capture left out."""
        self._begin(path)
        known = self._manifest.listings.get(path)
        return known if known is not None else list_directory(self._resolve(path))

    def link(self, path: str) -> str:
        """Return the target of a symbolic link."""
        self._begin(path)
        parent, name = posixpath.split(path)
        return os.readlink(os.path.join(self._resolve(parent), name))

    def place(self, path: str) -> str:
        """Return where a file of the host is on this machine; for files too large to be read whole."""
        self._begin(path)
        return self._resolve(path)

    def _begin(self, path: str) -> None:
        """Raise the error of the captured host for a path, or EFBIG if the tree is larger than any host."""
        self._manifest.check(path)
        self._calls -= 1
        if self._calls < 0 or self._bytes < 0:
            raise OSError(errno.EFBIG, "the tree has more files or data than a host has", path)

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
        return self._directory + self._follower.follow(path)

    def _target(self, path: str) -> str | None:
        here = self._directory + path
        return os.readlink(here) if os.path.islink(here) else None
