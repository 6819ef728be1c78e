"""A host of which only the kernel log is known, as a Root."""

from __future__ import annotations

from collections.abc import Iterable

from sdeictl.host.files import not_found
from sdeictl.host.paths import CAPTURED_LOGS

LOG = CAPTURED_LOGS[1]


class LogRoot:
    """A host with one file, its kernel log."""

    live = False

    def __init__(self, log: bytes) -> None:
        self._log = log

    def read(self, path: str) -> bytes:
        """Return the log; no other file exists."""
        if path == LOG:
            return self._log
        raise not_found(path)

    def search(self, path: str, words: Iterable[bytes], ends: bytes) -> frozenset[bytes]:  # noqa: ARG002
        """Raise FileNotFoundError: the log is the only file."""
        raise not_found(path)

    def names(self, path: str) -> tuple[str, ...]:
        """Raise FileNotFoundError: no directory is known."""
        raise not_found(path)

    def link(self, path: str) -> str:
        """Raise FileNotFoundError: no link is known."""
        raise not_found(path)
