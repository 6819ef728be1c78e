"""`sdeictl drill status`: the last results, the drill that has not ended, whether one may begin."""

from __future__ import annotations

from typing import TypedDict

from sdeictl.errors import SdeictlError, Status
from sdeictl.host.live import LiveRoot
from sdeictl.host.paths import DRILL_RESULTS
from sdeictl.interlock.arming import armed_seconds
from sdeictl.interlock.journal import Entry, JournalError, read_journal
from sdeictl.interlock.results import DrillDocument, read_results
from sdeictl.interlock.survey import read_boot_id
from sdeictl.probe.collect import collect
from sdeictl.probe.report import describe_host
from sdeictl.probe.stored_drills import build_of

STATUS_SCHEMA = "sdeictl.drill-status/1"


class PendingDocument(TypedDict):
    """A drill that has not ended."""

    id: str
    drill: str
    variant: str | None
    pid: int
    this_boot: bool
    fired: bool


class StoredDocument(DrillDocument):
    """A result, and whether it still counts."""

    stale: bool


class StatusDocument(TypedDict):
    """`sdeictl.drill-status/1`."""

    schema: str
    armed_seconds: float | None
    pending: PendingDocument | None
    results: list[StoredDocument]
    unreadable: list[str]


def read_status() -> StatusDocument:
    """Return the state of the drills on this host; raise SdeictlError."""
    try:
        pending = read_journal()
        stored = read_results()
    except JournalError as error:
        raise SdeictlError(str(error), Status.UNKNOWN) from error
    except OSError as error:
        raise SdeictlError(f"{DRILL_RESULTS} cannot be read: {error.strerror}", Status.UNKNOWN) from error
    root = LiveRoot()
    boot_id = read_boot_id(root)
    now = build_of(describe_host(collect(root)))
    results: list[StoredDocument] = [
        {**result, "stale": build_of(result["host"]).is_stale(now)} for result in stored.latest
    ]
    return {
        "schema": STATUS_SCHEMA,
        "armed_seconds": armed_seconds(boot_id),
        "pending": _pending(pending, boot_id) if pending else None,
        "results": results,
        "unreadable": list(stored.unreadable),
    }


def _pending(entry: Entry, boot_id: str) -> PendingDocument:
    return {
        "id": entry.id,
        "drill": entry.drill,
        "variant": entry.variant,
        "pid": entry.pid,
        "this_boot": entry.boot_id == boot_id,
        "fired": bool(entry.aftermath and entry.aftermath.fired),
    }
