"""Reads a report that `sdeictl probe --format json` wrote, and judges what is at a path."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from sdeictl.errors import SdeictlError, Status
from sdeictl.host.files import read_start
from sdeictl.host.gap import unread_log
from sdeictl.host.json_text import MAX_JSON_BYTES, parse_json
from sdeictl.host.open import holds_nothing, open_root
from sdeictl.probe.collect import collect
from sdeictl.probe.document import ReportDocument
from sdeictl.probe.report import REPORT_SCHEMA, build_report
from sdeictl.probe.verdict import NOTHING_KNOWN


def read_report(path: str) -> ReportDocument | None:
    """Return the report in a file; None if the path is not a file of JSON, but perhaps a captured host.

    Raises SdeictlError with Status.UNKNOWN if the file is damaged, or is JSON but not a report.
    """
    if os.path.isdir(path) or not os.path.exists(path):
        return None
    try:
        data = read_start(path, MAX_JSON_BYTES + 1)
        document = parse_json(data) if data.lstrip()[:1] == b"{" else None
    except OSError as error:
        raise SdeictlError(f"{path} cannot be read: {error.strerror}", Status.UNKNOWN) from error
    except ValueError as error:
        raise SdeictlError(f"{path} {str(error).removeprefix('it ')}", Status.UNKNOWN) from error
    if document is None:
        return None
    if not isinstance(document, dict) or document.get("schema") != REPORT_SCHEMA:
        raise SdeictlError(f"{path} is not a {REPORT_SCHEMA}", Status.UNKNOWN)
    report: ReportDocument = document  # type: ignore[assignment] # see complete_report()
    verdict = document.get("verdict")
    ready = verdict.get("ready") if isinstance(verdict, dict) else None
    if not (ready is None or isinstance(ready, bool)):
        text = f"{path} is not a complete report: verdict.ready is {ready!r}"
        raise SdeictlError(text, Status.UNKNOWN)
    return report


def report_at(path: str) -> ReportDocument:
    """Return the report in a file, or the judgement on the captured host at a path.

    Raises SdeictlError: with Status.USAGE if the path does not exist, else with Status.UNKNOWN.
    """
    report, unread = read_report(path), ""
    if report is None:
        facts = collect(open_root(path))
        report, unread = build_report(facts), unread_log(facts.gaps)
    with complete_report(path):
        if report["verdict"]["summary"] == NOTHING_KNOWN:
            raise holds_nothing(path, unread)
    return report


@contextmanager
def complete_report(path: str) -> Iterator[None]:
    """Raise SdeictlError with Status.UNKNOWN if what is done here to a report needs a field that it lacks."""
    try:
        yield
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise SdeictlError(f"{path} is not a complete report: {error}", Status.UNKNOWN) from error
