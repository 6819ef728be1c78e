"""The running host as a Root."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import BinaryIO

from sdeictl.host.files import list_directory, read_file, search_file
from sdeictl.host.kmsg import read_kmsg
from sdeictl.host.paths import KMSG


class LiveRoot:
    """The running host."""

    live = True

    def read(self, path: str) -> bytes:
        """Return the content of a file; of /dev/kmsg, the records up to the newest one."""
        if path == KMSG:
            return b"".join(read_kmsg())
        return read_file(path)

    def search(self, path: str, words: Iterable[bytes], ends: bytes) -> frozenset[bytes]:
        """Return the words that occur in a file and are followed by one of the bytes in `ends`."""
        return search_file(path, words, ends)

    def names(self, path: str) -> tuple[str, ...]:
        """Return the sorted names in a directory."""
        return list_directory(path)

    def link(self, path: str) -> str:
        """Return the target of a symbolic link."""
        return os.readlink(path)

    def open(self, path: str) -> BinaryIO:
        """Open a file that is too large to be read whole, such as /proc/kcore, without a buffer."""
        return open(path, "rb", buffering=0)
