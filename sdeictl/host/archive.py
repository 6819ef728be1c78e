"""The files of a host in an archive: a capture of `sdeictl capture`, or a report of sos."""

from __future__ import annotations

import errno
import lzma
import os
import posixpath
import re
import tarfile
import zlib
from collections.abc import Iterable

from sdeictl.errors import SdeictlError, Status
from sdeictl.host.files import find_words, not_found, open_large
from sdeictl.host.manifest import MANIFEST, parse_manifest
from sdeictl.host.paths import PROC
from sdeictl.host.root import Root
from sdeictl.host.sos import MARK as SOS_MARK
from sdeictl.host.sos import SosRoot

MAX_CAPTURE_BYTES = 512 << 20
"""Limit for the file, and for the sum of the members in it."""
MAX_MEMBERS = 100_000
_PIECE_BYTES = 1 << 16
_TOO_LARGE = f"it unpacks to more than {MAX_CAPTURE_BYTES >> 20} MiB, or to more than {MAX_MEMBERS:,} files"


def open_archive(file: str) -> Root:
    """Return the host in an archive.

    Raises SdeictlError with Status.UNKNOWN if the file is damaged, too large, or of another kind.
    """
    root = ArchiveRoot(file)
    if root.is_capture:
        return root
    if root.has_directory(SOS_MARK):
        return SosRoot(root)
    raise _unreadable(file, f"it does not contain {MANIFEST}")


class ArchiveRoot:
    """The files in an archive as a Root. Those that the probe may read are in memory."""

    live = False

    def __init__(self, file: str) -> None:
        self._files: dict[str, bytes] = {}
        self._links: dict[str, str] = {}
        self._directories: dict[str, set[str]] = {"/": set()}
        try:
            self._read_archive(file)
        except tarfile.ReadError as error:
            raise _unreadable(file, "it is not a tar archive, or it is damaged") from error
        except (tarfile.TarError, EOFError, OSError, ValueError, zlib.error, lzma.LZMAError) as error:
            raise _unreadable(file, getattr(error, "strerror", None) or str(error)) from error
        self.is_capture = f"/{MANIFEST}" in self._files
        """`sdeictl capture` wrote it."""
        self._manifest = parse_manifest(self._files.get(f"/{MANIFEST}", b"{}"))

    def has_directory(self, path: str) -> bool:
        """Tell whether the archive has a directory."""
        return path in self._directories

    def read(self, path: str) -> bytes:
        """Return the content of a file."""
        self._manifest.check(path)
        if path in self._files:
            return self._files[path]
        if path in self._directories:
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        raise not_found(path)

    def search(self, path: str, words: Iterable[bytes], ends: bytes) -> frozenset[bytes]:
        """Return the words that occur in a file and are followed by one of the bytes in `ends`."""
        return find_words(self.read(path), words, ends)

    def names(self, path: str) -> tuple[str, ...]:
        """Return the sorted names in a directory, including files that the capture left out."""
        self._manifest.check(path)
        if path in self._manifest.listings:
            return self._manifest.listings[path]
        if path in self._directories:
            return tuple(sorted(self._directories[path]))
        raise not_found(path)

    def link(self, path: str) -> str:
        """Return the target of a symbolic link."""
        self._manifest.check(path)
        if path in self._links:
            return self._links[path]
        if path in self._files or path in self._directories:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), path)
        raise not_found(path)

    def _read_archive(self, file: str) -> None:
        with open_large(file) as stream:
            if os.fstat(stream.fileno()).st_size > MAX_CAPTURE_BYTES:
                raise OSError(errno.EFBIG, f"it has more than {MAX_CAPTURE_BYTES >> 20} MiB")
            with tarfile.open(fileobj=stream, mode="r:*") as archive:
                _read_to_end(archive, self._read_members(archive))

    def _read_members(self, archive: tarfile.TarFile) -> int:
        """Read every member; return how many more bytes the archive may unpack to."""
        budget = MAX_CAPTURE_BYTES
        for count, member in enumerate(archive):
            path, wanted = _place(posixpath.normpath("/" + member.name.lstrip("/")))
            budget -= member.size if wanted else 0
            if count >= MAX_MEMBERS or budget < 0:
                raise ValueError(_TOO_LARGE)
            if not wanted:
                continue
            if member.isfile():
                content = archive.extractfile(member)
                self._files[path] = content.read() if content else b""
            elif member.issym():
                self._links[path] = member.linkname
            elif member.isdir():
                self._directories.setdefault(path, set())
            self._add_to_parents(path)
        return budget

    def _add_to_parents(self, path: str) -> None:
        while path != "/":
            parent, name = posixpath.split(path)
            self._directories.setdefault(parent, set()).add(name)
            path = parent


_SOS_TOP = re.compile(r"/sosreport-[^/]+")
_SOS_BULK = (
    "/var/",
    "/etc/",
    "/usr/",
    "/run/",
    "/sos_logs/",
    "/sos_reports/",
    "/sos_strings/",
    f"{PROC}/irq/",
)
"""What a report of sos has beside what the probe reads; its logs can be large."""
_SOS_LOGS = ("/var/log/dmesg", "/var/log/kern.log")


def _place(path: str) -> tuple[str, bool]:
    """Return the place of a member on the host, and whether the probe may read it.

    One directory holds a whole report of sos.
    """
    top = _SOS_TOP.match(path)
    if not top:
        return path, True
    path = path[top.end() :] or "/"
    return path, path in _SOS_LOGS or not path.startswith(_SOS_BULK)


def _read_to_end(archive: tarfile.TarFile, budget: int) -> None:
    """Read the rest of the compressed stream, so that its decompressor checks it.

    tarfile stops at the end-of-archive marker. The length and the checksum of the stream come after the
    marker: a capture that lost only these would look whole.
    """
    while archive.fileobj and (rest := archive.fileobj.read(_PIECE_BYTES)):
        budget -= len(rest)
        if budget < 0:
            raise ValueError(_TOO_LARGE)


def _unreadable(file: str, reason: str) -> SdeictlError:
    return SdeictlError(f"{file} cannot be read as a capture: {reason}", Status.UNKNOWN)
