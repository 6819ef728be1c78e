"""Reads a Root and notes each source that could not be read: here every OSError becomes a Gap."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TypeVar

from sdeictl.errors import SdeictlError, Status
from sdeictl.host.gap import DENIED_HERE, DENIED_IN_CAPTURE, MISSING_FILE, Gap, GapKind
from sdeictl.host.root import Root

NOT_ONE_LINE = "it is not one whole line of text: it was cut short, or is another file"
MAX_VALUE_CHARACTERS = 1000
MAX_GAPS = 100_000
"""A host with 4,096 CPUs that denies everything has fewer."""
MAX_TEXT_BYTES = 4 << 20
"""/proc/cpuinfo of 4,096 CPUs has 1 MiB."""

T = TypeVar("T")


def one_line(data: bytes) -> str | None:
    """Return the one line of a small file, at most MAX_VALUE_CHARACTERS, without its line feed; or None."""
    # kernel.printk has tabs between its four numbers.
    line = data[:MAX_TEXT_BYTES].decode("utf-8", "replace").replace("\t", " ")
    if not line.endswith("\n") or "\ufffd" in line or not line.strip().isprintable():
        return None
    return line.strip()[:MAX_VALUE_CHARACTERS]


class Reader:
    """Reads a Root. Its methods do not raise OSError: they return None, and note a Gap."""

    def __init__(self, root: Root) -> None:
        self.root = root
        self.gaps: list[Gap] = []

    def gap(self, source: str, kind: GapKind, detail: str) -> None:
        """Note that a source could not be read, or not to its end; raise SdeictlError after MAX_GAPS."""
        if len(self.gaps) == MAX_GAPS:
            count = f"more than {MAX_GAPS:,} sources that cannot be read"
            text = f"{source} is one of {count}, and no host has so many"
            raise SdeictlError(text, Status.UNKNOWN)
        self.gaps.append(Gap(source, kind, detail))

    def has_gap(self, source: str) -> bool:
        """Tell whether a source has a gap."""
        return any(gap.source == source for gap in self.gaps)

    def attempt(self, path: str, call: Callable[[str], T], source: str | None = None) -> T | None:
        """Return what `call` returns for the path; if it raises OSError, return None and note a gap.

        The gap names `source`, by default the path.
        """
        source = source or path
        try:
            return call(path)
        except (FileNotFoundError, NotADirectoryError):
            self.gap(source, GapKind.ABSENT, MISSING_FILE)
        except OSError as error:
            self.refused(source, error)
        return None

    def refused(self, source: str, error: OSError) -> None:
        """Note the gap of an access that failed: what the capture lacks is not what is denied here."""
        if isinstance(error, PermissionError):
            then = error.strerror == DENIED_IN_CAPTURE
            self.gap(source, GapKind.DENIED, DENIED_IN_CAPTURE if then else DENIED_HERE)
        else:
            self.gap(source, GapKind.BROKEN, error.strerror or str(error))

    def text(self, path: str, limit: int = MAX_TEXT_BYTES) -> str | None:
        """Return a file as text; return None and note a gap if it is unreadable or exceeds `limit` bytes."""
        data = self.attempt(path, self.root.read)
        if data is not None and len(data) > limit:
            self.gap(path, GapKind.BROKEN, f"it has {len(data)} bytes, more than such a file can have")
            return None
        return None if data is None else data.decode("utf-8", "replace")

    def optional(self, path: str, call: Callable[[str], T], source: str | None = None) -> T | None:
        """Do as attempt() does, but note no gap if the source does not exist."""
        known = len(self.gaps)
        value = self.attempt(path, call, source)
        if value is None and self.gaps[known].kind is GapKind.ABSENT:
            del self.gaps[known:]
        return value

    def value(self, path: str) -> str | None:
        """Return the one line of a small file, at most MAX_VALUE_CHARACTERS, without its line feed.

        Returns None if the file does not exist; returns None and notes a gap if it is unreadable.
        """
        data = self.optional(path, self.root.read)
        if data is None:
            return None
        line = one_line(data)
        if line is None:
            self.gap(path, GapKind.BROKEN, NOT_ONE_LINE)
        return line

    def listing(self, path: str) -> tuple[str, ...] | None:
        """Return the sorted names in a directory; None, without a gap, if it does not exist."""
        return self.optional(path, self.root.names)

    def exists(self, path: str) -> bool | None:
        """Tell whether a path exists, without reading it; return None and note a gap if that is unknown."""

        def look(path: str) -> bool:
            try:
                return bool(self.root.link(path))
            except OSError as error:
                if error.errno != errno.EINVAL:  # readlink(2): the path exists and is not a link
                    raise
                return True

        known = len(self.gaps)
        found = self.optional(path, look)
        return found or (None if len(self.gaps) > known else False)
