"""Opens the host that the user named: the running one, a directory tree, a capture, or a log alone."""

from __future__ import annotations

import errno
import os

from sdeictl.errors import SdeictlError, Status
from sdeictl.host.directory import DirectoryRoot
from sdeictl.host.paths import CAPTURED_LOGS
from sdeictl.host.root import Root

MAX_NAMES = 1000
"""So many names of a directory are looked at to find a host below it."""


def open_root(path: str | None) -> Root:
    """Return the host at a path; None means the running host. The content of a file decides between them.

    Raises SdeictlError: with Status.USAGE if the path does not exist, else with Status.UNKNOWN.
    """
    if path is None:
        from sdeictl.host.live import LiveRoot  # noqa: PLC0415 - a captured host does without

        return LiveRoot()
    check_exists(path)
    if os.path.isdir(path):
        return _open_directory(path)
    return _open_file(path)


def place_of(root: Root, path: str) -> str:
    """Return where a large file of a host is on this machine.

    Raises OSError: with EOPNOTSUPP for a file in an archive.
    """
    if root.live:
        return path
    if isinstance(root, DirectoryRoot):
        return root.place(path)
    raise OSError(errno.EOPNOTSUPP, "a dump in an archive is not read: unpack the archive", path)


def check_exists(path: str) -> None:
    """Raise SdeictlError with Status.USAGE if a path does not exist, with Status.UNKNOWN if stat(2) fails."""
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise SdeictlError(f"{path} does not exist", Status.USAGE) from error
    except OSError as error:
        raise SdeictlError(f"{path} cannot be read: {error.strerror}", Status.UNKNOWN) from error


def holds_nothing(path: str, unread: str = "") -> SdeictlError:
    """Return the error for a path that has nothing of a host; it names a host that is one level below.

    `unread` says why the log there was not read, if that is all there is.
    """
    if unread:
        return _unreadable(path, unread)
    if not os.path.isdir(path):
        return _unreadable(path, "it holds none of a host's files and no kernel record")
    text = f"{path} holds none of a host's files, such as /proc/cpuinfo or a kernel log in kmsg.txt"
    try:
        names = sorted(os.listdir(path))[:MAX_NAMES]
    except OSError as error:
        return SdeictlError(f"{path} cannot be read: {error.strerror}", Status.UNKNOWN)
    places = (os.path.join(path, name) for name in names)
    host = next((place for place in places if _looks_like_host(place)), None)
    return SdeictlError(f"{text}; {host} has some" if host else text, Status.UNKNOWN)


def _looks_like_host(path: str) -> bool:
    names = ("proc/cpuinfo", "proc/version", *(name.lstrip("/") for name in CAPTURED_LOGS))
    return any(os.path.isfile(os.path.join(path, name)) for name in names)


def _open_directory(path: str) -> Root:
    tree = DirectoryRoot(path)
    if not os.path.isdir(os.path.join(path, "sos_commands")):
        return tree
    from sdeictl.host.sos import SosRoot  # noqa: PLC0415 - few trees are reports of sos

    return SosRoot(tree)


def _open_file(path: str) -> Root:
    from sdeictl.host.named import NamedFile  # noqa: PLC0415 - unpacking costs more than a directory's probe

    file = NamedFile(path)
    try:
        # A FIFO or a device may never end.
        log = file.read_text() if os.path.isfile(path) else None
    except OSError as error:
        raise _unreadable(path, str(error.strerror)) from error
    if file.is_archive:
        from sdeictl.host.archive import open_archive  # noqa: PLC0415 - as above

        return open_archive(path)
    if log is None or file.damage:
        raise _unreadable(path, file.damage or "not a regular file")
    from sdeictl.host.log_alone import LogRoot  # noqa: PLC0415 - as above

    return LogRoot(log)


def _unreadable(path: str, reason: str) -> SdeictlError:
    text = f"{path} cannot be read as a capture or a kernel log: {reason}"
    return SdeictlError(text, Status.UNKNOWN)
