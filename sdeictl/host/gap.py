"""Gaps: the sources of facts that could not be read, and why."""

from __future__ import annotations

from collections.abc import Iterable

from sdeictl.text import NamedTuple, Word


class GapKind(Word):
    """Why a source could not be read."""

    ABSENT = "absent"
    """It does not exist."""
    DENIED = "denied"
    """Permission was denied."""
    BROKEN = "broken"
    """It is damaged, cut short or of another kind."""


class Gap(NamedTuple):
    """A source that could not be read, or not to its end."""

    source: str
    """Its path on the host, or the command that reads it."""
    kind: GapKind
    detail: str
    """The reason, a clause for people."""


MISSING_FILE = "it does not exist"
"""The detail of a gap where a file is absent."""
DENIED_HERE = "permission denied: run as root"
"""Now, to this process."""
DENIED_IN_CAPTURE = "permission was denied during the capture: capture the host again as root"
"""The capture says so. No permission on this machine helps."""
UNREAD_LOG = "was not read: "
"""A gap says so of a log that is there. The reason follows."""


def unread_log(gaps: Iterable[Gap]) -> str:
    """Return why the log of a host was not read, "" if no gap says so."""
    return next((gap.detail for gap in gaps if UNREAD_LOG in gap.detail), "")
