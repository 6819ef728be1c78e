"""A Root that keeps everything that is read through it, for `sdeictl capture`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from sdeictl.host.root import Root


class RecordingRoot:
    """Passes each call on to another Root and keeps its result or its error."""

    def __init__(self, root: Root) -> None:
        self._root = root
        self.live = root.live
        self.files: dict[str, bytes] = {}
        self.found: dict[str, frozenset[bytes]] = {}
        """The words that were found in each file that is too large to be kept."""
        self.listings: dict[str, tuple[str, ...]] = {}
        self.links: dict[str, str] = {}
        self.failures: dict[str, OSError] = {}

    def read(self, path: str) -> bytes:
        """Return the content of a file."""
        with self._keeping_failure(path):
            self.files[path] = self._root.read(path)
        return self.files[path]

    def search(self, path: str, words: Iterable[bytes], ends: bytes) -> frozenset[bytes]:
        """Return the words that occur in a file and are followed by one of `ends`; keep these words."""
        with self._keeping_failure(path):
            self.found[path] = self._root.search(path, words, ends)
        return self.found[path]

    def names(self, path: str) -> tuple[str, ...]:
        """Return the sorted names in a directory."""
        with self._keeping_failure(path):
            self.listings[path] = self._root.names(path)
        return self.listings[path]

    def link(self, path: str) -> str:
        """Return the target of a symbolic link."""
        with self._keeping_failure(path):
            self.links[path] = self._root.link(path)
        return self.links[path]

    @contextmanager
    def _keeping_failure(self, path: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.failures[path] = error
            raise
