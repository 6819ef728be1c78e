"""A CPU is really wedged; the analysis of the guest's console must find what was done to it."""

import json
from pathlib import Path

import pytest

from tests.lab.build import Lab
from tests.lab.machines import MACHINES_WITH_PEERS, Machine
from tests.lab.stories import wedge_cpu
from tests.wedge_story import check_wedge_story


@pytest.mark.parametrize("machine", MACHINES_WITH_PEERS.values(), ids=lambda machine: machine.name)
def test_the_wedged_cpu_and_the_stop_ladder(machine: Machine, lab: Lab, tmp_path: Path) -> None:
    run = wedge_cpu(machine, lab=lab, directory=tmp_path / "vm")
    record = json.loads((run.share / "record.json").read_text())
    assert (record["wedged"] is None) is (machine.name == "stock-debian")
    check_wedge_story(machine.name, run.console.read_bytes(), record["wedged"], record["function"])
