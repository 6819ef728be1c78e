"""A stored report, for --root and for --compare: a status of the contract, and no error but a sentence."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from functools import cache

from click.testing import CliRunner

from sdeictl.cli import cli
from sdeictl.errors import SdeictlError, Status
from sdeictl.probe.collect import collect
from sdeictl.probe.compare import compare_reports, comparison_document, render_comparison
from sdeictl.probe.document import ReportDocument
from sdeictl.probe.report import build_report
from sdeictl.probe.stored_report import read_report
from sdeictl.text import to_plain
from tests.fuzz.files import written
from tests.fuzz.harness import Target
from tests.fuzz.hosts import MemoryRoot, captured
from tests.fuzz.shapes import RAW, edited_json

FORMATS = ("text", "json", "prometheus", "nagios")
STATUSES = (Status.GOOD, Status.FAILED, Status.USAGE, Status.UNKNOWN)


@cache
def base() -> ReportDocument:
    report = copy.deepcopy(build_report(collect(MemoryRoot(*captured("acpi-idle")))))
    report["findings"] = report["findings"][:6]
    return report


def seeds() -> Iterator[bytes]:
    yield from (bytes([6, place, place % 3]) for place in range(0, 120, 3))
    yield bytes([RAW]) + b'{"schema": "sdeictl.report/1"}'
    yield bytes([RAW]) + b"  {"


def check(data: bytes) -> None:
    path = written(edited_json(base(), data))
    for form in FORMATS:
        done = CliRunner().invoke(cli, ["probe", "--root", path, "--format", form])
        if isinstance(done.exception, SdeictlError):
            assert done.exception.status is Status.UNKNOWN
        elif done.exception and not isinstance(done.exception, SystemExit):
            raise done.exception
        else:
            assert done.exit_code in STATUSES
    try:
        report = read_report(path)
        if report is None:
            return
        differences = compare_reports(base(), report)
    except SdeictlError as error:
        assert error.status is Status.UNKNOWN
        return
    assert not compare_reports(report, report)
    json.dumps(comparison_document("a", "b", differences)).encode()
    assert "\x1b" not in to_plain(render_comparison("a", "b", differences))


TARGET = Target(check, seeds, (read_report,), (), 512)
