"""A host whose systemd feeds a hardware watchdog: no drill lets it bite."""

from __future__ import annotations

import json
import os
from pathlib import Path

from tests.lab.build import Lab
from tests.lab.machines import WATCHED
from tests.lab.stories import drill_beside_watchdog
from tests.lab.test_drill import assert_alive
from tests.support.drill_story import check_drill

ROUNDS = int(os.environ.get("SDEICTL_ROUNDS", "3"))
"""Masked drills as long as the plan allows; 20 in `make soak`."""


def test_drills_beside_a_fed_watchdog(lab: Lab, tmp_path: Path) -> None:
    share = drill_beside_watchdog(WATCHED, ROUNDS, lab=lab, directory=tmp_path / "vm").share
    story = json.loads((share / "watchdog.json").read_text())
    assert story["found"] == {"identity": "i6300ESB timer", "state": "active", "timeout": "10"}
    assert story["after"] == "active"
    risks = [sentence for what, sentence in story["plan"]["result"]["plan"] if what == "risk"]
    assert any(sentence.endswith("resets the host if it is not fed for 5 s") for sentence in risks), risks
    refused = {name: story[name]["result"]["reasons"] for name in ("lockup", "crash", "stop")}
    (reason,) = story["too long"]["result"]["reasons"]
    assert reason.startswith(
        "The hardware watchdog watchdog0 surely waits only 5 s: a CPU may be masked for 4 s"
    )
    assert any("masked for 4 s, not for 25 s" in each["text"] for each in refused["lockup"])
    assert any("in the middle of the dump" in each["text"] for each in refused["crash"])
    # For a reset it is a way back, not a danger.
    assert not any("watchdog" in each["text"] for each in refused["stop"])
    for drill in story["survived"]:
        check_drill("dt-sdei", drill["status"], drill["result"])
    assert_alive(story["cpus"], WATCHED)
