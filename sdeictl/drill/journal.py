"""What a drill has changed and must put back, on disk before it is changed; the lock: one drill at a time."""

import contextlib
import errno
import fcntl
import json
import os
import time
from typing import Any, NamedTuple

from sdeictl.drill.host import CHANGEABLE

RUN_DIRECTORY = "/run/sdeictl"
STATE_DIRECTORY = "/var/lib/sdeictl/drills"
_JOURNAL = "journal.json"
_LOCK = "drill.lock"


class Setting(NamedTuple):
    """One number below /proc/sys that a drill changes."""

    path: str
    found: int
    """To be put back."""
    chosen: int
    """What the drill sets; any other value is somebody else's, and stays."""


class Entry(NamedTuple):
    """One drill that has begun and not yet ended."""

    id: str
    drill: str
    variant: str | None
    boot_id: str
    pid: int
    settings: tuple[Setting, ...] = ()


class JournalError(Exception):
    """The journal cannot be used; the message is a sentence."""


class BusyError(Exception):
    """Another drill holds the lock."""


class Lock:
    """Held by the drill and by its helpers: free only when the last of them has ended."""

    def __init__(self, directory: str = RUN_DIRECTORY, wait_seconds: float = 0) -> None:
        try:
            os.makedirs(directory, mode=0o755, exist_ok=True)
            self._descriptor = os.open(
                os.path.join(directory, _LOCK), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
            )
        except OSError as error:
            raise JournalError(f"The lock {directory}/{_LOCK} cannot be made: {error.strerror}.") from error
        deadline = time.monotonic() + wait_seconds
        while not self._try():
            if time.monotonic() >= deadline:
                os.close(self._descriptor)
                raise BusyError
            time.sleep(0.1)

    def _try(self) -> bool:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            return False
        return True

    def release(self) -> None:
        """Let the next drill go on, once this one's helpers have ended too."""
        os.close(self._descriptor)


def write_journal(entry: Entry, directory: str = STATE_DIRECTORY) -> None:
    """Put the intent on disk, before the host is changed; raise JournalError if it is not there for sure."""
    try:
        os.makedirs(directory, mode=0o755, exist_ok=True)
        _replace(os.path.join(directory, _JOURNAL), json.dumps(entry._asdict()).encode() + b"\n", 0o600)
    except OSError as error:
        raise JournalError(
            f"The journal {directory}/{_JOURNAL} cannot be written: {error.strerror}."
        ) from error


def read_journal(directory: str = STATE_DIRECTORY) -> Entry | None:
    """Return the drill that has not ended, if there is one; raise JournalError if that cannot be told."""
    path = os.path.join(directory, _JOURNAL)
    try:
        with open(path, "rb") as file:
            data = file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise JournalError(f"The journal {path} cannot be read: {error.strerror}.") from error
    try:
        return _parse_entry(data)
    except (ValueError, TypeError, RecursionError) as error:
        text = f"The journal {path} is damaged: look at it and at the settings it names, then remove it."
        raise JournalError(text) from error


def _parse_entry(data: bytes) -> Entry:
    entry = Entry(**json.loads(data))
    settings = tuple(Setting(*setting) for setting in entry.settings)
    if not all(isinstance(value, int) for setting in settings for value in setting[1:]):
        raise ValueError("a setting that is no number")
    if not all(setting.path in CHANGEABLE for setting in settings):
        raise ValueError("a setting that no drill changes")
    return entry._replace(settings=settings)


def end_journal(directory: str = STATE_DIRECTORY) -> None:
    """Note that everything is put back."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(os.path.join(directory, _JOURNAL))
    _sync_directory(directory)


def store_result(identifier: str, result: bytes, log: bytes, directory: str = STATE_DIRECTORY) -> None:
    """Keep a result (0644) and its log slice (0600)."""
    _replace(os.path.join(directory, f"{identifier}.log"), log, 0o600)
    _replace(os.path.join(directory, f"{identifier}.json"), result, 0o644)


class StoredResults(NamedTuple):
    """The results kept on this host."""

    latest: tuple[dict[str, Any], ...]
    """The last one of each drill and variant."""
    unreadable: tuple[str, ...]


def read_results(directory: str = STATE_DIRECTORY) -> StoredResults:
    """Return the last result of each drill and variant, and the files that are none."""
    latest: dict[tuple[str, str | None], dict[str, Any]] = {}
    unreadable = []
    try:
        names = sorted(os.listdir(directory))
    except FileNotFoundError:
        names = []
    for name in names:
        if not name.endswith(".json") or name == _JOURNAL:
            continue
        try:
            with open(os.path.join(directory, name), "rb") as file:
                result = json.loads(file.read())
            latest[str(result["drill"]), result["variant"]] = result
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            unreadable.append(os.path.join(directory, name))
    return StoredResults(tuple(latest.values()), tuple(unreadable))


def _replace(path: str, data: bytes, mode: int) -> None:
    """Write a file so that it is there as a whole or not at all, also after a power cut."""
    new = f"{path}.new"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(new)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with open(descriptor, "wb") as file:
        os.fchmod(file.fileno(), mode)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.rename(new, path)
    _sync_directory(os.path.dirname(path))


def _sync_directory(directory: str) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
