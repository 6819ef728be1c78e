"""`drill backtrace` where it is refused, stopped or repeated: nothing is left behind, and no CPU is lost."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from sdeictl.host.paths import CPUIDLE_OFF, NOTIFIER_RUN
from sdeictl.probe.checks.idle import IDLE_CHECK
from tests.conftest import validate
from tests.lab.build import EXTRA, Lab
from tests.lab.machines import MACHINES, Machine
from tests.lab.stories import ask_unguarded, fail_calls, refuse_drills, run_drills, stop_drills
from tests.support.drill_story import check_drill

IDLE_ROUNDS = int(os.environ.get("SDEICTL_ROUNDS", "3"))
"""Masked drills in each guest, after a plain one; 40 in `make soak PART=idle`."""
FAULTY_CALLS = [
    tuple(map(int, part.split("/"))) for part in os.environ.get("SDEICTL_FAULTY_CALLS", "-500/25").split(",")
]
"""For each guest the first call that fails, and how many calls are from one to the next; all in the soak.

A drill reads its host with some 3,700 calls, which also fail on recorded hosts. It acts with the calls after
these, which are among the last 500.
"""
FAULTY_RUNS = 20
IDLE_LOOK_SECONDS = 15
IDLE_GUESTS = (*["dt-idle"] * 5, "acpi-idle") if EXTRA else ("dt-idle",)


def read(share: Path, name: str) -> Any:
    return json.loads((share / f"{name}.json").read_text())


def assert_alive(cpus: Mapping[str, Any], machine: Machine) -> None:
    assert len(cpus["ticks"]) == machine.cpus
    assert all(cpus["ticks"]), cpus
    assert all(cpus["runs"]), cpus


def test_one_cpu_is_refused(lab: Lab, tmp_path: Path) -> None:
    share = run_drills(MACHINES["up"], 0, 8, lab=lab, directory=tmp_path / "vm").share
    for drill in read(share, "drills"):
        assert (drill["status"], drill["result"]["outcome"]) == (3, "refused")
        assert "CPU 0 is the only one online: there is no other CPU to ask." in drill["result"]["reasons"]
        assert "drill: " not in drill["said"]


def test_every_obstacle_is_named(lab: Lab, tmp_path: Path) -> None:
    refusals = read(refuse_drills(MACHINES["dt-sdei"], lab=lab, directory=tmp_path / "vm").share, "refusals")
    assert refusals.pop("not root")["status"] == 0
    armed, disarmed = refusals.pop("statuses")
    for status in (armed, disarmed):
        validate("drill-status-1", status)
    assert 500 < armed["armed_seconds"] <= 600
    assert disarmed["armed_seconds"] is None
    arming, full = refusals.pop("full disk, arming"), refusals.pop("full disk")
    assert (arming["status"], arming["said"]) == (4, "sdeictl: it cannot be noted: No space left on device\n")
    assert full["status"] == 4
    assert any("only 0 MiB of free space" in reason for reason in full["result"]["reasons"])
    for name, sentence in (
        ("nothing survives a reset", "Nothing carries the last lines of the kernel across a reset"),
        ("no crash kernel", "No crash kernel is loaded"),
    ):
        refused = refusals.pop(name)
        assert (refused["status"], refused["result"]["outcome"]) == (3, "refused")
        assert any(reason.startswith(sentence) for reason in refused["result"]["reasons"]), refused
    kexec = refusals.pop("kexec would die")
    assert kexec["status"] == 3
    validate("plan-1", kexec["result"])
    texts = [reason["text"] for reason in kexec["result"]["reasons"]]
    assert any("a kernel that kexec starts would die" in text for text in texts), kexec
    no_log = refusals.pop("no log")
    assert no_log["status"] == 3
    assert no_log["result"]["reasons"] == [
        "The kernel log cannot be read: it is not the kernel log device, as in a container."
    ]
    blind = refusals.pop("no log, probe")["result"]
    assert [gap["source"] for gap in blind["gaps"]] == ["/dev/kmsg"]
    assert blind["verdict"]["nmi_path"] == "unknown"
    others = refusals.pop("the others")
    assert (others["status"], others["result"]["outcome"]) == (0, "pass")
    assert [cpu["cpu"] for cpu in others["result"]["cpus"]] == [0, 1, 2]
    sentences = {
        "too long": "A window of 60 s is longer than 5 s, half of watchdog_thresh (10 s).",
        "another drill": "Another drill is running, or has not ended yet.",
        "a killed drill": "has not ended: `sdeictl drill resume` restores its changes.",
        "cpu off line": "CPU 3 is not online.",
        "not armed": "`sdeictl drill arm --for 10m` allows one drill that can take the host down.",
        "another costly drill": "Another drill is running, or has not ended yet.",
        "a stuck cpu": "Nothing runs on CPU 2: it is stuck already, or closed to this process.",
    }
    assert set(refusals) == set(sentences)
    for name, refusal in refusals.items():
        assert (refusal["status"], refusal["result"]["outcome"]) == (4, "refused"), refusal
        assert refusal["result"]["reasons"][0].endswith(sentences[name]), refusal


CONTROLS = (("dt-idle", True), *((("acpi-idle", True), ("acpi-retention", False)) if EXTRA else ()))
"""Whether an unguarded request loses a CPU that is idle: the probe has a hazard where it does."""


@pytest.mark.parametrize(("name", "loses"), CONTROLS)
def test_control_an_unguarded_request(name: str, loses: bool, lab: Lab, tmp_path: Path) -> None:
    share = ask_unguarded(MACHINES[name], lab=lab, directory=tmp_path / "vm").share
    control = read(share, "control")
    assert control["used"]
    assert all(control["alive"]) is not loses, control
    assert deep_finding(share) == ("fail" if loses else "pass", [NOTIFIER_RUN])


def deep_finding(share: Path) -> tuple[str, list[str]]:
    """Return what `probe --deep` found about idle states, and by which sources."""
    report = read(share, "deep")
    (finding,) = (each for each in report["findings"] if each["id"] == IDLE_CHECK)
    assert bool(report["verdict"]["hazards"]) is (finding["outcome"] == "fail")
    return finding["outcome"], finding["sources"]


def test_hazard_remedy_keeps_cpus(lab: Lab, tmp_path: Path) -> None:
    machine = MACHINES["dt-idle"]._replace(cmdline="cpuidle.off=1")
    share = ask_unguarded(machine, lab=lab, directory=tmp_path / "vm").share
    control = read(share, "control")
    assert not control["used"]
    assert all(control["alive"]), control
    assert deep_finding(share) == ("pass", [CPUIDLE_OFF])


@pytest.mark.parametrize("name", IDLE_GUESTS)
def test_no_drill_loses_a_cpu(name: str, lab: Lab, tmp_path: Path) -> None:
    machine = MACHINES[name]
    share = run_drills(machine, IDLE_ROUNDS, IDLE_LOOK_SECONDS, lab=lab, directory=tmp_path / "vm").share
    drills = read(share, "drills")
    assert [drill["result"]["variant"] for drill in drills] == [None, *["masked"] * IDLE_ROUNDS]
    for drill in drills:
        check_drill(machine.name, drill["status"], drill["result"])
    assert_alive(read(share, "cpus"), machine)


@pytest.mark.parametrize(("first", "every"), FAULTY_CALLS)
def test_drill_with_a_failing_call(
    first: int, every: int, lab: Lab, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    machine = MACHINES["dt-sdei"]._replace(cpus=2)  # a drill takes half of the time that it takes on four
    run = fail_calls(machine, first, every, lab=lab, directory=tmp_path / "vm")
    story = read(run.share, "faults")
    assert story["sound"]["drill"]["status"] == 0, story["sound"]
    assert len(story["runs"]) >= FAULTY_RUNS
    for each in story["runs"]:
        drill = each["drill"]
        # Where SDEI serves, a drill that says that it does not would be wrong.
        assert drill["status"] in (0, 3, 4), each
        assert "Traceback" not in drill["said"], each
        assert "internal error" not in drill["said"], each
        if isinstance(drill["result"], dict):
            validate("drill-1", drill["result"])
            assert drill["result"]["outcome"] in ("pass", "unknown", "refused"), each
        assert each["after"] == story["found"], each
    assert_alive(read(run.share, "cpus"), machine)
    reached = [each for each in story["runs"] if each["failed"]]
    counts = Counter(f"calls that failed with {each['error']}" for each in reached)
    counts.update(f"drills that ended with status {each['drill']['status']}" for each in reached)
    for name, number in counts.items():
        record_property(name, number)


@pytest.mark.parametrize(
    ("number", "provider"),
    [
        ("SIGTERM", "test_lockup"),
        ("SIGKILL", "bpf"),
        *((("SIGINT", "bpf"), ("SIGKILL", "test_lockup")) if EXTRA else ()),
    ],
)
def test_signal_at_any_step(number: str, provider: str, lab: Lab, tmp_path: Path) -> None:
    machine = MACHINES["dt-sdei"]
    share = stop_drills(machine, number, provider, lab=lab, directory=tmp_path / "vm").share
    story = read(share, "kills")
    found, kills = story["found"], story["kills"]
    assert [kill["step"].split()[1] for kill in kills] == [
        "writing", "holding", "checking", "placing", "setting", "masking", "waiting", "checking", "restoring",
    ]  # fmt: skip
    assert not found["journal"]
    for kill in kills:
        assert kill["after"] == found, kill
        assert kill["resume"]["status"] == 0, kill
        if number == "SIGKILL":
            assert (kill["drill"]["status"], kill["drill"]["result"]) == (-9, ""), kill
            # It ends when it is resumed, and claims nothing. At its first step it may not have begun yet,
            # at its last one its result may be kept already.
            ends: list[list[str]] = (
                [["unknown"]] + [[]] * (kill is kills[0]) + [["pass"]] * (kill is kills[-1])
            )
            assert kill["stored"] in ends, kill
        else:
            assert kill["left"] == found, kill
            check_stopped(kill, number)
    assert_alive(story["cpus"], machine)


def check_stopped(kill: Mapping[str, Any], number: str) -> None:
    """A signal after the answers changes nothing; before them nothing is claimed."""
    result = kill["drill"]["result"]
    if kill["step"].endswith(("still alive", "restoring everything")):
        assert (kill["drill"]["status"], result["outcome"]) == (0, "pass"), kill
        return
    assert (kill["drill"]["status"], result["outcome"]) == (3, "unknown"), kill
    assert any(reason.startswith(f"Interrupted by {number} while ") for reason in result["reasons"]), kill
