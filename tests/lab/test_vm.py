"""The driver: a failed command, a lost guest and a missed deadline are three things."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab.build import Lab
from tests.lab.machines import MACHINES
from tests.lab.vm import VmLostError, run_in_vm

MACHINE = MACHINES["dt-sdei"]


def test_status_and_files_travel(lab: Lab, tmp_path: Path) -> None:
    run = run_in_vm(
        MACHINE, "uname -r; python3 -c 'import psutil, sdeictl'; echo kept > /lab/file; echo no >&2; exit 7",
        lab=lab, directory=tmp_path / "vm", timeout=120,
    )  # fmt: skip
    assert run.status == 7
    assert (run.share / "file").read_text() == "kept\n"
    assert (run.share / "stdout").read_text().strip() == (lab.part("kernel") / "version").read_text().strip()
    assert (run.share / "stderr").read_text() == "no\n"


def test_dead_guest_is_lost(lab: Lab, tmp_path: Path) -> None:
    command = "echo 1 > /proc/sys/kernel/panic; echo c > /proc/sysrq-trigger"
    with pytest.raises(VmLostError, match="ended without a status"):
        run_in_vm(MACHINE, command, lab=lab, directory=tmp_path / "vm", timeout=120)


def test_hanging_guest_is_ended(lab: Lab, tmp_path: Path) -> None:
    with pytest.raises(VmLostError, match="did not end within 15 s"):
        run_in_vm(MACHINE, "sleep 1000", lab=lab, directory=tmp_path / "vm", timeout=15)


def test_unexpected_survival_is_an_error(lab: Lab, tmp_path: Path) -> None:
    with pytest.raises(VmLostError, match="came back with status 0"):
        run_in_vm(MACHINE, "true", lab=lab, directory=tmp_path / "vm", timeout=120, survives=False)
