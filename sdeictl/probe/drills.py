"""The drill results that a host keeps: names and words, what the probe reads of them, when one is stale."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import NamedTuple

from sdeictl.errors import Status
from sdeictl.host.gap import GapKind
from sdeictl.host.paths import DRILL_RESULTS
from sdeictl.host.reader import Reader
from sdeictl.klog.words import IN_TIME
from sdeictl.text import Word

MAX_DRILLS = 10
"""So many of the last results can make a hazard."""
_STAMP = "%Y%m%dT%H%M%S.%fZ"
_RESULT_NAME = re.compile(r"\d{8}T\d{6}\.\d{6}Z-[a-z]+\.json", re.ASCII)


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
STORED_OUTCOMES = frozenset(outcome for outcome in DrillOutcome if outcome is not DrillOutcome.REFUSED)
"""The outcomes that a stored result can have."""


def time_stamp() -> str:
    """Return the present moment as results are named after it: they sort by time, and no two are equal."""
    return datetime.now(timezone.utc).strftime(_STAMP)


def stamped_at(identifier: str) -> float:
    """Return when an identifier, `STAMP-...`, was made, in seconds since 1970; raise ValueError."""
    made = datetime.strptime(identifier.split("-", maxsplit=1)[0], _STAMP)
    return made.replace(tzinfo=timezone.utc).timestamp()


class Build(NamedTuple):
    """The kernel and the firmware that a result was earned on."""

    kernel: str | None
    firmware: str | None

    def is_stale(self, now: Build) -> bool:
        """Tell whether the host runs another kernel or firmware now: the result counts no more."""
        return self != now


def build_of(host: Mapping[str, object] | None) -> Build:
    """Return the build in the host part of a report or a result."""
    kernel, firmware = ((host or {}).get(name) for name in ("kernel", "firmware"))
    return Build(kernel if isinstance(kernel, str) else None, firmware if isinstance(firmware, str) else None)


class StoredDrill(NamedTuple):
    """Which CPUs a stored drill result calls silent or lost."""

    id: str
    build: Build
    path: str
    silent: tuple[int, ...]
    lost: tuple[int, ...]


def read_stored_drills(reader: Reader) -> tuple[StoredDrill, ...]:
    """Read the last drill results of this host, oldest first; one that cannot be read is a gap."""
    names = [name for name in reader.listing(DRILL_RESULTS) or () if _RESULT_NAME.fullmatch(name)]
    drills = []
    for name in names[-MAX_DRILLS:]:
        data = reader.optional(f"{DRILL_RESULTS}/{name}", reader.root.read)
        if data is None:
            continue
        try:
            drills.append(parse_stored_drill(data))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            reader.gap(f"{DRILL_RESULTS}/{name}", GapKind.BROKEN, "it is not a sdeictl.drill/1")
    return tuple(drills)


def parse_stored_drill(data: bytes) -> StoredDrill:
    """Return what a result says; raise ValueError, KeyError, TypeError or AttributeError otherwise."""
    result = json.loads(data)
    return StoredDrill(
        id=str(result["id"]),
        build=build_of(result["host"]),
        path=str(result["path"]),
        silent=tuple(int(cpu["cpu"]) for cpu in result["cpus"] if IN_TIME.get(cpu["state"]) is False),
        lost=tuple(int(cpu) for cpu in result["lost_cpus"]),
    )
