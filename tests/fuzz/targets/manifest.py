"""The manifest of a capture: a damaged one raises SdeictlError, any other gives a report."""

from __future__ import annotations

import json
from collections.abc import Iterator

from sdeictl.errors import SdeictlError, Status
from sdeictl.host.manifest import MANIFEST, parse_manifest
from sdeictl.host.reader import Reader
from sdeictl.probe.collect import collect
from sdeictl.probe.kept import read_kept
from sdeictl.probe.report import build_report
from tests.fuzz.harness import Target
from tests.fuzz.hosts import MemoryRoot, again, captured
from tests.fuzz.shapes import RAW, edited_json
from tests.fuzz.targets.host import check_report, statements

BASE = json.loads(captured("acpi-idle")[0][f"/{MANIFEST}"])


def seeds() -> Iterator[bytes]:
    yield (
        bytes([RAW])
        + b'{"listings": {"/sys": ["a", 1]}, "failures": {"/proc/cmdline": "EACCES"}, "kept": []}'
    )
    yield bytes([6, 9, 0, 5, 6, 40, 0, 6])
    yield bytes([0, 5, 0, 0, 7, 0])


def check(data: bytes) -> None:
    text = edited_json(BASE, data)
    files, links = captured("acpi-idle")
    try:
        manifest = parse_manifest(text)
        root = MemoryRoot({**files, f"/{MANIFEST}": text}, links)
    except SdeictlError as error:
        assert error.status is Status.UNKNOWN
        return
    for path, names in manifest.listings.items():
        assert isinstance(path, str)
        assert all(isinstance(name, str) for name in names)
    read_kept(Reader(root))
    report = build_report(collect(root))
    check_report(report)
    assert statements(build_report(collect(again(root)))) == statements(report)


TARGET = Target(
    check, seeds, (parse_manifest, read_kept), ('"listings"', '"failures"', '"kept"', '"EACCES"'), 1024
)
