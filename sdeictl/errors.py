"""The exit statuses of the commands, which are a contract, and the error that ends a command."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum


class Status(IntEnum):
    """The exit status of every command."""

    GOOD = 0
    FAILED = 1
    """The host cannot reach a masked CPU, a drill failed, or a CPU is lost."""
    USAGE = 2
    """Also for a named file that does not exist, exists already or cannot be created."""
    UNKNOWN = 3
    """Could not tell: privilege, platform, provider or evidence is missing."""
    REFUSED = 4
    """Policy refuses the drill."""
    INTERNAL = 70
    """A bug: EX_SOFTWARE of sysexits.h."""
    INTERRUPTED = 130
    """By Control-C: 128 + SIGINT, as in a shell."""


def error_text(error: OSError) -> str:
    """Return the reason of a failed system call, with its file: `/dev/kmsg: Permission denied`."""
    reason = error.strerror or str(error)
    return f"{error.filename}: {reason}" if error.filename else reason


class SdeictlError(Exception):
    """Ends a command with an exit status. The message is a clause that the user can act on."""

    def __init__(self, message: str, status: Status) -> None:
        super().__init__(message)
        self.status = status


MAX_NAMES = 5
"""So many names a suggestion has."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a question that offers the known names most like a wrong one; "" if none is like it."""
    from difflib import get_close_matches  # noqa: PLC0415 - only a mistake needs it

    names = list(known)
    near = [each for each in names if len(name) > 1 and name in each] or get_close_matches(
        name, names, cutoff=0.7
    )
    return f"did you mean {' or '.join(near[:MAX_NAMES])}?" if near else ""
