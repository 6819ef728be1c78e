"""A host's files below an injected root: the running host, a directory, or a capture file.

The only open() of host files. Every path is written as on the host.
"""

import errno
import io
import json
import os
import posixpath
import stat
from collections.abc import Iterable, Iterator
from typing import BinaryIO, Protocol

from sdeictl.errors import SdeictlError, Status
from sdeictl.probe.facts import KMSG

MANIFEST = "sdeictl-capture.json"
MAX_FILE_BYTES = 32 << 20
"""More than any file has that is read whole."""
MAX_STREAM_BYTES = 128 << 20
"""More than /proc/kallsyms or /dev/kmsg has."""
MAX_NAMED_BYTES = 512 << 20
"""More than any log or report has that somebody names."""
_LINK_LIMIT = 40
_PIECE_BYTES = 1 << 17
_KMSG_RECORD_BYTES = 16384
_KMSG_DEVICE = os.makedev(1, 11)
"""Documentation/admin-guide/devices.txt"""


class Root(Protocol):
    """Read access to one host. Every method raises OSError as open(2) would."""

    live: bool

    def read(self, path: str) -> bytes:
        """Return a file's content."""

    def search(self, path: str, words: Iterable[bytes], ends: bytes) -> frozenset[bytes]:
        """Return which of these words a file has before one of the bytes in `ends`, without holding it."""

    def names(self, path: str) -> tuple[str, ...]:
        """Return the sorted names in a directory."""

    def link(self, path: str) -> str:
        """Return the target of a symbolic link."""


class LiveRoot:
    """The running host."""

    live = True

    def read(self, path: str) -> bytes:
        """Return a file's content; /dev/kmsg is read to its present end, without waiting."""
        if path == KMSG:
            return b"".join(_read_kmsg())
        return _read_file(path)

    def search(self, path: str, words: Iterable[bytes], ends: bytes) -> frozenset[bytes]:
        """Return which of these words a file has before one of the bytes in `ends`."""
        return _search_file(path, words, ends)

    def names(self, path: str) -> tuple[str, ...]:
        """Return the sorted names in a directory."""
        return tuple(sorted(os.listdir(path)))

    def link(self, path: str) -> str:
        """Return the target of a symbolic link."""
        return os.readlink(path)

    def open(self, path: str) -> BinaryIO:
        """Open a file too large to be read whole, /proc/kcore, without a buffer."""
        return open(path, "rb", buffering=0)


class DirectoryRoot:
    """A tree on disk. Symbolic links stay inside it, whatever they say."""

    live = False

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._resolved: dict[str, str] = {}
        self._manifest = parse_manifest(self._read_manifest())

    def read(self, path: str) -> bytes:
        """Return a file's content."""
        self._manifest.check(path)
        return _read_file(self._resolve(path))

    def search(self, path: str, words: Iterable[bytes], ends: bytes) -> frozenset[bytes]:
        """Return which of these words a file has before one of the bytes in `ends`."""
        self._manifest.check(path)
        return _search_file(self._resolve(path), words, ends)

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
        """Return the real path of a host path."""
        parent, name = posixpath.split(path)
        # A large host has thousands of small files in a few hundred directories.
        if parent not in self._resolved:
            self._resolved[parent] = self._walk(parent)
        here = f"{self._resolved[parent]}/{name}"
        return self._walk(path) if name in ("", ".", "..") or os.path.islink(here) else here

    def _walk(self, path: str) -> str:
        """Follow a path step by step, with its links as if the tree were /."""
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

    def search(self, path: str, words: Iterable[bytes], ends: bytes) -> frozenset[bytes]:
        """Return which of these words a file has before one of the bytes in `ends`; it is kept whole."""
        return find_words(self.read(path), words, ends)

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


class Manifest:
    """What a tree cannot hold of a captured host: names that were left out, and what could not be read."""

    def __init__(self, listings: dict[str, tuple[str, ...]], failures: dict[str, int]) -> None:
        self.listings = listings
        self._failures = failures

    def check(self, path: str) -> None:
        """Raise what the captured host raised for this path."""
        if path in self._failures:
            number = self._failures[path]
            raise OSError(number, os.strerror(number), path)


def parse_manifest(data: bytes) -> Manifest:
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
    return Manifest(listings, failures)


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
    if os.path.isdir(path):
        return DirectoryRoot(path)
    from sdeictl.host.archive import CaptureRoot  # noqa: PLC0415 - tarfile costs more than a directory's probe

    return CaptureRoot(path)


def read_stream(path: str) -> bytes:
    """Return the content of a file the user named; `-` is the standard input.

    Raises OSError, also for what is too large to be a log or a report, before there is no memory left.
    """
    # By the descriptor: the text stream of the standard input has a buffer of its own.
    with io.open(0 if path == "-" else path, "rb", closefd=path != "-") as file:  # noqa: UP020
        size = os.fstat(file.fileno()).st_size
        data = file.read(MAX_NAMED_BYTES + 1) if size <= MAX_NAMED_BYTES else b""
    if max(size, len(data)) > MAX_NAMED_BYTES:
        raise OSError(errno.EFBIG, f"it has more than {MAX_NAMED_BYTES >> 20} MiB", path)
    return data


def open_large(path: str) -> BinaryIO:
    """Open a file the user named that is too large to be read whole; raise OSError, for a FIFO too."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    mode = os.fstat(descriptor).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISBLK(mode)):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", path)
    return open(descriptor, "rb")


def _read_file(path: str) -> bytes:
    data = io.BytesIO()
    for piece in _pieces(path, MAX_FILE_BYTES):
        data.write(piece)
    return data.getvalue()


def _pieces(path: str, left: int) -> Iterator[bytes]:
    # A tree from elsewhere may hold a FIFO: opening that must not wait.
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", path)
        # In pieces: /proc/sys refuses a read(2) larger than kmalloc can serve (proc_sys_call_handler()).
        while piece := file.read(_PIECE_BYTES):
            yield piece
            left -= len(piece)
            if left < 0:
                raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), path)


def _search_file(path: str, words: Iterable[bytes], ends: bytes) -> frozenset[bytes]:
    wanted = set(words)
    overlap = max(map(len, wanted), default=1)
    tail = b""
    for piece in _pieces(path, MAX_STREAM_BYTES):
        # A word may lie across two pieces; joining them whole would copy every one.
        for text in (tail + piece[:overlap], piece):
            wanted -= find_words(text, wanted, ends)
        tail = piece[-overlap:]
    return frozenset(words) - wanted


def find_words(text: bytes, words: Iterable[bytes], ends: bytes) -> frozenset[bytes]:
    """Return which of these words the text has before one of the bytes in `ends`."""
    return frozenset(word for word in words if _has_word(text, word, ends))


def _has_word(text: bytes, word: bytes, ends: bytes) -> bool:
    at = text.find(word)
    while at >= 0:
        end = at + len(word)
        if text[end : end + 1] and text[end] in ends:
            return True
        at = text.find(word, end)
    return False


def open_kmsg(path: str = KMSG) -> int:
    """Return a descriptor of the kernel log from its start; raises OSError.

    Also where a container has another device in its place: /dev/null never says that it has come to its end.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if os.fstat(descriptor).st_rdev != _KMSG_DEVICE:
        os.close(descriptor)
        raise OSError(errno.ENXIO, "in its place is something else, as in a container", path)
    return descriptor


def kmsg_records(descriptor: int) -> Iterator[bytes]:
    """Yield the records of /dev/kmsg up to its present end; overwritten ones show as sequence gaps."""
    while True:
        try:
            yield os.read(descriptor, _KMSG_RECORD_BYTES)
        except BlockingIOError:
            return
        except BrokenPipeError:
            continue


def _read_kmsg() -> Iterator[bytes]:
    descriptor = open_kmsg()
    left = MAX_STREAM_BYTES  # a host that logs faster than this reads must not hold it for ever
    try:
        for record in kmsg_records(descriptor):
            yield record
            left -= len(record)
            if left <= 0:
                return
    finally:
        os.close(descriptor)


def not_found(path: str) -> FileNotFoundError:
    """Return what open(2) says of a path that is not there."""
    return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
