"""Compares two reports: of two hosts, or of one host before and after a change."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TypedDict

from sdeictl.errors import SdeictlError, Status
from sdeictl.probe.document import ReportDocument
from sdeictl.probe.report import REPORT_SCHEMA
from sdeictl.text import Line, NamedTuple

COMPARISON_SCHEMA = "sdeictl.comparison/1"


class Difference(NamedTuple):
    """One statement in which two reports differ."""

    what: str
    """Its name, such as `verdict.nmi_path` or `check sdei-answered`."""
    first: str | None
    """Its value in the first report; None if only the second one makes the statement."""
    second: str | None


class DifferenceDocument(TypedDict):
    """One difference."""

    what: str
    first: str | None
    second: str | None


class ComparisonDocument(TypedDict):
    """`sdeictl.comparison/1`."""

    schema: str
    first: str
    """The name of the first file; `second` likewise."""
    second: str
    differences: list[DifferenceDocument]


def compare_reports(first: ReportDocument, second: ReportDocument) -> tuple[Difference, ...]:
    """Return the differences in this order: verdict, host, checks, gaps. Times and versions are ignored.

    Raises SdeictlError with Status.UNKNOWN if a report lacks a field.
    """
    try:
        sides = [dict(_statements(report)) for report in (first, second)]
    except (KeyError, TypeError, AttributeError) as error:
        text = f"one of the two is not a complete {REPORT_SCHEMA}: {error}"
        raise SdeictlError(text, Status.UNKNOWN) from error
    names = dict.fromkeys([*sides[0], *sides[1]])
    found = (Difference(name, sides[0].get(name), sides[1].get(name)) for name in names)
    return tuple(difference for difference in found if difference.first != difference.second)


def _statements(report: ReportDocument) -> Iterator[tuple[str, str]]:
    """Yield (name, value) of each statement in a report."""
    verdict = report["verdict"]
    for name, value in (
        ("nmi_path", verdict["nmi_path"]), ("ready", verdict["ready"]), ("missing", verdict["missing"]),
        ("hazards", verdict["hazards"]), ("consumers", verdict["consumers"]),
    ):  # fmt: skip
        yield from _flat(f"verdict.{name}", value)
    yield from _flat("host", report["host"])
    for finding in report["findings"]:
        yield f"check {finding['id']}", f"{finding['outcome']}: {finding['seen']}"
    for gap in report["gaps"]:
        yield f"gap {gap['source']}", f"{gap['kind']}: {gap['detail']}"


def _flat(name: str, value: object) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, part in value.items():
            yield from _flat(f"{name}.{key}", part)
    else:
        yield name, value if isinstance(value, str) else json.dumps(value)


def comparison_document(first: str, second: str, differences: Sequence[Difference]) -> ComparisonDocument:
    """Return a comparison as its JSON document."""
    return {
        "schema": COMPARISON_SCHEMA,
        "first": first,
        "second": second,
        "differences": [
            {"what": each.what, "first": each.first, "second": each.second} for each in differences
        ],
    }


def render_comparison(first: str, second: str, differences: Sequence[Difference]) -> Iterator[Line]:
    """Yield a comparison as lines of text, in the style of diff."""
    if not differences:
        yield (("No difference.", ""),)
        return
    yield ((f"- {first}", "red"),)
    yield ((f"+ {second}", "green"),)
    for difference in differences:
        yield ()
        yield ((difference.what, "bold"),)
        if difference.first is not None:
            yield ((f"  - {difference.first}", "red"),)
        if difference.second is not None:
            yield ((f"  + {difference.second}", "green"),)
