"""The drills that can cost a host, over its real resets and crashes, each judged by what outlasted them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import validate
from tests.lab.build import EXTRA, Lab
from tests.lab.machines import MACHINES, Boot, Machine
from tests.lab.stories import climb_ladder, fall_at_each_step, lose_power
from tests.support.wedge_story import has_pseudo_nmi, is_reached, masked_by_registers, stop_rungs

TARGET = 3
STOP = "stop"
STOP_BY_SERIAL = "stop --evidence /lab/console.log"
CRASHES = ("crash --variant wedged", "crash --variant all-masked", "crash --variant hardlockup-panic")
LADDERS = {
    "dt-sdei": (STOP, CRASHES[0], "lockup --thresh 4"),
    "dt-none": (STOP, CRASHES[0], "lockup"),
    "dt-both": (STOP,),
    "dt-vhe": ("lockup --permanent", CRASHES[1]),
    "acpi-sdei": (STOP_BY_SERIAL, CRASHES[2]),
}
"""Every drill and every kind of machine once; `make soak` climbs all of it on each. A lockup comes last: the
kernel may report a soft lockup when it ends, and then a drill that takes the host down is refused."""
ATTEMPTS = 3
SOAKED = ("dt-sdei", "dt-vhe", "acpi-sdei", "dt-none", "dt-both", "dt-64k")


def ladders() -> list[tuple[str, tuple[str, ...]]]:
    if not EXTRA:
        return list(LADDERS.items())
    return [(name, whole_ladder(MACHINES[name])) for name in SOAKED]


def whole_ladder(machine: Machine) -> tuple[str, ...]:
    if machine.name == "dt-64k":
        return CRASHES[:1]
    channel = "" if machine.boot is Boot.TRUSTED_FIRMWARE else " --evidence /lab/console.log"
    return (f"lockup --permanent{channel}", f"stop{channel}", *CRASHES, "lockup")


@pytest.mark.parametrize(
    ("name", "commands"), ladders(), ids=lambda value: value if isinstance(value, str) else ""
)
def test_each_rung_is_proven(name: str, commands: tuple[str, ...], lab: Lab, tmp_path: Path) -> None:
    machine = MACHINES[name]
    for attempt in range(ATTEMPTS):
        directory = tmp_path / str(attempt)
        directory.mkdir()
        share = climb_ladder(machine, commands, lab=lab, directory=directory / "vm").share
        done = json.loads((share / "ladder.json").read_text())["done"]
        if not (has_pseudo_nmi(machine) and any(map(is_starved, done))):
            break
    assert len(done) == len(commands)
    for command, answer in zip(commands, done):
        result = answer["result"].get("result", answer["result"])
        validate("drill-1", result)
        assert (result["drill"], result["variant"]) == name_of(command)
        check_rung(machine, command, answer["status"], result)
    status = json.loads((share / "status.json").read_text())["result"]
    assert (status["pending"], status["unreadable"]) == (None, [])
    assert not any(result["stale"] for result in status["results"])
    cpus = json.loads((share / "cpus.json").read_text())
    assert all(cpus["runs"]), cpus


def is_starved(answer: Mapping[str, Any]) -> bool:
    """Tell whether every rung of a stop ladder was tried in vain: to each the kernel gives 10 ms.

    So long an emulated CPU may not run at all, where its emulator shares two cores with another.
    """
    stop = answer["result"].get("result", answer["result"]).get("stop")
    return bool(stop) and bool(stop["failed"]) and len(stop["rungs"]) == 3


def name_of(command: str) -> tuple[str, str | None]:
    """Return a command's drill and variant."""
    if "--permanent" in command:
        return "lockup", "permanent"
    drill, _, variant = command.partition(" --variant ")
    return drill.split()[0], variant or None


def check_rung(machine: Machine, command: str, status: int, result: Mapping[str, Any]) -> None:
    """Assert that a drill's result is what the machine is known to do."""
    reached = is_reached(machine)
    assert (status, result["outcome"]) == ((0, "pass") if reached else (1, "fail")), (
        command,
        result["reasons"],
    )
    kind = command.split(maxsplit=1)[0]
    if kind == "lockup":
        check_lockup(machine, result, permanent="--permanent" in command)
    elif kind == "stop":
        check_stop(machine, result)
    else:
        check_crash(machine, command, result)


def check_lockup(machine: Machine, result: Mapping[str, Any], *, permanent: bool) -> None:
    reached = is_reached(machine)
    # In what outlasts a reset the boot is not, which alone shows that there is no path.
    assert result["path"] == ("unknown" if permanent and not reached else machine.nmi_path)
    assert result["detection"]["reports"] >= 1
    assert result["detection"]["counted"] is (None if permanent else True)
    assert result["target"]["cpu"] == TARGET
    assert result["target"]["in_window"] is reached
    if reached:
        assert result["target"]["masked"] is masked_by_registers(machine)
    assert not result["lost_cpus"]


def check_stop(machine: Machine, result: Mapping[str, Any]) -> None:
    reached = is_reached(machine)
    assert result["stop"]["rungs"] == list(stop_rungs(machine))
    assert result["stop"]["retried"] == ([TARGET] if reached else [])
    assert result["stop"]["failed"] == ([] if reached else [TARGET])
    assert result["path"] == (stop_rungs(machine)[-1] if reached else "none")
    if not reached:
        assert f"could not stop CPU {TARGET}" in result["reasons"][0]


def check_crash(machine: Machine, command: str, result: Mapping[str, Any]) -> None:
    dump = result["vmcore"]
    others = [cpu["cpu"] for cpu in dump["cpus"] if cpu["cpu"] != dump["panic_cpu"]]
    masked = others if "all-masked" in command else [TARGET]
    function = "panic_stop_irqoff_fn" if "all-masked" in command else "lkdtm_HARDLOCKUP"
    missing = [] if is_reached(machine) else masked
    if missing and "hardlockup-panic" in command:
        # The detector waits for its request with its own interrupts masked, and is the next one's victim.
        assert result["stop"]["failed"] == missing
        missing = sorted({*missing, *dump["missing"]} - {dump["panic_cpu"]})
        assert len(missing) <= 2
    assert dump["missing"] == missing
    # Where makedumpfile can read the kernel the dump is its compressed one.
    assert dump["format"] == ("kdump" if machine.name == "dt-64k" else "elf")
    for cpu in dump["cpus"]:
        name = (cpu["function"] or "").split("+")[0]
        if cpu["cpu"] in dump["missing"]:
            assert (cpu["function"], cpu["masked"]) == (None, None)
        elif cpu["cpu"] in masked:
            assert (name, cpu["masked"]) == (function, masked_by_registers(machine))
        else:
            assert name not in ("lkdtm_HARDLOCKUP", "panic_stop_irqoff_fn"), "another CPU's registers"
    if is_reached(machine) and "all-masked" not in command:
        assert result["path"] == stop_rungs(machine)[-1]


FALLS = (("dt-sdei", STOP),)
"""A drill killed at its last steps, around the trigger; `make soak` kills each drill at every step."""
LAST_STEPS = 5
SOAKED_FALLS = (
    ("dt-sdei", "lockup --thresh 4"), ("dt-sdei", STOP), *(("dt-sdei", crash) for crash in CRASHES),
    ("dt-vhe", STOP), ("dt-vhe", "lockup --permanent"), ("dt-none", STOP), ("acpi-sdei", CRASHES[0]),
)  # fmt: skip


@pytest.mark.parametrize(("name", "command"), SOAKED_FALLS if EXTRA else FALLS)
def test_killed_drill_ends_once(name: str, command: str, lab: Lab, tmp_path: Path) -> None:
    first = 0 if EXTRA else LAST_STEPS
    share = fall_at_each_step(MACHINES[name], command, first, lab=lab, directory=tmp_path / "vm").share
    story = json.loads((share / "falls.json").read_text())
    assert len(story["falls"]) + first >= 7
    for fall in story["falls"]:
        assert not fall["journal"], fall
        assert fall["settings"] == story["found"], fall
        if not fall["stored"] and first == 0 and fall is story["falls"][0]:
            continue  # killed before it was written down: it has never begun
        (result,) = fall["stored"]
        validate("drill-1", result)
        assert (result["drill"], result["variant"]) == name_of(command)
        judged = ("pass", "unknown", "fail" if name == "dt-none" else "pass")
        if fall["step"] is None:  # it took the host down before it could be killed
            assert result["outcome"] in judged
        elif fall.get("waited"):  # its resume waited for a disk that waited for the wedged CPU
            assert result["outcome"] in ("lost", *judged), fall
        elif fall["wedged"]:
            assert len(fall["wedged"]) == 1, fall
            assert (result["outcome"], result["lost_cpus"]) == ("lost", fall["wedged"]), fall
        else:
            assert (result["outcome"], result["lost_cpus"]) == ("unknown", []), fall


MASKING = "masking CPU"
CUTS = ((STOP, MASKING),)
"""The power is cut at one step; in `make soak` before, during and after the trigger of each drill."""
SOAKED_CUTS = tuple(
    (command, said)
    for command in ("lockup --thresh 4", "lockup --permanent", STOP, *CRASHES)
    for said in ("placing the helper", MASKING, "taking this host down")
    if not (said == MASKING and "all-masked" in command)
    # By the detector's own panic it goes down before it could say so.
    if not (said == "taking this host down" and command in ("lockup --thresh 4", CRASHES[2]))
)


@pytest.mark.parametrize(("command", "said"), SOAKED_CUTS if EXTRA else CUTS)
def test_power_cut_ends_drill_once(command: str, said: str, lab: Lab, tmp_path: Path) -> None:
    share = lose_power(MACHINES["dt-sdei"], command, lab=lab, directory=tmp_path, said=said).share
    story = json.loads((share / "ended.json").read_text())
    assert not story["journal"], story
    (result,) = story["stored"]
    validate("drill-1", result)
    assert (result["drill"], result["variant"]) == name_of(command)
    # What was in memory is gone with the power: nothing may pass.
    assert (result["outcome"], result["lost_cpus"]) == ("unknown", [])
    assert story["settings"]["hardlockup_panic"] == "0\n"
