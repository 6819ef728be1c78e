"""The words of the contract that checks use, and how each of them is shown."""

from __future__ import annotations

from sdeictl.text import NamedTuple, Word


class Outcome(Word):
    """What a check found."""

    PASS = "pass"  # noqa: S105 - not a password
    FAIL = "fail"
    UNKNOWN = "unknown"
    NOT_APPLICABLE = "not-applicable"


class OutcomeLook(NamedTuple):
    """How an outcome is shown."""

    text: str
    style: str
    metric: float


OUTCOMES = {
    Outcome.PASS: OutcomeLook("pass", "green", 1.0),
    Outcome.FAIL: OutcomeLook("fail", "red", 0.0),
    Outcome.UNKNOWN: OutcomeLook("unknown", "yellow", -1.0),
    Outcome.NOT_APPLICABLE: OutcomeLook("n/a", "dim", -2.0),
}


class Severity(Word):
    """How much a finding matters."""

    ERROR = "error"
    """A link of the chain is broken."""
    WARNING = "warning"
    """Something around the chain is broken."""
    NOTICE = "notice"
    """It is unknown."""
    INFO = "info"


class Owner(Word):
    """Who can fix what a check found."""

    FIRMWARE = "firmware"
    KERNEL = "kernel"
    ADMIN = "admin"


OWNERS = {
    Owner.FIRMWARE: "firmware vendor",
    Owner.KERNEL: "kernel builder",
    Owner.ADMIN: "administrator",
}
"""Each owner as a person: readers took `kernel` for no one."""
