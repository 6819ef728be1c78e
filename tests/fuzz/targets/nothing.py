"""A host with one file, whatever is in it: the verdict claims nothing that the file does not show."""

from __future__ import annotations

from collections.abc import Iterator

from sdeictl.klog.words import NmiPath
from sdeictl.probe.collect import collect
from sdeictl.probe.report import build_report
from tests.fuzz.harness import Target
from tests.fuzz.hosts import MemoryRoot, captured
from tests.fuzz.shapes import Dice
from tests.fuzz.targets.host import check_report

FILES = tuple(sorted(set(captured("dt-sdei")[0]) | set(captured("acpi-sdei")[0])))
MAY_SHOW = {"/kmsg.txt": set(NmiPath), "/proc/kallsyms": {NmiPath.NONE}}
"""The paths that a file can show by itself. A kernel without the code for both ways has none."""


def seeds() -> Iterator[bytes]:
    for number, path in enumerate(FILES):
        for name in ("dt-sdei", "acpi-sdei"):
            yield number.to_bytes(1, "little") + captured(name)[0].get(path, b"")[:1000]


def check(data: bytes) -> None:
    dice = Dice(data)
    path = dice.pick(FILES)
    if path == "/sdeictl-capture.json":
        return
    report = build_report(collect(MemoryRoot({path: dice.rest()})))
    check_report(report)
    found = NmiPath(report["verdict"]["nmi_path"])
    assert found in {NmiPath.UNKNOWN, NmiPath.NOT_APPLICABLE, *MAY_SHOW.get(path, ())}
    assert (report["verdict"]["ready"] is None) is (found in (NmiPath.UNKNOWN, NmiPath.NOT_APPLICABLE))


TARGET = Target(check, seeds, (), (), 1024)
