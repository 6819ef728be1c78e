"""A host's files in a capture file, as `sdeictl capture` writes it."""

import errno
import lzma
import os
import posixpath
import tarfile
import zlib
from collections.abc import Iterable

from sdeictl.errors import SdeictlError, Status
from sdeictl.host.root import MANIFEST, find_words, not_found, open_large, parse_manifest

MAX_CAPTURE_BYTES = 512 << 20
_PIECE_BYTES = 1 << 16
MAX_MEMBERS = 100_000


class CaptureRoot:
    """A capture file made by `sdeictl capture`, held in memory."""

    live = False

    def __init__(self, file: str) -> None:
        self._files: dict[str, bytes] = {}
        self._links: dict[str, str] = {}
        self._directories: dict[str, set[str]] = {"/": set()}
        try:
            with open_large(file) as stream:
                if os.fstat(stream.fileno()).st_size > MAX_CAPTURE_BYTES:
                    raise OSError(errno.EFBIG, f"it has more than {MAX_CAPTURE_BYTES >> 20} MiB")
                with tarfile.open(fileobj=stream, mode="r:*") as archive:
                    self._load(archive)
        except tarfile.ReadError as error:
            reason = "it is no tar archive, or a damaged one"
            raise SdeictlError(f"{file} cannot be read as a capture: {reason}", Status.UNKNOWN) from error
        except (tarfile.TarError, EOFError, OSError, ValueError, zlib.error, lzma.LZMAError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise SdeictlError(f"{file} cannot be read as a capture: {reason}", Status.UNKNOWN) from error
        if f"/{MANIFEST}" not in self._files:
            raise SdeictlError(f"{file} cannot be read as a capture: it has no {MANIFEST}", Status.UNKNOWN)
        self._manifest = parse_manifest(self._files[f"/{MANIFEST}"])

    def read(self, path: str) -> bytes:
        """Return a file's content."""
        self._manifest.check(path)
        if path in self._files:
            return self._files[path]
        if path in self._directories:
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        raise not_found(path)

    def search(self, path: str, words: Iterable[bytes], ends: bytes) -> frozenset[bytes]:
        """Return which of these words a file has before one of the bytes in `ends`."""
        return find_words(self.read(path), words, ends)

    def names(self, path: str) -> tuple[str, ...]:
        """Return the sorted names in a directory, with those the capture knows but left out."""
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

    def _load(self, archive: tarfile.TarFile) -> None:
        budget = MAX_CAPTURE_BYTES
        for count, member in enumerate(archive):
            path = posixpath.normpath("/" + member.name.lstrip("/"))
            budget -= member.size
            if count >= MAX_MEMBERS or budget < 0:
                raise ValueError("it unpacks to more than a capture can hold")
            if member.isfile():
                content = archive.extractfile(member)
                self._files[path] = content.read() if content else b""
            elif member.issym():
                self._links[path] = member.linkname
            elif member.isdir():
                self._directories.setdefault(path, set())
            self._enter(path)
        # tarfile stops at the archive's end mark; only behind it stand the length and the sum of it all.
        while archive.fileobj and (rest := archive.fileobj.read(_PIECE_BYTES)):
            budget -= len(rest)
            if budget < 0:
                raise ValueError("it unpacks to more than a capture can hold")

    def _enter(self, path: str) -> None:
        while path != "/":
            parent, name = posixpath.split(path)
            self._directories.setdefault(parent, set()).add(name)
            path = parent
