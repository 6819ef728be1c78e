"""Each call of the C library fails once: no traceback, no false answer, and no change that stays hidden."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from sdeictl.interlock.journal import Entry, Setting, write_journal
from sdeictl.probe.drills import DrillKind
from tests.conftest import load_host
from tests.support.core_builder import FakeCpu, FakeKernel, address_of, elf_core
from tests.support.drillable_host import BOOT_ID, make_drillable, write
from tests.support.faults import Inject, is_lookup, runs_of

DEAD_PID = 4_000_000


# The capture below reads what a probe with ACPI reads, the plan of a drill what one with a device tree reads:
# there each call fails.
@pytest.mark.parametrize("name", ["dt-none", "acpi-sdei"])
def test_probe(inject: Inject, tmp_path: Path, name: str) -> None:
    shutil.copytree(load_host(name).root, tmp_path / "host", symlinks=True)
    for sound, run in runs_of(inject("probe", "--format", "json", most=100)):
        if run["status"] == 3 and not run["output"]:
            continue  # the output could not be written
        found, told = (json.loads(each["output"])["verdict"] for each in (run, sound))
        assert found["nmi_path"] in (told["nmi_path"], "unknown"), run
        assert found["ready"] in (told["ready"], None), run


def test_capture(inject: Inject, tmp_path: Path) -> None:
    shutil.copytree(load_host("acpi-sdei").root, tmp_path / "host", symlinks=True)
    for _sound, run in runs_of(inject("capture", "out.tar.gz")):
        # With 3 it is whole too, but a source was denied.
        assert "work/out.tar.gz" in run["files"] or run["status"] in (2, 3), run


COMMANDS = (
    ("analyze", "console.log", "--format", "json"),
    ("explain",),
    ("drill", "list"),
    ("drill", "status", "--format", "json"),
    ("bench", "list"),
    ("version",),
    ("probe", "--compare", "console.log", "console.log"),
    ("vmcore", "vmcore"),
)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_commands_that_only_read(inject: Inject, tmp_path: Path, command: tuple[str, ...]) -> None:
    make_drillable(tmp_path)
    (tmp_path / "work").mkdir()
    shutil.copy(load_host("dt-sdei").root.parent / "console.log", tmp_path / "work")
    (tmp_path / "work/vmcore").write_bytes(elf_core(FakeKernel((FakeCpu(address_of("lkdtm_HARDLOCKUP")),))))
    for sound, run in runs_of(inject(*command)):
        assert run["files"] == sound["files"]
        if run["status"] == 0:
            assert run["output"] == sound["output"], run


def test_plan_of_a_drill(inject: Inject, tmp_path: Path) -> None:
    make_drillable(tmp_path)
    for sound, run in runs_of(inject("drill", "backtrace", "--masked", "--dry-run")):
        assert sound["status"] == 0
        assert run["files"] == sound["files"]
        if run["status"] == 0:
            assert run["output"] == sound["output"], run


WATCHDOG = "sys/class/watchdog/watchdog0"
OBSTACLES = {
    "watchdog": {f"{WATCHDOG}/state": "active\n", f"{WATCHDOG}/timeout": "2\n"},
    "watchdog of a BMC": {
        "sys/module/ipmi_watchdog/parameters/action": "reset\n",
        "sys/module/ipmi_watchdog/parameters/timeout": "2\n",
    },
    "panic": {"proc/sys/kernel/hardlockup_panic": "1\n"},
    "moving CPU": {"sys/devices/system/cpu/cpu3/hotplug/target": "100\n"},
}


@pytest.mark.parametrize("obstacle", OBSTACLES)
def test_obstacle_is_never_overlooked(inject: Inject, tmp_path: Path, obstacle: str) -> None:
    tree = make_drillable(tmp_path)
    for path, text in OBSTACLES[obstacle].items():
        write(tree / path, text)
    # Each call of the plan fails above; in soak each one here too.
    for sound, run in runs_of(inject("drill", "backtrace", "--masked", "--dry-run", most=40)):
        assert sound["status"] == 4
        assert run["status"] in (3, 4) or is_lookup(run), run


NOT_ARMED = ("nothing that needs arming can run here", "a system call failed", "cannot be loaded")


def test_arming(inject: Inject, tmp_path: Path) -> None:
    make_drillable(tmp_path)
    # The survey before it is that of a plan, of which each call fails above.
    for sound, run in runs_of(inject("drill", "arm", "--for", "10m", most=80)):
        assert sound["status"] == 0
        assert set(run["files"]) <= set(sound["files"]), run
        refused = run["status"] == 4 or any(word in run["said"] for word in NOT_ARMED)
        assert ("host/var/lib/sdeictl/drills/armed" in run["files"]) is not refused, run
        assert run["status"] in (0, 4) or refused or "the result cannot be written" in run["said"], run


RESUME = ("sdeictl", "drill", "resume")
PRINTK = "host/proc/sys/kernel/printk"
JOURNAL = "host/var/lib/sdeictl/drills/journal.json"


def test_resume_of_a_killed_drill(inject: Inject, tmp_path: Path) -> None:
    """What a drill changed is restored once: by the resume, or by the next one."""
    tree = make_drillable(tmp_path)
    write(tree / "proc/sys/kernel/printk", "1\t4\t1\t7\n")
    entry = Entry(
        "20261126T000000.000000Z-backtrace", DrillKind.BACKTRACE, "masked", BOOT_ID, DEAD_PID,
        settings=(Setting(f"{tree}/proc/sys/kernel/printk", 7, 1),),
    )  # fmt: skip
    write_journal(entry, str(tree / "var/lib/sdeictl/drills"))
    for sound, run in runs_of(inject("drill", "resume", then=RESUME)):
        assert sound["files"][PRINTK].startswith("7"), sound
        assert run["files"][PRINTK].startswith("7") or JOURNAL in run["files"], run
        end = run["then"]["files"]
        assert end[PRINTK].startswith("7"), run
        assert JOURNAL not in end, run
        results = [name for name in end if name.endswith("backtrace.json")]
        assert len(results) == 1, run
        assert json.loads(end[results[0]])["outcome"] == "unknown", run
