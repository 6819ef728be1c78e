"""The log of a drill with other records in it: judged without an error, and only a seen answer passes."""

from __future__ import annotations

import json
from collections.abc import Iterator

from sdeictl.drill.evidence import find_drill
from sdeictl.drill.result import drill_document
from sdeictl.probe.drills import DrillKind, DrillOutcome
from sdeictl.vmcore.report import read_crash_log
from tests.conftest import validate
from tests.fuzz import logs
from tests.fuzz.harness import Target
from tests.fuzz.shapes import Dice, patched
from tests.support.drill_story import identity_of
from tests.test_drill_logs import DRILLS, judge_log

STORIES = tuple(drill for drill in DRILLS if drill.host in ("dt-sdei", "dt-pnmi", "dt-none", "linux-6.1"))


def seeds() -> Iterator[bytes]:
    for number in range(len(STORIES)):
        yield bytes([number])
        yield bytes([number, 0, 0, 4])
        yield bytes([number, 1, 200, 3, 60, 0])


def check(data: bytes) -> None:
    dice = Dice(data)
    drill = dice.pick(STORIES)
    log = patched(drill.log, dice)
    result = judge_log(drill, log)
    if not log.strip():
        assert result.outcome is not DrillOutcome.PASS
    document = drill_document(result, identity_of(DrillKind.BACKTRACE, drill.result["variant"], "x"))
    validate("drill-1", json.loads(json.dumps(document)))
    if result.outcome is DrillOutcome.PASS:
        assert b"NMI backtrace for cpu" in log or b"CPU" in log
        assert not result.lost_cpus
    found = find_drill(log, "x")
    assert found is None or log.endswith(found)
    read_crash_log(log)


TARGET = Target(check, seeds, (read_crash_log,), logs.WORDS, 512)
