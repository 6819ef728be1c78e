"""`sdeictl.postmortem/1`: what earlier boots left as a JSON document (schemas/postmortem-1.json)."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TypedDict, cast

from sdeictl.errors import Status
from sdeictl.host.json_text import as_object, parse_json
from sdeictl.host.paths import POSTMORTEM_FILE
from sdeictl.host.root import Root
from sdeictl.klog.document import LadderDocument, ladder_document
from sdeictl.postmortem.account import BootAccount, StuckCpu
from sdeictl.postmortem.examine import Postmortem
from sdeictl.postmortem.sentences import conclude, summarize
from sdeictl.postmortem.words import POSTMORTEM_SCHEMA
from sdeictl.probe.document import GapDocument

STATUSES = {False: Status.GOOD, True: Status.FAILED, None: Status.UNKNOWN}
_MAX_TIME = 1 << 36
"""About the year 4147; datetime ends at 9999."""


class StuckDocument(TypedDict):
    """A CPU that was stuck; `since` is in seconds since the boot."""

    cpu: int
    since: float | None
    waits_for: int | None
    masked: bool | None
    path: str
    answered: bool | None
    stack: bool | None
    registers_in_dump: bool | None


class DumpDocument(TypedDict):
    """The crash dump of a boot."""

    path: str | None
    state: str


class BootDocument(TypedDict):
    """The account of one boot."""

    boot_id: str | None
    kernel: str | None
    began_at: str | None
    ended_at: str | None
    end: str
    drill: str | None
    panic: str | None
    stuck: list[StuckDocument]
    stop: LadderDocument | None
    dump: DumpDocument
    evidence: list[str]
    missing: list[str]
    summary: str


class VerdictDocument(TypedDict):
    """What all accounts say together."""

    evidence_lost: bool | None
    summary: str


class PostmortemDocument(TypedDict):
    """`sdeictl.postmortem/1`."""

    schema: str
    generated_at: str
    boots: list[BootDocument]
    verdict: VerdictDocument
    gaps: list[GapDocument]
    advice: list[str]


def postmortem_document(found: Postmortem) -> PostmortemDocument:
    """Return what earlier boots left as its JSON document."""
    return {
        "schema": POSTMORTEM_SCHEMA,
        "generated_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "boots": [_boot(boot) for boot in found.boots],
        "verdict": {"evidence_lost": found.evidence_lost, "summary": conclude(found)},
        "gaps": [{"source": gap.source, "kind": gap.kind, "detail": gap.detail} for gap in found.gaps],
        "advice": list(found.advice),
    }


def postmortem_status(found: Postmortem) -> Status:
    """Return GOOD if no evidence was lost, FAILED if some was, UNKNOWN if nothing can tell."""
    return STATUSES[found.evidence_lost]


def read_stored(root: Root) -> PostmortemDocument:
    """Return the account in a capture.

    Raises OSError, and ValueError, KeyError or TypeError if the file is no such document.
    """
    document = as_object(parse_json(root.read(f"/{POSTMORTEM_FILE}")))
    if document["schema"] != POSTMORTEM_SCHEMA:
        raise ValueError("it has another schema")
    stored = cast("PostmortemDocument", document)
    if stored["verdict"]["evidence_lost"] not in STATUSES:
        raise ValueError("its verdict is none")
    return stored


def _boot(boot: BootAccount) -> BootDocument:
    return {
        "boot_id": boot.boot_id,
        "kernel": boot.kernel,
        "began_at": clock_time(boot.began_at),
        "ended_at": clock_time(boot.ended_at),
        "end": boot.end,
        "drill": boot.drill,
        "panic": boot.panic,
        "stuck": [_stuck(cpu) for cpu in boot.stuck],
        "stop": ladder_document(boot.stop) if boot.stop else None,
        "dump": {"path": boot.dump.path, "state": boot.dump.state},
        "evidence": list(boot.evidence),
        "missing": list(boot.missing),
        "summary": summarize(boot),
    }


def _stuck(cpu: StuckCpu) -> StuckDocument:
    return {
        "cpu": cpu.cpu,
        "since": cpu.since,
        "waits_for": cpu.waits_for,
        "masked": cpu.masked,
        "path": cpu.path,
        "answered": cpu.answered,
        "stack": cpu.stack,
        "registers_in_dump": cpu.registers_in_dump,
    }


def clock_time(seconds: float | None) -> str | None:
    """Return a time as ISO 8601 in UTC; None if it is unknown or beyond the calendar."""
    if seconds is None or not 0 <= seconds < _MAX_TIME:
        return None
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="seconds")
