"""Which files of others a process trusts: regular files of a known owner and of bounded size, and no links.

The collector runs as root, the watcher and the exporter do not. Each of them expects that another user may
have put a file there.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Collection, Iterator
from typing import BinaryIO

ROOT = 0
"""The user who writes the report, and the results of drills and benchmarks."""
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
"""A link that takes the place of a file is not followed, and open(2) does not wait for a writer of a FIFO."""


class UntrustedError(Exception):
    """A file that is not trusted. The message is a sentence that says why."""


def require_trusted(found: os.stat_result, owners: Collection[int], most_bytes: int) -> None:
    """Raise UntrustedError unless this is a regular file of one of these users and not too large."""
    if stat.S_ISLNK(found.st_mode):
        raise UntrustedError("It is a symbolic link.")
    if not stat.S_ISREG(found.st_mode):
        raise UntrustedError("It is not a regular file.")
    if found.st_uid not in owners:
        raise UntrustedError(f"It belongs to user {found.st_uid}, which is not trusted.")
    if found.st_size > most_bytes:
        raise UntrustedError(f"It has {found.st_size} bytes.")


@contextlib.contextmanager
def open_trusted(path: str, owners: Collection[int], most_bytes: int) -> Iterator[BinaryIO]:
    """Open a file of one of these users; raise OSError or UntrustedError.

    It examines the kind of the file first, because opening a device can already have an effect.
    """
    require_trusted(os.lstat(path), owners, most_bytes)
    with open(path, "rb", opener=lambda name, _flags: os.open(name, _FLAGS)) as file:
        require_trusted(os.fstat(file.fileno()), owners, most_bytes)
        yield file


def read_trusted(path: str, owners: Collection[int], most_bytes: int) -> bytes:
    """Return the content of a file of one of these users; raise OSError or UntrustedError."""
    with open_trusted(path, owners, most_bytes) as file:
        data = file.read(most_bytes + 1)
    if len(data) > most_bytes:  # it has grown since
        raise UntrustedError(f"It has more than {most_bytes} bytes.")
    return data


def trusted_users(directory: str = "") -> frozenset[int]:
    """Return the users whose files this process trusts: root, its own user, and the owner of a directory.

    Only root can make the directory, so root has chosen its owner. The process cannot look up that owner by
    name: in a user namespace (PrivateUsers=) the user has another number.
    """
    own = frozenset((ROOT, os.geteuid()))
    if not directory:
        return own
    try:
        found = os.lstat(directory)
    except OSError:
        return own
    return own | {found.st_uid} if stat.S_ISDIR(found.st_mode) else own
