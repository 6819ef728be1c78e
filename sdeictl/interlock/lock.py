"""The lock that allows only one drill, or one experiment of `bench ab`, at a time on a host."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time

from sdeictl.host.paths import RUN_DIRECTORY
from sdeictl.interlock.journal import JournalError

_LOCK = "drill.lock"


class BusyError(Exception):
    """Another drill or experiment holds the lock."""


class Lock:
    """The lock, held from its construction on. Helpers inherit it, so it is free when the last one has ended.

    Raises BusyError if another process holds it for `wait_seconds`, JournalError if its file cannot be made
    or is another user's.
    """

    def __init__(self, directory: str = RUN_DIRECTORY, wait_seconds: float = 0) -> None:
        try:
            os.makedirs(directory, mode=0o755, exist_ok=True)
            self._descriptor = os.open(
                os.path.join(directory, _LOCK), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
            )
        except OSError as error:
            raise JournalError(
                f"The lock {directory}/{_LOCK} cannot be created: {error.strerror}."
            ) from error
        found = os.fstat(self._descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_uid not in (0, os.geteuid()):
            os.close(self._descriptor)  # whoever made it could hold it for ever
            raise JournalError(f"The lock {directory}/{_LOCK} is not a file of root: remove it.")
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
        """Release the lock; it stays taken until the helpers of this drill have ended too."""
        os.close(self._descriptor)
