"""Each call fails once in a benchmark: no false condition, and an experiment brings its host back."""

from __future__ import annotations

import json
import shutil
import signal
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from sdeictl.bench.document import parse_bench
from sdeictl.bench.experiment import MARKER, Experiment
from sdeictl.bench.experiment_journal import experiment_document
from sdeictl.bench.measure import Timing
from sdeictl.interlock.journal import Entry, write_journal
from sdeictl.probe.drills import DrillKind
from tests.conftest import validate
from tests.support.drillable_host import BOOT_ID, make_drillable, write
from tests.support.faults import STATUSES, Inject, Run, check_traces, is_lookup, pairs_of, runs_of
from tests.support.kexec_host import ORIGINAL, make_bootable

BENCH = "host/var/lib/sdeictl/bench"
WENT_DOWN = -signal.SIGKILL
LOAD = ("load_before", "load_after", "steal", "current_mhz")
"""Conditions that differ in each run."""


def stored(run: Run) -> dict[str, bytes]:
    """Return the stored benchmark runs, by their names."""
    return {
        name.rpartition("/")[2]: content.encode("latin-1")
        for name, content in run["files"].items() if name.startswith(BENCH) and name.endswith("-bench.json")
    }  # fmt: skip


def check_conditions(found: Mapping[str, Any], told: Mapping[str, Any], run: Run) -> None:
    """Assert that each condition is the true one, or unknown."""
    for name in found.keys() - set(LOAD):
        assert found[name] in (told[name], None) or is_lookup(run), (name, found[name], told[name], run)


def test_run(inject: Inject, tmp_path: Path) -> None:
    make_drillable(tmp_path)
    for sound, run in pairs_of(inject("bench", "run", "--output", "out.json", "--format", "json", most=20)):
        assert run["status"] in (0, 2, 3), run
        check_traces(run)
        if run["status"] == 0:
            document = parse_bench(run["output"].encode())
            validate("bench-1", document)
            check_conditions(document["conditions"], json.loads(sound["output"])["conditions"], run)
            assert json.loads(run["files"]["work/out.json"]) == document, run
            assert len(stored(run)) == 1 or "could not be stored" in run["said"], run
        else:
            assert run["said"].strip(), run
        for content in stored(run).values():
            parse_bench(content)


MEASURED = ("sdeictl", "bench", "run", "--output")


@pytest.mark.parametrize("command", [("compare", "one.json", "two.json"), ("list",)])
def test_commands_that_only_read(inject: Inject, tmp_path: Path, command: tuple[str, ...]) -> None:
    make_drillable(tmp_path)
    first = [(*MEASURED, "one.json"), (*MEASURED, "two.json")] if "compare" in command else []
    for sound, run in runs_of(inject("bench", *command, first=first, most=20)):
        assert sound["status"] == 0
        assert run["files"] == sound["files"]
        if run["status"] == 0:
            assert run["output"] == sound["output"], run


def test_equal_runs(inject: Inject, tmp_path: Path) -> None:
    make_drillable(tmp_path)
    for sound, run in runs_of(inject("bench", "aa", "--runs", "2", "--format", "json", most=20)):
        assert sound["status"] == 0
        assert run["files"] == sound["files"]
        if run["status"] == 0:
            validate("bench-aa-1", json.loads(run["output"]))


RESUME = ("sdeictl", "bench", "resume", "--format", "json")
ARM = ("sdeictl", "drill", "arm", "--for", "10m")
BEGIN = (
    "sdeictl", "bench", "ab", "--boots", "1", "--host", socket.gethostname(), "--way-back", "the BMC",
    "--format", "json",
)  # fmt: skip
STEPS = {
    "begin": (ARM,),
    "boot 1": (ARM, BEGIN),
    "boot 2": (ARM, BEGIN, RESUME),
    "end": (ARM, BEGIN, RESUME, RESUME),
}
"""What happened before a step of an experiment with two boots."""


def check_step(run: Run) -> None:
    """Assert that a step of an experiment ended as it may. A host that goes down cuts what it writes."""
    check_traces(run if run["status"] != WENT_DOWN else {**run, "files": {}})
    assert run["status"] in (*STATUSES, WENT_DOWN), run
    if run["status"] not in (0, WENT_DOWN) and run["failed"] != "write":
        assert run["said"].strip() or run["output"].strip(), run
    in_experiment = f"{MARKER}=" in run["files"]["host/proc/cmdline"]
    if in_experiment and run["status"] != WENT_DOWN:
        # The unit tries again after this status, and after no other one.
        assert run["status"] == 4 or is_lookup(run), run
    if run["status"] != WENT_DOWN:
        assert not run["files"].get("host/loaded", "").strip(), run


def check_end_of_experiment(end: Run) -> None:
    """Assert that the host is as before the experiment, and that its result, if any, is true."""
    check_traces(end)
    assert end["files"]["host/proc/cmdline"] == ORIGINAL, end
    assert not end["files"].get("host/loaded", "").strip(), end
    assert f"{BENCH}/ab.journal" not in end["files"], end
    for name, content in end["files"].items():
        if name.endswith("-ab.json"):
            document = json.loads(content)
            validate("bench-ab-1", document)
            assert document["complete"] is not bool(document["reasons"]), document
            assert set(document["runs"]) <= set(stored(end)), document
            if document["complete"]:
                sides = (document["comparison"][side]["pseudo_nmi"] for side in ("first", "second"))
                assert [*sides] == ["off", "on"], document


@pytest.mark.parametrize("step", STEPS)
def test_experiment_brings_its_host_back(inject: Inject, tmp_path: Path, step: str) -> None:
    """Whatever fails in a step, the boots after it end the experiment."""
    make_bootable(tmp_path)
    command = BEGIN if step == "begin" else RESUME
    runs = inject(*command[1:], first=STEPS[step], then=RESUME, most=25)
    for sound, run in pairs_of(runs):
        assert json.loads(next(text for name, text in sound["then"]["files"].items() if "-ab" in name))[
            "complete"
        ]
        check_step(run)
        check_end_of_experiment(run["then"])
        began = run["status"] == WENT_DOWN or step != "begin"
        results = [name for name in run["then"]["files"] if name.endswith("-ab.json")]
        assert len(results) == int(began), run


def leave_experiment(tree: Path) -> None:
    journal = Experiment("X", Timing(), 1, "/boot/vmlinuz", None, "ro", "Linux")
    write(tree / "var/lib/sdeictl/bench/ab.journal", json.dumps(experiment_document(journal)))


def leave_drill(tree: Path) -> None:
    entry = Entry("20261126T000000.000000Z-backtrace", DrillKind.BACKTRACE, None, BOOT_ID, 1)
    write_journal(entry, str(tree / "var/lib/sdeictl/drills"))


def encrypt_root(tree: Path) -> None:
    write(tree / "proc/self/mountinfo", "22 1 254:0 / / rw - ext4 /dev/mapper/root rw\n")
    write(tree / "sys/dev/block/254:0/dm/uuid", "LVM-abc\n")
    write(tree / "sys/dev/block/254:0/slaves/dm-1/dm/uuid", "CRYPT-LUKS2-abc\n")


def take_firmware(tree: Path) -> None:
    shutil.rmtree(tree / "sys/firmware/efi")
    write(tree / "sys/firmware/devicetree/base/intc/its/compatible", "arm,gic-v3-its\0")


OBSTACLES: Mapping[str, Callable[[Path], None]] = {
    "an experiment": leave_experiment,
    "a drill": leave_drill,
    "an encrypted root": encrypt_root,
    "no UEFI": take_firmware,
    "a container": lambda tree: write(tree / "run/.containerenv", ""),
}


@pytest.mark.parametrize("obstacle", OBSTACLES)
def test_obstacle_is_never_overlooked(inject: Inject, tmp_path: Path, obstacle: str) -> None:
    OBSTACLES[obstacle](make_bootable(tmp_path))
    for sound, run in runs_of(inject(*BEGIN[1:], "--dry-run", first=(ARM,), most=15)):
        assert sound["status"] in (3, 4), sound
        assert run["status"] in (3, 4) or is_lookup(run), run


def test_plan_changes_nothing(inject: Inject, tmp_path: Path) -> None:
    make_bootable(tmp_path)
    for sound, run in runs_of(inject(*BEGIN[1:], "--dry-run", first=(ARM,), most=15)):
        assert sound["status"] == 0, sound
        assert run["files"] == sound["files"], run
