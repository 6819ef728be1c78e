"""Reads files whole or in pieces; replaces files so that a power cut leaves the old or the new content."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
import stat
from collections.abc import Iterable, Iterator
from itertools import groupby, islice

MAX_FILE_BYTES = 32 << 20
"""Limit for a file that is read whole; the files that sdeictl reads are far smaller."""
MAX_STREAM_BYTES = 128 << 20
"""Limit for /proc/kallsyms and /dev/kmsg; both are smaller on every known host."""
MAX_NAMED_BYTES = 128 << 20
"""Limit for a log that the user names and that is read whole."""
MAX_DOCUMENT_BYTES = 4 << 20
"""Limit for a file of JSON; the report of a host with 4,096 CPUs has 1 MiB."""
MAX_NAMES = 100_000
"""Limit for the names in a directory."""
WRITER_SECONDS = 5
"""So long a FIFO that the user names may have no writer."""
_PIECE_BYTES = 1 << 17


def open_named(path: str) -> io.BufferedReader:
    """Open a file that the user named; `-` means standard input. Raises OSError, also for an idle FIFO."""
    if path == "-":
        # Open the descriptor of standard input: sys.stdin may already hold some bytes in its buffer.
        return open(0, "rb", closefd=False)
    # Opening a FIFO must not wait for a writer.
    file = open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")  # noqa: SIM115
    try:
        if stat.S_ISDIR(os.fstat(file.fileno()).st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        _await_writer(path, file.fileno())
        os.set_blocking(file.fileno(), True)
    except OSError:
        file.close()
        raise
    return file


def _await_writer(path: str, descriptor: int) -> None:
    """Wait for the first data in a FIFO. A pipe of the shell, `<(...)`, has no name and has a writer."""
    if not stat.S_ISFIFO(os.fstat(descriptor).st_mode) or not os.path.exists(os.path.realpath(path)):
        return
    import select  # noqa: PLC0415 - few files that a user names are a FIFO

    waiting = select.poll()
    waiting.register(descriptor, select.POLLIN)
    if not waiting.poll(WRITER_SECONDS * 1000):
        text = f"it is a FIFO, and nobody wrote to it for {WRITER_SECONDS} s"
        raise OSError(errno.EAGAIN, text, path)


def read_stream(path: str, limit: int = MAX_NAMED_BYTES) -> bytes:
    """Return the content of a file that the user named; `-` means standard input.

    Raises OSError, with EFBIG for more than `limit` bytes: reading such a file could use up the memory.
    """
    data = read_start(path, limit + 1)
    if len(data) > limit:
        raise OSError(errno.EFBIG, f"it has more than {limit >> 20} MiB", path)
    return data


def read_start(path: str, size: int) -> bytes:
    """Return at most the first `size` bytes of a file that the user named; raise OSError."""
    with open_named(path) as file:
        data = bytearray()
        while len(data) < size and (piece := file.read(min(size - len(data), _PIECE_BYTES))):
            data += piece
    return bytes(data)


def open_large(path: str, *, device: bool = False) -> io.BufferedReader:
    """Open a regular file, or with `device` a block device, that is too large to be read whole.

    Raises OSError.
    """
    # To open a watchdog or a tape already does something.
    _check_kind(path, os.stat(path).st_mode, device)
    # Should it be replaced by a FIFO just now, opening it does not wait for a writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _check_kind(path, os.fstat(descriptor).st_mode, device)
    except OSError:
        os.close(descriptor)
        raise
    return open(descriptor, "rb")


def _check_kind(path: str, mode: int, device: bool) -> None:
    if not (stat.S_ISREG(mode) or (device and stat.S_ISBLK(mode))):
        raise OSError(errno.EINVAL, "not a regular file", path)


def read_file(path: str) -> bytes:
    """Return the content of a regular file; raise OSError, with EFBIG for more than MAX_FILE_BYTES."""
    data = io.BytesIO()
    for piece in _pieces(path, MAX_FILE_BYTES):
        data.write(piece)
    return data.getvalue()


def _pieces(path: str, limit: int) -> Iterator[bytes]:
    """Yield the content of a regular file in pieces; raise OSError, with EFBIG after `limit` bytes."""
    with open_large(path) as file:
        try:
            # proc_sys_call_handler() in fs/proc/proc_sysctl.c refuses a read(2) larger than KMALLOC_MAX_SIZE.
            while piece := file.read(_PIECE_BYTES):
                yield piece
                limit -= len(piece)
                if limit < 0:
                    raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), path)
        except FileNotFoundError as error:
            # The file exists, because open(2) succeeded. A caller must not take it for a missing one.
            raise OSError(errno.EIO, "it could be opened, but not be read", path) from error


def list_directory(path: str) -> tuple[str, ...]:
    """Return the sorted names in a directory; raise OSError, with EFBIG for more than MAX_NAMES."""
    with os.scandir(path) as entries:
        names = [entry.name for entry in islice(entries, MAX_NAMES + 1)]
    if len(names) > MAX_NAMES:
        raise OSError(errno.EFBIG, f"it has more than {MAX_NAMES:,} names", path)
    return tuple(sorted(names))


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


def exists(path: str) -> bool:
    """Tell whether a path exists; raise OSError if that cannot be told, where os.path.exists() says no."""
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


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
