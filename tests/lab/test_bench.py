"""`bench ab` through its boots, on a machine whose time counts its instructions: emulated, and exact."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sdeictl.formats.cmdline import wants_pseudo_nmi
from tests.conftest import validate
from tests.lab.build import EXTRA, Lab
from tests.lab.machines import COUNTED
from tests.lab.stories import try_both
from tests.lab.vm import kernel_arguments

EXACT = 0.002
"""How far the effect may be from that of the bare C loop, in the same boots."""


MEASURING = 2
"""The step at which it is killed in every run of the tests; `make soak` kills it at each."""
STEPS = 7
"""That it goes back is not among them: without systemd the reset is quicker than who looks."""
CUTS = (
    "booting the kernel for boot 1", "measuring in boot 1", "booting the kernel for boot 2",
    "measuring in boot 2", "comparing",
)  # fmt: skip


def story(lab: Lab, directory: Path, boots: int, step: int = -1, cut_at: str = "") -> Any:
    share = try_both(COUNTED, boots, step, lab=lab, directory=directory, cut_at=cut_at).share
    found = json.loads((share / "ab.json").read_text())
    # Whatever happened: the last boot is the original one.
    assert found["boots"][-1]["line"] == found["boots"][0]["line"] == kernel_arguments(COUNTED)
    result = found["result"]
    assert (found["ended"]["status"], result["complete"], result["reasons"]) == (0, True, [])
    assert len(result["runs"]) == 2 * boots
    validate("bench-ab-1", result)
    return found


def test_effect_equals_bare_loop(lab: Lab, tmp_path: Path) -> None:
    boots = 3 if EXTRA else 1
    found = story(lab, tmp_path, boots, MEASURING)
    assert "measuring in boot 1" in found["killed"]
    states = [wants_pseudo_nmi(boot["line"]) for boot in found["boots"]]
    assert states == [False, *(False, True) * boots, False]
    bare = [boot["reference"] for boot in found["boots"][1:-1]]
    expected = min(bare[1::2]) / min(bare[::2]) - 1
    comparison = found["result"]["comparison"]
    (effect,) = comparison["effects"]
    print(f"emulated instruction counts, not time: {effect['effect']:+.2%}; the bare loop: {expected:+.2%}")
    assert effect["effect"] == pytest.approx(expected, abs=EXACT)
    assert effect["differs"] is True
    assert comparison["first"]["pseudo_nmi"] == "off"
    assert comparison["second"]["pseudo_nmi"] == "on"
    assert comparison["second"]["pmr_sync"] in ("relaxed", "forced")


if EXTRA:

    @pytest.mark.parametrize("step", range(STEPS))
    def test_killed_experiment_continues(step: int, lab: Lab, tmp_path: Path) -> None:
        assert story(lab, tmp_path, 1, step)["killed"]

    @pytest.mark.parametrize("cut_at", CUTS)
    def test_experiment_survives_power_cut(cut_at: str, lab: Lab, tmp_path: Path) -> None:
        story(lab, tmp_path, 1, cut_at=cut_at)
