"""Exit statuses and the error every command ends with. The statuses are a contract."""

from enum import IntEnum


class Status(IntEnum):
    """Exit status of every command."""

    GOOD = 0
    FAILED = 1
    USAGE = 2
    UNKNOWN = 3
    REFUSED = 4
    INTERNAL = 70
    INTERRUPTED = 130


def error_text(error: OSError) -> str:
    """Return a system call's error as people say it: `/dev/kmsg: Permission denied`."""
    reason = error.strerror or str(error)
    return f"{error.filename}: {reason}" if error.filename else reason


class SdeictlError(Exception):
    """Something the user can read and act on: one sentence, and the exit status it ends with."""

    def __init__(self, message: str, status: Status) -> None:
        super().__init__(message)
        self.status = status
