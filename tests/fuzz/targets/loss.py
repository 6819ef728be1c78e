"""A host that lost sources: its verdict may become unknown, and no check turns from pass to fail."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from sdeictl.klog.words import NmiPath
from sdeictl.probe.collect import collect
from sdeictl.probe.verdict import decide
from tests.fuzz.harness import Target
from tests.fuzz.hosts import NAMES, MemoryRoot, captured
from tests.fuzz.shapes import Dice
from tests.test_monotone import ERRORS, ITEMS, SOURCES, Damaged

PLACES = (*SOURCES, *ITEMS)
LOSSES = tuple(sorted(ERRORS))


def seeds() -> Iterator[bytes]:
    for number in range(len(NAMES)):
        yield bytes([number])
        yield bytes([number, 6, 3, 128])
        yield bytes([number, 6, 3, 60, 2, 0, 9, 1, 12, 2])
        yield bytes([number, 5, 3, 90, 4, 3, 250])


@cache
def whole(name: str) -> tuple[NmiPath, dict[str, str]]:
    verdict, findings = decide(collect(MemoryRoot(*captured(name))))
    return verdict.nmi_path, {finding.id: finding.outcome for finding in findings}


def check(data: bytes) -> None:
    """An input is a host and a list of sources, each of which is missing, denied, broken or cut."""
    dice = Dice(data)
    name = dice.pick(NAMES)
    damage: dict[str, str | float | bytes] = {}
    while dice:
        place, loss = dice.pick(PLACES), dice.number(len(LOSSES) + 1)
        if loss == len(LOSSES):
            damage[place] = dice.number(256) / 256
        elif place in SOURCES or LOSSES[loss] != "absent":  # a missing item of a directory is evidence
            damage[place] = LOSSES[loss]
    path, before = whole(name)
    verdict, findings = decide(collect(Damaged(MemoryRoot(*captured(name)), damage)))
    assert verdict.nmi_path in (path, NmiPath.UNKNOWN), damage
    for finding in findings:
        assert {before[finding.id], str(finding.outcome)} != {"pass", "fail"}, (finding.id, damage)


TARGET = Target(check, seeds, (), (), 64)
