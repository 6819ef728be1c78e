"""Captured hosts in memory, for targets and for their seeds."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterable, Mapping
from functools import cache

from sdeictl.host.files import find_words, not_found
from sdeictl.host.manifest import MANIFEST, parse_manifest
from sdeictl.host.open import open_root
from sdeictl.probe.capture import make_capture
from tests.conftest import HOST_NAMES, load_host

NAMES = (
    "dt-sdei", "acpi-idle", "dt-pnmi", "dt-none", "acpi-sdei", "cloud-vm", "linux-6.1-pnmi", "gicv2",
    "lockdown",
)  # fmt: skip
"""Hosts that differ in what they have and in what they lack."""
assert set(NAMES) <= set(HOST_NAMES)


class MemoryRoot:
    """A host in memory, as a Root; the manifest of a capture counts as in an archive."""

    live = False

    def __init__(self, files: Mapping[str, bytes], links: Mapping[str, str] = {}) -> None:
        self._files, self._links = files, links
        self._manifest = parse_manifest(files.get(f"/{MANIFEST}", b"{}"))
        self._directories: dict[str, set[str]] = {"/": set()}
        for path in (*files, *links):
            while path != "/":
                parent, name = posixpath.split(path)
                self._directories.setdefault(parent, set()).add(name)
                path = parent  # noqa: PLW2901

    def read(self, path: str) -> bytes:
        self._manifest.check(path)
        if path not in self._files:
            raise not_found(path)
        return self._files[path]

    def search(self, path: str, words: Iterable[bytes], ends: bytes) -> frozenset[bytes]:
        return find_words(self.read(path), words, ends)

    def names(self, path: str) -> tuple[str, ...]:
        self._manifest.check(path)
        if path in self._manifest.listings:
            return self._manifest.listings[path]
        if path not in self._directories:
            raise not_found(path)
        return tuple(sorted(self._directories[path]))

    def link(self, path: str) -> str:
        self._manifest.check(path)
        if path in self._links:
            return self._links[path]
        if path in self._files or path in self._directories:
            raise OSError(22, "it is not a link", path)
        raise not_found(path)


@cache
def captured(name: str) -> tuple[dict[str, bytes], dict[str, str]]:
    """Return the files and the links of the capture of a host."""
    made = make_capture(open_root(str(load_host(name).root)))
    manifest = {**made.manifest, "captured_at": "2026-11-25T18:00:00+00:00"}
    return {f"/{MANIFEST}": json.dumps(manifest).encode(), **made.files}, made.links


@cache
def file_of(path: str) -> tuple[bytes, ...]:
    """Return the different contents of a file on the captured hosts; of a long one the beginning."""
    found = (load_host(name).root / path.lstrip("/") for name in NAMES)
    return tuple(dict.fromkeys(file.read_bytes()[:3500] for file in found if file.is_file()))


@cache
def acpi_code() -> tuple[bytes, ...]:
    """Return the ACPI tables with AML of captured hosts, the short ones."""
    found = sorted(path for name in HOST_NAMES for path in load_host(name).root.rglob("tables/SSDT*"))
    return tuple(dict.fromkeys(path.read_bytes() for path in found))


def again(root: MemoryRoot) -> MemoryRoot:
    """Return the capture of a host, as a host."""
    made = make_capture(root)
    return MemoryRoot({f"/{MANIFEST}": json.dumps(made.manifest).encode(), **made.files}, made.links)
