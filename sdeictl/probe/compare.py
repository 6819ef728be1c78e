"""What differs between two reports: two hosts, or one host before and after."""

import json
import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from sdeictl.errors import SdeictlError, Status
from sdeictl.host.root import read_stream
from sdeictl.probe.report import REPORT_SCHEMA, Json
from sdeictl.text import Line

COMPARISON_SCHEMA = "sdeictl.comparison/1"


class Difference(NamedTuple):
    """One thing that two reports say differently. None: only the other one has it."""

    what: str
    first: str | None
    second: str | None


def read_report(path: str) -> Json | None:
    """Return the report in a file; None if it is a directory or no JSON, and so a capture or nothing.

    Raises SdeictlError if it is JSON but no report.
    """
    if os.path.isdir(path) or not os.path.exists(path):
        return None
    try:
        data = read_stream(path)
        document = json.loads(data) if data.lstrip()[:1] == b"{" else None
    except OSError as error:
        raise SdeictlError(f"{path} cannot be read: {error.strerror}", Status.UNKNOWN) from error
    except (ValueError, RecursionError) as error:
        raise SdeictlError(f"{path} is no JSON, or only a part of it", Status.UNKNOWN) from error
    if document is None:
        return None
    if not isinstance(document, dict) or document.get("schema") != REPORT_SCHEMA:
        raise SdeictlError(f"{path} is no {REPORT_SCHEMA}", Status.UNKNOWN)
    return document


def compare_reports(first: Json, second: Json) -> tuple[Difference, ...]:
    """Return the differences: verdict first, then host, checks and gaps; not times, nor the tool's version.

    Raises SdeictlError if one of them only claims to be a report.
    """
    try:
        sides = [dict(_statements(report)) for report in (first, second)]
    except (KeyError, TypeError, AttributeError) as error:
        raise SdeictlError(f"one of them is no whole {REPORT_SCHEMA}: {error}", Status.UNKNOWN) from error
    names = dict.fromkeys([*sides[0], *sides[1]])
    found = (Difference(name, sides[0].get(name), sides[1].get(name)) for name in names)
    return tuple(difference for difference in found if difference.first != difference.second)


def _statements(report: Json) -> Iterator[tuple[str, str]]:
    verdict = report["verdict"]
    for name in ("nmi_path", "ready", "missing", "hazards", "consumers"):
        yield from _flat(f"verdict.{name}", verdict[name])
    for name, value in report["host"].items():
        yield from _flat(f"host.{name}", value)
    for finding in report["findings"]:
        yield f"check {finding['id']}", f"{finding['outcome']}: {finding['seen']}"
    for gap in report["gaps"]:
        yield f"gap {gap['source']}", f"{gap['kind']}: {gap['detail']}"


def _flat(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, part in value.items():
            yield from _flat(f"{name}.{key}", part)
    else:
        yield name, value if isinstance(value, str) else json.dumps(value)


def comparison_json(first: str, second: str, differences: Sequence[Difference]) -> Json:
    """Return a comparison as its JSON document."""
    return {
        "schema": COMPARISON_SCHEMA,
        "first": first,
        "second": second,
        "differences": [difference._asdict() for difference in differences],
    }


def render_comparison(first: str, second: str, differences: Sequence[Difference]) -> Iterator[Line]:
    """Return a comparison as text, like a diff."""
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
