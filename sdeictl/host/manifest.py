"""The manifest of a capture: facts about the captured host that the copied files do not show."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator

from sdeictl.errors import SdeictlError, Status

MANIFEST = "sdeictl-capture.json"
NOT_COPIED = "sos did not copy it"
"""What ENODATA means for a file of a report of sos, and for one of its capture."""


class Manifest:
    """Directory listings with the names of files that were left out, and the errors of failed reads."""

    def __init__(self, listings: dict[str, tuple[str, ...]], failures: dict[str, int]) -> None:
        self.listings = listings
        """The sorted names in each directory."""
        self._failures = failures

    def check(self, path: str) -> None:
        """Raise the OSError that the captured host reported for this path, if it reported one."""
        if path in self._failures:
            number = self._failures[path]
            text = NOT_COPIED if number == errno.ENODATA else os.strerror(number)
            raise OSError(number, text, path)


def parse_manifest(data: bytes) -> Manifest:
    """Return the manifest in a JSON text; values of an unexpected type are ignored.

    Raises SdeictlError with Status.UNKNOWN if the text is not JSON.
    """
    try:
        manifest = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise SdeictlError(f"{MANIFEST} of the capture is damaged: {error}", Status.UNKNOWN) from error
    listings: dict[str, tuple[str, ...]] = {}
    failures: dict[str, int] = {}
    if isinstance(manifest, dict):
        for path, names in _items(manifest.get("listings")):
            if isinstance(names, list):
                listings[path] = tuple(str(name) for name in names)
        for path, name in _items(manifest.get("failures")):
            number = getattr(errno, name, None) if isinstance(name, str) else None
            failures[path] = number if isinstance(number, int) else errno.EIO
    return Manifest(listings, failures)


def _items(value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, dict):
        yield from value.items()
