"""Root: read access to the files of one host, either the running host or a captured one.

Every path is the path on the host. live.py, directory.py, archive.py and recording.py implement it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol


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
