"""What the probe reads of the drill results that a host keeps, and when a result is stale."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import NamedTuple

from sdeictl.host.gap import GapKind
from sdeictl.host.paths import DRILL_RESULTS
from sdeictl.host.reader import Reader
from sdeictl.klog.words import IN_TIME

MAX_DRILLS = 10
"""So many of the last results can make a hazard."""
_RESULT_NAME = r"\d{8}T\d{6}\.\d{6}Z-[a-z]+\.json"


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
    names = [
        name for name in reader.listing(DRILL_RESULTS) or () if re.fullmatch(_RESULT_NAME, name, re.ASCII)
    ]
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
