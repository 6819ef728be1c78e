"""A CPU is really wedged; the analysis of the guest's console must find what was done to it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.lab.build import EXTRA, Lab
from tests.lab.machines import MACHINES_WITH_PEERS, Machine
from tests.lab.stories import wedge_cpu
from tests.support.wedge_story import check_wedge_story

# One machine for each thing that decides the story; `make soak` wedges a CPU of every one.
WEDGED = ("dt-sdei", "dt-none", "dt-pnmi", "dt-both", "acpi-vhe")


def machines() -> list[Machine]:
    return [machine for name, machine in MACHINES_WITH_PEERS.items() if EXTRA or name in WEDGED]


@pytest.mark.parametrize("machine", machines(), ids=lambda machine: machine.name)
def test_wedged_cpu_and_stop_ladder(machine: Machine, lab: Lab, tmp_path: Path) -> None:
    run = wedge_cpu(machine, lab=lab, directory=tmp_path / "vm")
    record = json.loads((run.share / "record.json").read_text())
    assert (record["wedged"] is None) is (machine.kernel.startswith("stock") or machine.name == "lockdown")
    check_wedge_story(machine.name, run.console.read_bytes(), record["wedged"], record["function"])
