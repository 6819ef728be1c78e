"""A report on a fleet, or a list of its hosts, as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

from sdeictl.fleet.report import FleetReport
from sdeictl.fleet.tallies import HostRow
from sdeictl.fleet.text import ready_word
from sdeictl.text import visible

_FORMULA = ("=", "+", "-", "@")


def cohort_table(report: FleetReport) -> str:
    """Return one row for each cohort."""
    paths = [path for path, _hosts in report.paths]
    rows = []
    for cohort in report.cohorts:
        counts = dict(cohort.paths)
        numbers = (cohort.hosts, cohort.ready, cohort.not_ready, *(counts.get(path, 0) for path in paths))
        rows.append((*cohort.group, *map(str, numbers)))
    return _table((*report.by, "hosts", "ready", "not_ready", *paths), rows)


def host_table(rows: Iterable[HostRow], by: Sequence[str]) -> str:
    """Return one row for each host."""
    return _table(("host", "ready", "path", *by), ((r.name, ready_word(r), r.path, *r.group) for r in rows))


def _table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(heading)
    writer.writerows([_inert(cell) for cell in row] for row in rows)
    return text.getvalue()


def _inert(cell: str) -> str:
    """Return a cell that no spreadsheet takes for a formula, and no terminal for a command.

    Its text may come from a host, or from the name of a file.
    """
    text = visible(cell)
    return f"'{text}" if text.lstrip().startswith(_FORMULA) else text
