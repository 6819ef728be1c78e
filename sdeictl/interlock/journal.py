"""What a drill has changed and must put back, on disk before it is changed; the lock: one drill at a time."""

import contextlib
import errno
import fcntl
import json
import os
import time
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sdeictl.interlock.host import CHANGEABLE

RUN_DIRECTORY = "/run/sdeictl"
STATE_DIRECTORY = "/var/lib/sdeictl/drills"
EXPERIMENT = "/var/lib/sdeictl/bench/ab.journal"
"""There while `bench ab` goes through its boots: no drill meanwhile."""
JOURNAL_FILE = "journal.json"
_LOCK = "drill.lock"
_STAMP = "%Y%m%dT%H%M%S.%fZ"
OUTCOMES = ("pass", "fail", "unknown", "lost")
"""How a drill ends that has a result."""
COSTLY = ("lockup", "stop", "crash")
"""The drills that need arming."""


def time_stamp() -> str:
    """Return the moment as results are named after it: in their order, and never two the same."""
    return datetime.now(UTC).strftime(_STAMP)


def stamped_at(identifier: str) -> float:
    """Return when an identifier, `STAMP-...`, was made, in seconds since 1970; raise ValueError."""
    made = datetime.strptime(identifier.split("-", maxsplit=1)[0], _STAMP)
    return made.replace(tzinfo=UTC).timestamp()


class Setting(NamedTuple):
    """One number below /proc/sys that a drill changes."""

    path: str
    found: int
    """To be put back."""
    chosen: int
    """What the drill sets; any other value is somebody else's, and stays."""


class Aftermath(NamedTuple):
    """What is needed to judge a drill after the reset that ends it."""

    fired: bool
    """From here on the host may be down at any time."""
    target: int | None
    channel: str | None
    """`ramoops`, `stated` or None: where the kernel's last lines will be."""
    path: str | None
    host: dict[str, Any]
    """As in a report: the kernel and the firmware it was done on."""
    places: dict[str, int]
    """Physical address of each CPU's note in a crash dump (cpuN/crash_notes)."""
    online: tuple[int, ...]
    tries: int = 0
    """How often it was looked for in vain during the boot `tried_in`."""
    tried_in: str = ""


class Entry(NamedTuple):
    """One drill that has begun and not yet ended."""

    id: str
    drill: str
    variant: str | None
    boot_id: str
    pid: int
    settings: tuple[Setting, ...] = ()
    aftermath: Aftermath | None = None
    """Only of drills that end in a reset."""


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
                os.path.join(directory, _LOCK), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
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
        write_whole(os.path.join(directory, JOURNAL_FILE), _entry_json(entry) + b"\n", 0o600)
    except OSError as error:
        raise JournalError(
            f"The journal {directory}/{JOURNAL_FILE} cannot be written: {error.strerror}."
        ) from error


def _entry_json(entry: Entry) -> bytes:
    aftermath = entry.aftermath._asdict() if entry.aftermath else None
    return json.dumps(entry._asdict() | {"aftermath": aftermath}).encode()


def read_journal(directory: str = STATE_DIRECTORY) -> Entry | None:
    """Return the drill that has not ended, if there is one; raise JournalError if that cannot be told."""
    path = os.path.join(directory, JOURNAL_FILE)
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
    aftermath = Aftermath(**entry.aftermath) if isinstance(entry.aftermath, dict) else None
    return entry._replace(settings=settings, aftermath=aftermath)


def end_journal(directory: str = STATE_DIRECTORY) -> None:
    """Note that everything is put back, and the result is kept."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(os.path.join(directory, JOURNAL_FILE))
    _sync_directory(directory)


def store_result(identifier: str, result: bytes, log: bytes, directory: str = STATE_DIRECTORY) -> None:
    """Keep a result (0644) and, if it has one, its log slice (0600)."""
    if log:
        write_whole(os.path.join(directory, f"{identifier}.log"), log, 0o600)
    write_whole(os.path.join(directory, f"{identifier}.json"), result, 0o644)


def read_result(identifier: str, directory: str = STATE_DIRECTORY) -> dict[str, Any] | None:
    """Return a drill's own result, if it came to keep one."""
    results, _unreadable = _results(directory)
    return next((result for result in results if result.get("id") == identifier), None)


class StoredResults(NamedTuple):
    """The results kept on this host."""

    latest: tuple[dict[str, Any], ...]
    """The last one of each drill and variant."""
    unreadable: tuple[str, ...]


def read_results(directory: str = STATE_DIRECTORY) -> StoredResults:
    """Return the last result of each drill and variant, and the files that are none."""
    results, unreadable = _results(directory)
    latest = {(str(result["drill"]), result["variant"]): result for result in results}
    return StoredResults(tuple(latest.values()), tuple(unreadable))


def _results(directory: str) -> tuple[list[dict[str, Any]], list[str]]:
    """Return all results, oldest first, and the paths of files that are none."""
    results, unreadable = [], []
    try:
        names = sorted(os.listdir(directory))
    except FileNotFoundError:
        names = []
    for name in names:
        if not name.endswith(".json") or name == JOURNAL_FILE:
            continue
        try:
            with open(os.path.join(directory, name), "rb") as file:
                result = json.loads(file.read())
            if {"drill", "variant"} <= result.keys() and result["outcome"] in OUTCOMES:
                results.append(result)
                continue
        except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError):
            pass
        unreadable.append(os.path.join(directory, name))
    return results, unreadable


def read_unresolved(directory: str = STATE_DIRECTORY) -> int:
    """Return how many drills that can cost a host ended unknown or lost, the last ones in a row."""
    count = 0
    for result in _results(directory)[0]:
        if result.get("drill") in COSTLY and result.get("outcome") != "refused":
            count = count + 1 if result.get("outcome") in ("unknown", "lost") else 0
    return count


def write_whole(path: str, data: bytes, mode: int) -> None:
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
