"""Reads files whole or in pieces; replaces files so that a power cut leaves the old or the new content."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
import stat
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import BinaryIO

MAX_FILE_BYTES = 32 << 20
"""Limit for a file that is read whole; the files that sdeictl reads are far smaller."""
MAX_STREAM_BYTES = 128 << 20
"""Limit for /proc/kallsyms and /dev/kmsg; both are smaller on every known host."""
MAX_NAMED_BYTES = 512 << 20
"""Limit for a log or a report that the user names."""
_PIECE_BYTES = 1 << 17


def read_stream(path: str) -> bytes:
    """Return the content of a file that the user named; `-` means standard input.

    Raises OSError, with EFBIG for more than MAX_NAMED_BYTES: such a file is no log and no report, and
    reading it could use up the memory.
    """
    # Open the descriptor of standard input: sys.stdin may already hold some bytes in its buffer.
    with open(0 if path == "-" else path, "rb", closefd=path != "-") as file:
        size = os.fstat(file.fileno()).st_size
        data = file.read(MAX_NAMED_BYTES + 1) if size <= MAX_NAMED_BYTES else b""
    if max(size, len(data)) > MAX_NAMED_BYTES:
        raise OSError(errno.EFBIG, f"it has more than {MAX_NAMED_BYTES >> 20} MiB", path)
    return data


def open_large(path: str) -> BinaryIO:
    """Open a file that the user named and that is too large to be read whole.

    Raises OSError, also if the path is neither a regular file nor a block device.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    mode = os.fstat(descriptor).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISBLK(mode)):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", path)
    return open(descriptor, "rb")


def read_file(path: str) -> bytes:
    """Return the content of a regular file; raise OSError, with EFBIG for more than MAX_FILE_BYTES."""
    data = io.BytesIO()
    for piece in _pieces(path, MAX_FILE_BYTES):
        data.write(piece)
    return data.getvalue()


def _pieces(path: str, limit: int) -> Iterator[bytes]:
    """Yield the content of a regular file in pieces; raise OSError, with EFBIG after `limit` bytes."""
    # A captured tree may hold a FIFO, and opening one must not wait for a writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        with open(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise OSError(errno.EINVAL, "not a regular file", path)
            # proc_sys_call_handler() in fs/proc/proc_sysctl.c refuses a read(2) larger than KMALLOC_MAX_SIZE.
            while piece := file.read(_PIECE_BYTES):
                yield piece
                limit -= len(piece)
                if limit < 0:
                    raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), path)
    except FileNotFoundError as error:
        # The file exists, because open(2) succeeded. A caller must not take it for a missing one.
        raise OSError(errno.EIO, "it could be opened, but not be read", path) from error


def search_file(path: str, words: Iterable[bytes], ends: bytes) -> frozenset[bytes]:
    """Return the words that occur in a file and are followed by one of the bytes in `ends`.

    The file is not held in memory. Raises OSError, with EFBIG for more than MAX_STREAM_BYTES.
    """
    wanted = tuple(words)
    pattern = _pattern(wanted, ends)
    found: set[bytes] = set()
    overlap = max(map(len, wanted), default=1)
    tail = b""
    for piece in _pieces(path, MAX_STREAM_BYTES):
        # A word may lie across two pieces; searching only their seam avoids a copy of both.
        for text in (tail + piece[:overlap], piece):
            found.update(match[0] for match in pattern.finditer(text))
        tail = piece[-overlap:]
    return frozenset(found)


def find_words(text: bytes, words: Iterable[bytes], ends: bytes) -> frozenset[bytes]:
    """Return the words that occur in a text and are followed by one of the bytes in `ends`.

    No word may begin within another one.
    """
    return frozenset(match[0] for match in _pattern(tuple(words), ends).finditer(text))


def _pattern(words: tuple[bytes, ...], ends: bytes) -> re.Pattern[bytes]:
    return re.compile(b"%b(?=[%b])" % (_any_of(words) if words else b"(?!)", re.escape(ends)))


def _any_of(words: Iterable[bytes]) -> bytes:
    """Return a pattern for any of these words.

    Words that begin alike share that beginning: at most places of a text one byte then rules all of them out.
    """
    branches = []
    for first, alike in groupby(sorted(set(words)), lambda word: word[:1]):
        word, *others = alike
        rest = _any_of(each[1:] for each in (word, *others)) if others else re.escape(word[1:])
        branches.append(re.escape(first) + rest)
    return branches[0] if len(branches) == 1 else b"(?:%b)" % b"|".join(branches)


def not_found(path: str) -> FileNotFoundError:
    """Return the error that open(2) reports for a path that does not exist."""
    return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)


def write_whole(path: str, data: bytes, mode: int) -> None:
    """Replace a file so that a power cut leaves either its old or its new content.

    Raises OSError, and then leaves the old content and no other file; only if its name cannot be written to
    the disk, the new content is in its place already.
    """
    write_aside(path, data, mode)
    sync_directory(os.path.dirname(path))


def write_aside(path: str, data: bytes, mode: int | None = None) -> None:
    """Write the data to a new file, and rename this file to `path` when it is complete.

    Without a mode its permissions follow the umask. Raises OSError, and then leaves no new file.
    """
    new = f"{path}.new"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(new)
    try:
        _write_synced(new, data, mode)
        os.rename(new, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(new)
        raise


def _write_synced(path: str, data: bytes, mode: int | None) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode or 0o666)
    with open(descriptor, "wb") as file:
        if mode is not None:
            os.fchmod(file.fileno(), mode)  # open(2) applies the umask
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync_directory(directory: str) -> None:
    """Write the names in a directory to the disk, so that they survive a power cut; raise OSError."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
