"""What the probe reads of the drill results that a host keeps, and when a result is stale."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from sdeictl.formats.cpulist import MAX_CPU
from sdeictl.host.gap import GapKind
from sdeictl.host.json_text import as_list, as_object, parse_json
from sdeictl.host.paths import DRILL_RESULTS
from sdeictl.host.reader import Reader
from sdeictl.klog.words import IN_TIME
from sdeictl.probe.drills import DrillKind
from sdeictl.text import NamedTuple

MAX_DRILLS = 200
"""So many of the last results are read."""
RESULT_ID = rf"\d{{8}}T\d{{6}}\.\d{{6}}Z-(?:{'|'.join(DrillKind)})"
"""drills.time_stamp(), and the kind of the drill."""
_MAX_WORD = 100
_LATE = frozenset(str(state) for state, in_time in IN_TIME.items() if in_time is False)


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
    drill: str = ""
    variant: str | None = None
    outcome: str = ""

    @property
    def is_bad(self) -> bool:
        """Tell whether it lost or missed a CPU, or the host."""
        return bool(self.lost or self.silent or self.outcome == "lost")

    @property
    def is_masked_backtrace(self) -> bool:
        """Tell whether a CPU was masked for a bounded time and asked for its backtrace."""
        return (self.drill, self.variant) == ("backtrace", "masked")


def read_stored_drills(reader: Reader) -> tuple[StoredDrill, ...]:
    """Read the last drill results of this host, oldest first; one that cannot be read is a gap."""
    listed = reader.listing(DRILL_RESULTS) or ()
    names = [name for name in listed if re.fullmatch(rf"{RESULT_ID}\.json", name, re.ASCII)]
    drills = []
    for name in names[-MAX_DRILLS:]:
        data = reader.optional(f"{DRILL_RESULTS}/{name}", reader.root.read)
        if data is None:
            continue
        try:
            drills.append(parse_stored_drill(data))
        except (ValueError, KeyError, TypeError):
            reader.gap(f"{DRILL_RESULTS}/{name}", GapKind.BROKEN, "it is not a sdeictl.drill/1")
    return standing_drills(drills)


def standing_drills(drills: Sequence[StoredDrill]) -> tuple[StoredDrill, ...]:
    """Return what still counts of the results of a host, oldest first.

    That is the last result of each drill and variant on each build, and the last bad one before it, unless
    the same drill has passed there since.
    """
    last: dict[tuple[object, ...], StoredDrill] = {}
    bad: dict[tuple[object, ...], StoredDrill] = {}
    for drill in drills:
        key = (drill.drill, drill.variant, drill.build)
        last[key] = drill
        if drill.is_bad:
            bad[key] = drill
        elif drill.outcome == "pass":
            bad.pop(key, None)
    return tuple(sorted({*last.values(), *bad.values()}, key=lambda drill: drill.id))


def parse_stored_drill(data: bytes) -> StoredDrill:
    """Return what a result says; raise ValueError, KeyError or TypeError otherwise."""
    result = as_object(parse_json(data))
    identifier = _word(result["id"])
    if not re.fullmatch(RESULT_ID, identifier, re.ASCII):
        raise ValueError("the id is not that of a drill")
    return StoredDrill(
        id=identifier,
        build=build_of(as_object(result["host"])),
        path=_word(result["path"]),
        silent=tuple(cpu for cpu, state in _cpu_states(result) if state in _LATE),
        lost=tuple(map(_cpu, as_list(result["lost_cpus"]))),
        drill=_word(result["drill"]),
        variant=_word(result["variant"]) if result["variant"] else None,
        outcome=_word(result["outcome"]),
    )


def parse_cpu_states(data: bytes) -> tuple[tuple[int, str], ...]:
    """Return each CPU of a result and its state; raise ValueError, KeyError or TypeError otherwise."""
    return tuple(_cpu_states(as_object(parse_json(data))))


def _cpu_states(result: Mapping[str, object]) -> Iterator[tuple[int, str]]:
    for entry in map(as_object, as_list(result["cpus"])):
        yield _cpu(entry["cpu"]), _word(entry["state"])


def _word(value: object) -> str:
    if not isinstance(value, str) or len(value) > _MAX_WORD:
        raise ValueError("not a word")
    return value


def _cpu(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_CPU:
        raise ValueError("not a CPU")
    return value
