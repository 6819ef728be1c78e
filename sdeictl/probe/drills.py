"""The words for drills and their outcomes, how each is shown, and the names of stored results."""

from __future__ import annotations

import re
from datetime import datetime, timezone

from sdeictl.errors import Status
from sdeictl.text import NamedTuple, Word

MARK = "sdeictl: drill "
"""How the line begins that a drill writes to the kernel log before it begins; its id follows."""
_STAMP = "%Y%m%dT%H%M%S.%fZ"
_STAMP_PARTS = re.compile(r"(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)\.(\d{6})Z", re.ASCII)


class DrillKind(Word):
    """What a drill does to the host; drill/catalog.py has the variants."""

    BACKTRACE = "backtrace"
    LOCKUP = "lockup"
    STOP = "stop"
    CRASH = "crash"

    @property
    def costs_host(self) -> bool:
        """Tell whether it can cost the host, and so needs arming."""
        return self is not DrillKind.BACKTRACE


class DrillOutcome(Word):
    """How a drill ended."""

    PASS = "pass"  # noqa: S105 - not a password
    FAIL = "fail"
    UNKNOWN = "unknown"
    LOST = "lost"
    """A CPU did not come back."""
    REFUSED = "refused"
    """It did not begin, and left no result."""


class DrillOutcomeLook(NamedTuple):
    """How an outcome is shown, and the exit status of its drill."""

    text: str
    style: str
    metric: float | None
    status: Status | None
    """None: the reasons decide."""


DRILL_OUTCOMES = {
    DrillOutcome.PASS: DrillOutcomeLook("PASS", "bold green", 1.0, Status.GOOD),
    DrillOutcome.FAIL: DrillOutcomeLook("FAIL", "bold red", 0.0, Status.FAILED),
    DrillOutcome.UNKNOWN: DrillOutcomeLook("UNKNOWN", "bold yellow", -1.0, Status.UNKNOWN),
    DrillOutcome.LOST: DrillOutcomeLook("CPU LOST", "bold white on red", -2.0, Status.FAILED),
    DrillOutcome.REFUSED: DrillOutcomeLook("REFUSED", "bold yellow", None, None),
}
_BY_METRIC = {look.metric: outcome for outcome, look in DRILL_OUTCOMES.items()}
STORED_OUTCOMES = frozenset(outcome for outcome in DrillOutcome if outcome is not DrillOutcome.REFUSED)
"""The outcomes that a stored result can have."""


def outcome_of_metric(value: float) -> DrillOutcome:
    """Return the outcome that a metric shows by this value; UNKNOWN if it shows none."""
    return _BY_METRIC.get(value, DrillOutcome.UNKNOWN)


def time_stamp() -> str:
    """Return the present moment as results are named after it: they sort by time, and no two are equal."""
    return datetime.now(timezone.utc).strftime(_STAMP)


def stamped_at(identifier: str) -> float:
    """Return when an identifier, `STAMP-...`, was made, in seconds since 1970; raise ValueError."""
    # Not by strptime(): it imports a module when it is used, and the exporter must not need files then.
    parts = _STAMP_PARTS.fullmatch(identifier.split("-", maxsplit=1)[0])
    if not parts:
        raise ValueError(f"{identifier!r} does not begin with a time")
    year, month, day, hour, minute, second, micros = map(int, parts.groups())
    return datetime(year, month, day, hour, minute, second, micros, timezone.utc).timestamp()
