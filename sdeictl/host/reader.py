"""Reads a root and notes why something could not be read: OSError is caught here, once, and becomes a Gap."""

import errno
from collections.abc import Callable
from typing import TypeVar

from sdeictl.host.root import Root
from sdeictl.probe.facts import Gap

DENIED_HERE = "permission denied: run as root"
DENIED_THERE = "was denied to the capture: capture again as root"
MAX_VALUE_CHARACTERS = 1000
MAX_TEXT_BYTES = 4 << 20
"""/proc/cpuinfo of 4,096 CPUs has 1 MiB."""

T = TypeVar("T")


class Reader:
    """Reads a root and notes why something could not be read."""

    def __init__(self, root: Root) -> None:
        self.root = root
        self.gaps: list[Gap] = []

    def gap(self, source: str, kind: str, detail: str) -> None:
        """Note that a source could not be read, or not to its end."""
        self.gaps.append(Gap(source, kind, detail))

    def has_gap(self, source: str) -> bool:
        """Tell whether a source has a gap."""
        return any(gap.source == source for gap in self.gaps)

    def attempt(self, path: str, call: Callable[[str], T], source: str | None = None) -> T | None:
        """Return what `call` returns for the path, or None and a gap in `source`, by default the path."""
        source = source or path
        try:
            return call(path)
        except (FileNotFoundError, NotADirectoryError):
            self.gap(source, "absent", "not there")
        except PermissionError:
            self.gap(source, "denied", DENIED_HERE if self.root.live else DENIED_THERE)
        except OSError as error:
            self.gap(source, "broken", error.strerror or str(error))
        return None

    def text(self, path: str, limit: int = MAX_TEXT_BYTES) -> str | None:
        """Return a file as text, or None and a gap; `limit` in bytes is more than it can have."""
        data = self.attempt(path, self.root.read)
        if data is not None and len(data) > limit:
            self.gap(path, "broken", f"{len(data)} bytes are more than such a file can have")
            return None
        return None if data is None else data.decode("utf-8", "replace")

    def optional(self, path: str, call: Callable[[str], T], source: str | None = None) -> T | None:
        """Like attempt, for a source whose absence alone is no gap."""
        known = len(self.gaps)
        value = self.attempt(path, call, source)
        if value is None and self.gaps[known].kind == "absent":
            del self.gaps[known:]
        return value

    def value(self, path: str) -> str | None:
        """Return the one line of a small file; None, and no gap, if the file is not there."""
        data = self.optional(path, self.root.read)
        if data is None:
            return None
        line = data[:MAX_TEXT_BYTES].decode("utf-8", "replace")
        if not line.endswith("\n") or "\ufffd" in line or not line.strip().isprintable():
            self.gap(path, "broken", "it is no whole line of text: it was cut, or is something else")
            return None
        return line.strip()[:MAX_VALUE_CHARACTERS]

    def listing(self, path: str) -> tuple[str, ...] | None:
        """Return the names in a directory; None, and no gap, if it is not there."""
        return self.optional(path, self.root.names)

    def exists(self, path: str) -> bool | None:
        """Tell whether something is there, without reading it; None, and a gap, if that cannot be seen."""

        def look(path: str) -> bool:
            try:
                return bool(self.root.link(path))
            except OSError as error:
                if error.errno != errno.EINVAL:  # what readlink(2) says of anything but a link
                    raise
                return True

        known = len(self.gaps)
        found = self.optional(path, look)
        return found or (None if len(self.gaps) > known else False)
