"""The files of a host in an archive: a capture of `sdeictl capture`, or a report of sos."""

from __future__ import annotations

import errno
import io
import os
import posixpath
import re
import tarfile
from collections.abc import Iterable

from sdeictl.errors import SdeictlError, Status
from sdeictl.host.files import MAX_FILE_BYTES, find_words, not_found, open_large
from sdeictl.host.manifest import MANIFEST, parse_manifest
from sdeictl.host.paths import PROC
from sdeictl.host.root import LinkFollower, Root
from sdeictl.host.sos import MARK as SOS_MARK
from sdeictl.host.sos import OUTPUTS as SOS_OUTPUTS
from sdeictl.host.sos import SosRoot
from sdeictl.host.tar import Member, TarReader
from sdeictl.host.unpack import MAGIC_BYTES, Unpacked, magic_of

MAX_PACKED_BYTES = 256 << 20
"""Limit for the file."""
MAX_KEPT_BYTES = 64 << 20
"""Limit for what is kept in memory: the files that the probe may read, and the names."""
_PLACE_BYTES = 600
"""What a path costs in memory beside its characters."""
_PIECE_BYTES = 1 << 16


def open_archive(file: str) -> Root:
    """Return the host in an archive.

    Raises SdeictlError with Status.UNKNOWN if the file is damaged, too large, or of another kind.
    """
    root = ArchiveRoot(file)
    if root.is_capture:
        return root
    if root.has_directory(SOS_MARK):
        return SosRoot(root)
    raise _unreadable(file, f"it does not contain {MANIFEST}; unpack the archive of another tree")


class ArchiveRoot:
    """The files in an archive as a Root. Those that the probe may read are in memory.

    Of several members with one path the last one counts, as for tar(1). What follows the mark at the end of
    the archive is no part of it.
    """

    live = False

    def __init__(self, file: str) -> None:
        self._files: dict[str, bytes] = {}
        self._links: dict[str, str] = {}
        self._follower = LinkFollower(self._links.get)
        self._broken: dict[str, OSError] = {}
        """What exists, and cannot be read."""
        self._directories: dict[str, set[str]] = {"/": set()}
        self._kept = 0
        try:
            self._read_archive(file)
        except (OSError, ValueError) as error:  # also TarError and DamagedError
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
        path = self._follower.follow(path)
        if path in self._files:
            return self._files[path]
        if path in self._broken:
            raise self._broken[path]
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
        path = self._follower.follow(path)
        if path in self._directories:
            return tuple(sorted(self._directories[path]))
        raise not_found(path)

    def link(self, path: str) -> str:
        """Return the target of a symbolic link."""
        self._manifest.check(path)
        parent, name = posixpath.split(path)
        path = posixpath.join(self._follower.follow(parent), name)
        if path in self._links:
            return self._links[path]
        if path in self._files or path in self._directories or path in self._broken:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), path)
        raise not_found(path)

    def _read_archive(self, file: str) -> None:
        with open_large(file) as stream:
            if os.fstat(stream.fileno()).st_size > MAX_PACKED_BYTES:
                raise OSError(errno.EFBIG, f"it has more than {MAX_PACKED_BYTES >> 20} MiB")
            content = _Content(stream)
            members = TarReader(content)
            for member in members:
                path, wanted = _place(posixpath.normpath("/" + member.name.lstrip("/")))
                if wanted:
                    self._take(path, member, members)
                elif path.startswith(SOS_MARK):
                    self._directories.setdefault(SOS_MARK, set())
            content.read_to_end()
        if both := min(self._files.keys() & self._directories.keys(), default=None):
            raise ValueError(f"it has a file and a directory with the same name: {both[:40]!r}")

    def _take(self, path: str, member: Member, members: TarReader) -> None:
        """Keep a member; another one that has its path counts no more."""
        for known in (self._files, self._links, self._broken):
            known.pop(path, None)
        self._add_to_parents(path)
        if member.type == tarfile.DIRTYPE:
            self._directories.setdefault(path, set())
        elif member.type == tarfile.SYMTYPE:
            self._links[path] = member.link
        elif member.type == tarfile.LNKTYPE:
            self._take_hard_link(path, _place(posixpath.normpath("/" + member.link.lstrip("/")))[0])
        elif member.type not in tarfile.REGULAR_TYPES:
            self._broken[path] = OSError(errno.EINVAL, "not a regular file", path)
        elif member.size > MAX_FILE_BYTES:
            text = f"it has more than {MAX_FILE_BYTES >> 20} MiB"
            self._broken[path] = OSError(errno.EFBIG, text, path)
        else:
            self._keep(member.size)
            self._files[path] = members.content(member)

    def _take_hard_link(self, path: str, target: str) -> None:
        """Take the content of an earlier member; without it, the path exists and cannot be read."""
        if target in self._files:
            self._files[path] = self._files[target]
        else:
            self._broken[path] = OSError(errno.EIO, "the archive lacks the file of this hard link", path)

    def _add_to_parents(self, path: str) -> None:
        while path != "/":
            parent, name = posixpath.split(path)
            names = self._directories.setdefault(parent, set())
            if name in names:
                return
            self._keep(len(path) + _PLACE_BYTES)
            names.add(name)
            path = parent

    def _keep(self, size: int) -> None:
        self._kept += size
        if self._kept > MAX_KEPT_BYTES:
            raise ValueError(f"its files and names need more than {MAX_KEPT_BYTES >> 20} MiB of memory")


class _Content:
    """The content of an archive, unpacked."""

    def __init__(self, file: io.BufferedReader) -> None:
        magic = magic_of(file.peek(MAGIC_BYTES))
        self._stream = Unpacked(file, magic) if magic else file
        self._data = b""
        self._at = 0

    def read(self, size: int, /) -> bytes:
        """Return `size` bytes, fewer only at the end; raise DamagedError if it is damaged or too large."""
        pieces = []
        while size > 0:
            if self._at == len(self._data) and not self._fill():
                break
            pieces.append(self._data[self._at : self._at + size])
            self._at += len(pieces[-1])
            size -= len(pieces[-1])
        return b"".join(pieces)

    def read_to_end(self) -> None:
        """Read the rest, so that its decompressor checks it.

        The length and the checksum of a packed stream come after the end of the archive: a capture that lost
        only these would look whole.
        """
        while self._fill():
            pass

    def _fill(self) -> bool:
        self._data, self._at = self._stream.read1(_PIECE_BYTES), 0
        return bool(self._data)


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
    f"{SOS_MARK}/",
)
"""What a report of sos has beside what the probe reads; its logs can be large."""


def _place(path: str) -> tuple[str, bool]:
    """Return the place of a member on the host, and whether the probe may read it.

    One directory holds a whole report of sos.
    """
    top = _SOS_TOP.match(path)
    if not top:
        return path, True
    path = path[top.end() :] or "/"
    return path, path in SOS_OUTPUTS or not path.startswith(_SOS_BULK)


def _unreadable(file: str, reason: str) -> SdeictlError:
    return SdeictlError(f"{file} cannot be read as a capture: {reason}", Status.UNKNOWN)
