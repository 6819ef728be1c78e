"""A host's files below an injected root: the running host, a directory, or a capture file.

The only open() of host files. Every path is written as on the host.
"""

import errno
import io
import json
import lzma
import os
import posixpath
import stat
import tarfile
import zlib
from collections.abc import Iterator
from typing import Protocol

from sdeictl.errors import SdeictlError, Status

MANIFEST = "sdeictl-capture.json"
MAX_FILE_BYTES = 128 << 20
MAX_CAPTURE_BYTES = 512 << 20
MAX_MEMBERS = 100_000
_LINK_LIMIT = 40
_PIECE_BYTES = 1 << 20
_KMSG_RECORD_BYTES = 16384


class Root(Protocol):
    """Read access to one host. Every method raises OSError as open(2) would."""

    live: bool

    def read(self, path: str) -> bytes:
        """Return a file's content."""

    def names(self, path: str) -> tuple[str, ...]:
        """Return the sorted names in a directory."""

    def link(self, path: str) -> str:
        """Return the target of a symbolic link."""


class LiveRoot:
    """The running host."""

    live = True

    def read(self, path: str) -> bytes:
        """Return a file's content; /dev/kmsg is read to its present end, without waiting."""
        if path == "/dev/kmsg":
            return b"".join(_read_kmsg())
        return _read_file(path)

    def names(self, path: str) -> tuple[str, ...]:
        """Return the sorted names in a directory."""
        return tuple(sorted(os.listdir(path)))

    def link(self, path: str) -> str:
        """Return the target of a symbolic link."""
        return os.readlink(path)


class DirectoryRoot:
    """A tree on disk. Symbolic links stay inside it, whatever they say."""

    live = False

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._manifest = _parse_manifest(self._read_manifest())

    def read(self, path: str) -> bytes:
        """Return a file's content."""
        self._manifest.check(path)
        return _read_file(self._resolve(path))

    def names(self, path: str) -> tuple[str, ...]:
        """Return the sorted names in a directory, with those the capture knows but left out."""
        self._manifest.check(path)
        known = self._manifest.listings.get(path)
        return known if known is not None else tuple(sorted(os.listdir(self._resolve(path))))

    def link(self, path: str) -> str:
        """Return the target of a symbolic link."""
        self._manifest.check(path)
        parent, name = posixpath.split(path)
        return os.readlink(os.path.join(self._resolve(parent), name))

    def _read_manifest(self) -> bytes:
        try:
            return _read_file(os.path.join(self._directory, MANIFEST))
        except OSError:
            return b"{}"

    def _resolve(self, path: str) -> str:
        """Return the real path of a host path, following links as if the tree were /."""
        todo = [part for part in path.split("/") if part][::-1]
        done: list[str] = []
        followed = 0
        while todo:
            part = todo.pop()
            if part == ".":
                continue
            if part == "..":
                done = done[:-1]
                continue
            here = os.path.join(self._directory, *done, part)
            if not os.path.islink(here):
                done.append(part)
                continue
            followed += 1
            if followed > _LINK_LIMIT:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            target = os.readlink(here)
            if target.startswith("/"):
                done = []
            todo += [step for step in target.split("/") if step][::-1]
        return os.path.join(self._directory, *done)


class CaptureRoot:
    """A capture file made by `sdeictl capture`, held in memory."""

    live = False

    def __init__(self, file: str) -> None:
        self._files: dict[str, bytes] = {}
        self._links: dict[str, str] = {}
        self._directories: dict[str, set[str]] = {"/": set()}
        try:
            with tarfile.open(file, "r:*") as archive:
                self._load(archive)
        except tarfile.ReadError as error:
            reason = "it is no tar archive, or a damaged one"
            raise SdeictlError(f"{file} cannot be read as a capture: {reason}", Status.UNKNOWN) from error
        except (tarfile.TarError, EOFError, OSError, ValueError, zlib.error, lzma.LZMAError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise SdeictlError(f"{file} cannot be read as a capture: {reason}", Status.UNKNOWN) from error
        if f"/{MANIFEST}" not in self._files:
            raise SdeictlError(f"{file} cannot be read as a capture: it has no {MANIFEST}", Status.UNKNOWN)
        self._manifest = _parse_manifest(self._files[f"/{MANIFEST}"])

    def read(self, path: str) -> bytes:
        """Return a file's content."""
        self._manifest.check(path)
        if path in self._files:
            return self._files[path]
        if path in self._directories:
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        raise _not_found(path)

    def names(self, path: str) -> tuple[str, ...]:
        """Return the sorted names in a directory, with those the capture knows but left out."""
        self._manifest.check(path)
        if path in self._manifest.listings:
            return self._manifest.listings[path]
        if path in self._directories:
            return tuple(sorted(self._directories[path]))
        raise _not_found(path)

    def link(self, path: str) -> str:
        """Return the target of a symbolic link."""
        self._manifest.check(path)
        if path in self._links:
            return self._links[path]
        if path in self._files or path in self._directories:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), path)
        raise _not_found(path)

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

    def _enter(self, path: str) -> None:
        while path != "/":
            parent, name = posixpath.split(path)
            self._directories.setdefault(parent, set()).add(name)
            path = parent


class RecordingRoot:
    """Passes every call on and keeps what came back: the basis of a capture."""

    def __init__(self, root: Root) -> None:
        self._root = root
        self.live = root.live
        self.files: dict[str, bytes] = {}
        self.listings: dict[str, tuple[str, ...]] = {}
        self.links: dict[str, str] = {}
        self.failures: dict[str, OSError] = {}

    def read(self, path: str) -> bytes:
        """Return a file's content."""
        with _Noting(self, path):
            self.files[path] = self._root.read(path)
        return self.files[path]

    def names(self, path: str) -> tuple[str, ...]:
        """Return the sorted names in a directory."""
        with _Noting(self, path):
            self.listings[path] = self._root.names(path)
        return self.listings[path]

    def link(self, path: str) -> str:
        """Return the target of a symbolic link."""
        with _Noting(self, path):
            self.links[path] = self._root.link(path)
        return self.links[path]


class _Noting:
    def __init__(self, recorder: RecordingRoot, path: str) -> None:
        self._recorder, self._path = recorder, path

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, OSError):
            self._recorder.failures[self._path] = error


class _Manifest:
    def __init__(self, listings: dict[str, tuple[str, ...]], failures: dict[str, int]) -> None:
        self.listings = listings
        self._failures = failures

    def check(self, path: str) -> None:
        """Raise what the captured host raised for this path."""
        if path in self._failures:
            number = self._failures[path]
            raise OSError(number, os.strerror(number), path)


def _parse_manifest(data: bytes) -> _Manifest:
    """Read the parts of a capture's manifest that a tree cannot hold; anything odd is ignored."""
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
    return _Manifest(listings, failures)


def _items(value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, dict):
        yield from value.items()


def open_root(path: str | None) -> Root:
    """Return the host to read: the running one, a directory, or a capture file.

    Raises SdeictlError: USAGE if the path does not exist, UNKNOWN if it is no capture.
    """
    if path is None:
        return LiveRoot()
    if not os.path.exists(path):
        raise SdeictlError(f"{path} does not exist", Status.USAGE)
    return DirectoryRoot(path) if os.path.isdir(path) else CaptureRoot(path)


def read_stream(path: str) -> bytes:
    """Return the content of a file the user named; `-` is the standard input."""
    if path == "-":
        with io.open(0, "rb", closefd=False) as stdin:  # noqa: UP020 - the descriptor, not the text stream
            return stdin.read()
    with open(path, "rb") as file:
        return file.read()


def _read_file(path: str) -> bytes:
    # A tree from elsewhere may hold a FIFO: opening that must not wait.
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", path)
        pieces = []
        left = MAX_FILE_BYTES
        # In pieces: /proc/sys refuses a read(2) larger than kmalloc can serve (proc_sys_call_handler()).
        while piece := file.read(_PIECE_BYTES):
            pieces.append(piece)
            left -= len(piece)
            if left < 0:
                raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), path)
    return b"".join(pieces)


def _read_kmsg() -> Iterator[bytes]:
    """Yield the records of /dev/kmsg up to its present end; overwritten ones show as sequence gaps."""
    descriptor = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    left = MAX_FILE_BYTES  # a host that logs faster than this reads must not hold it for ever
    try:
        while left > 0:
            try:
                record = os.read(descriptor, _KMSG_RECORD_BYTES)
                left -= len(record)
                yield record
            except BlockingIOError:
                return
            except BrokenPipeError:
                continue
    finally:
        os.close(descriptor)


def _not_found(path: str) -> FileNotFoundError:
    return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
