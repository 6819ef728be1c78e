"""The drill results that a host keeps, `sdeictl.drill/1`: everybody reads the summary, root the raw log."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from typing import TypedDict, cast

from sdeictl.host.files import read_file, write_whole
from sdeictl.host.json_text import parse_json
from sdeictl.host.paths import DRILL_JOURNAL, DRILL_RESULTS
from sdeictl.klog.document import CpuDocument, LadderDocument
from sdeictl.probe.document import HostDocument
from sdeictl.probe.drills import STORED_OUTCOMES, DrillKind, DrillOutcome
from sdeictl.text import NamedTuple

DRILL_SCHEMA = "sdeictl.drill/1"
_REQUIRED = frozenset(("id", "drill", "variant", "host", "outcome", "path"))


class EvidenceDocument(TypedDict):
    """The independent facts that name the path of the answers."""

    ipi_row_moved: bool | None
    asking_stack: str | None
    priority_mask: bool
    pseudo_nmi: str
    answered: bool


class WindowDocument(TypedDict):
    """The time in which a CPU was masked."""

    opened: bool
    held: bool
    closed: bool
    provider: str | None
    seconds: float | None


class TargetDocument(CpuDocument):
    """What the masked CPU did."""

    in_window: bool | None


class DetectionDocument(TypedDict):
    """What the hard-lockup detector reported about the masked CPU."""

    reports: int
    detected_by: int | None
    has_stack: bool
    counted: bool | None


class DumpCpuDocument(TypedDict):
    """What a crash dump holds of one CPU; without addresses, because everybody may read it."""

    cpu: int
    online: bool | None
    function: str | None
    masked: bool | None
    parked: bool


class DumpDocument(TypedDict):
    """What a crash dump holds."""

    format: str
    kernel: str | None
    panic_cpu: int | None
    missing: list[int]
    cpus: list[DumpCpuDocument]


class _Extras(TypedDict, total=False):
    evidence_sha256: str
    detection: DetectionDocument
    stop: LadderDocument
    vmcore: DumpDocument


class DrillDocument(_Extras):
    """`sdeictl.drill/1`. Only some drills have the keys of _Extras."""

    schema: str
    id: str
    drill: str
    variant: str | None
    host: HostDocument
    boot_id: str
    outcome: str
    reasons: list[str]
    path: str
    path_evidence: EvidenceDocument
    window: WindowDocument | None
    target: TargetDocument | None
    cpus: list[CpuDocument]
    lost_cpus: list[int]
    records_lost: int
    evidence: str | None


class StoredResults(NamedTuple):
    """The results kept on this host."""

    latest: tuple[DrillDocument, ...]
    """The last one of each drill and variant."""
    unreadable: tuple[str, ...]
    """Files that are not results."""


def write_result(document: DrillDocument, log: bytes, directory: str = DRILL_RESULTS) -> None:
    """Keep a result (0644) and, if it has one, its log slice (0600).

    Raises OSError; then it may be kept all the same, but no log is without its result.
    """
    path, log_path = (os.path.join(directory, f"{document['id']}.{end}") for end in ("json", "log"))
    data = json.dumps(document, indent=1).encode() + b"\n"
    try:
        if log:
            write_whole(log_path, log, 0o600)
        write_whole(path, data, 0o644)
    except OSError:
        if log and not os.path.exists(path):
            with contextlib.suppress(OSError):
                os.unlink(log_path)
        raise


def read_result(identifier: str, directory: str = DRILL_RESULTS) -> DrillDocument | None:
    """Return the result of one drill, None if it kept none."""
    results, _unreadable = _read_all(directory)
    return next((result for result in results if result["id"] == identifier), None)


def read_results(directory: str = DRILL_RESULTS) -> StoredResults:
    """Return the last result of each drill and variant, and the files that are not results."""
    results, unreadable = _read_all(directory)
    latest = {(str(result["drill"]), result["variant"]): result for result in results}
    return StoredResults(tuple(latest.values()), tuple(unreadable))


def read_unresolved(directory: str = DRILL_RESULTS) -> int | None:
    """Return how many of the last drills that can cost a host ended unknown or lost in a row.

    None if the results cannot be read.
    """
    costly = {kind for kind in DrillKind if kind.costs_host}
    count = 0
    try:
        results, _unreadable = _read_all(directory)
    except OSError:
        return None
    for result in results:
        if result["drill"] in costly:
            unresolved = result["outcome"] in (DrillOutcome.UNKNOWN, DrillOutcome.LOST)
            count = count + 1 if unresolved else 0
    return count


def _read_all(directory: str) -> tuple[list[DrillDocument], list[str]]:
    """Return all results, oldest first, and the paths of files that are not results."""
    results: list[DrillDocument] = []
    unreadable = []
    try:
        names = sorted(os.listdir(directory))
    except FileNotFoundError:
        names = []
    for name in names:
        if not name.endswith(".json") or name == DRILL_JOURNAL:
            continue
        path = os.path.join(directory, name)
        result = _read_one(path)
        if result is None:
            unreadable.append(path)
        else:
            results.append(result)
    return results, unreadable


def _read_one(path: str) -> DrillDocument | None:
    try:
        result = parse_json(read_file(path))
    except (OSError, ValueError):
        return None
    return cast("DrillDocument", result) if isinstance(result, dict) and is_result(result) else None


def is_result(document: Mapping[str, object]) -> bool:
    """Tell whether a JSON object is a result."""
    return (
        document.keys() >= _REQUIRED
        and all(isinstance(document[name], str) for name in ("id", "drill", "path", "outcome"))
        and document["outcome"] in set(map(str, STORED_OUTCOMES))
        and isinstance(document["variant"], (str, type(None)))
        and isinstance(document["host"], dict)
    )
