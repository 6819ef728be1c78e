"""The manifest of a capture: facts about the captured host that the copied files do not show."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator, Sequence

from sdeictl.errors import SdeictlError, Status
from sdeictl.host.gap import DENIED_IN_CAPTURE
from sdeictl.host.json_text import parse_json

MANIFEST = "sdeictl-capture.json"
CAPTURE_SCHEMA = "sdeictl.capture/1"
NOT_COPIED = "sos did not copy it"
"""What ENODATA means for a file of a report of sos, and for one of its capture."""
MAX_MANIFEST_BYTES = 8 << 20
"""Limit for a manifest; that of a host with 4,096 CPUs has 4 MiB."""
_MAX_VALUES = 500_000
_REASONS = {
    errno.ENODATA: NOT_COPIED, errno.EACCES: DENIED_IN_CAPTURE, errno.EPERM: DENIED_IN_CAPTURE,
}  # fmt: skip
_MAX_NAME_BYTES = 255
"""NAME_MAX of the kernel."""
# The name of a file that is not UTF-8 has surrogates of os.fsdecode(); no others can be a name.
_NO_NAME = "[/\0\ud800-\udc7f\udd00-\udfff]|\\A\\.{1,2}\\Z"


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
            text = _REASONS.get(number) or os.strerror(number)
            raise OSError(number, text, path)


def parse_manifest(data: bytes) -> Manifest:
    """Return the manifest in a JSON text; values of an unexpected type are ignored.

    Raises SdeictlError with Status.UNKNOWN if the text is not JSON, or names another format.
    """
    try:
        manifest = parse_manifest_text(data)
        schema = manifest.get("schema") if isinstance(manifest, dict) else None
        if isinstance(schema, str) and schema != CAPTURE_SCHEMA:
            raise ValueError(f"its format is {schema[:40]!r}, and this sdeictl reads {CAPTURE_SCHEMA}")
        return _manifest(manifest)
    except ValueError as error:
        raise SdeictlError(f"{MANIFEST} of the capture is damaged: {error}", Status.UNKNOWN) from error


def parse_manifest_text(data: bytes) -> object:
    """Return the value of a manifest; raise ValueError, with a clause, as parse_json() does."""
    return parse_json(data, MAX_MANIFEST_BYTES, _MAX_VALUES, file_names=True)


def _manifest(manifest: object) -> Manifest:
    listings: dict[str, tuple[str, ...]] = {}
    failures: dict[str, int] = {}
    if isinstance(manifest, dict):
        for path, names in _items(manifest.get("listings")):
            if isinstance(names, list):
                listings[path] = tuple(sorted(_names(names)))
        for path, name in _items(manifest.get("failures")):
            number = getattr(errno, name, None) if isinstance(name, str) else None
            failures[path] = number if isinstance(number, int) else errno.EIO
    return Manifest(listings, failures)


def _names(values: Sequence[object]) -> set[str]:
    """Return the names in a directory; raise ValueError if no file can have one of them."""
    names = set(map(str, values))
    if not _are_plain(names):
        for name in names:
            size = len(name.encode("utf-8", "surrogatepass"))
            if not 0 < size <= _MAX_NAME_BYTES or re.search(_NO_NAME, name):
                raise ValueError(f"it lists a name that no file can have: {name[:40]!r}")
    return names


def _are_plain(names: set[str]) -> bool:
    """Tell at a glance, as for nearly all directories, whether files can have these names."""
    text = "/".join(names)
    return (
        text.isascii()
        and "\0" not in text
        and text.count("/") < max(len(names), 1)
        and max(map(len, names), default=0) <= _MAX_NAME_BYTES
        and names.isdisjoint(("", ".", ".."))
    )


def _items(value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, dict):
        yield from value.items()
