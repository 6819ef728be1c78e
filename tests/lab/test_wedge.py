"""A CPU is really wedged; the analysis of the guest's console must find what was done to it."""

import json
from pathlib import Path

import pytest

from sdeictl.analysis import analyze
from sdeictl.episodes import Backtrace, CpuAnswer, HardLockup, Panic, Stop
from sdeictl.klog import parse_log
from tests.lab.build import Lab
from tests.lab.machines import MACHINES, Machine
from tests.lab.stories import wedge_cpu

LADDER = {
    "dt-sdei": ("ipi", "sdei"),
    "dt-vhe": ("ipi", "sdei"),
    "dt-pnmi": ("ipi", "pseudo-nmi"),
    "dt-both": ("ipi", "pseudo-nmi"),
    "dt-none": ("ipi",),
    "dt-advertised": ("ipi",),
    "stock-debian": ("ipi",),
}
MASKED = {"dt-sdei": True, "dt-vhe": True, "dt-pnmi": True, "dt-both": None}


@pytest.mark.parametrize("machine", MACHINES.values(), ids=lambda machine: machine.name)
def test_the_wedged_cpu_and_the_stop_ladder(machine: Machine, lab: Lab, tmp_path: Path) -> None:
    run = wedge_cpu(machine, lab=lab, directory=tmp_path / "vm")
    record = json.loads((run.share / "record.json").read_text())
    analysis = analyze(parse_log(run.console.read_bytes()))
    asked = [episode for episode in analysis.episodes if isinstance(episode, Backtrace)]
    assert asked[0].trigger == "sysrq-l"
    assert asked[0].initiator == 0
    assert {episode.path for episode in asked} == {machine.nmi_path}
    for cpu in asked[0].cpus:
        if cpu.cpu not in (asked[0].initiator, record["wedged"]):
            assert cpu.state in ("idle", "backtrace")
    for episode in asked if record["wedged"] is not None else ():
        (victim,) = (cpu for cpu in episode.cpus if cpu.cpu == record["wedged"])
        assert_victim(machine, record["function"], victim)

    lockups = [episode for episode in analysis.episodes if isinstance(episode, HardLockup)]
    if record["wedged"] is not None:
        assert record["wedged"] in {lockup.cpu for lockup in lockups if lockup.secondary_to is None}
    (stop,) = (episode for episode in analysis.episodes if isinstance(episode, Stop))
    assert (stop.reason, stop.rungs) == ("panic", LADDER[machine.name])
    stopped = machine.name in MASKED or record["wedged"] is None
    assert stop.failed == (() if stopped else (record["wedged"],))
    assert [e.message for e in analysis.episodes if isinstance(e, Panic)] == ["sysrq triggered crash"]


def assert_victim(machine: Machine, function: str, victim: CpuAnswer) -> None:
    if machine.name in MASKED:
        assert (victim.state, victim.masked) == ("backtrace", MASKED[machine.name])
        assert victim.pc is not None
        assert victim.pc.startswith(f"{function}+0x")
    else:
        assert victim.state == "silent"
