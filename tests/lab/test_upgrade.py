"""A host that the first release has drilled gets this one: results, journal, counts and settings stay."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import PROJECT
from tests.lab.build import EXTRA, Lab
from tests.lab.deb import Package, build_deb
from tests.lab.machines import MACHINES
from tests.lab.vm import run_in_vm

FIRST_RELEASE = "90f759808833f448290ee0f835369bea2c2a9b5c"
MACHINE = MACHINES["dt-sdei"]._replace(root="system")
DRILLS = "/var/lib/sdeictl/drills"
JOURNAL = f"{DRILLS}/journal.json"


def has_history() -> bool:
    command = ["git", "cat-file", "-e", f"{FIRST_RELEASE}^{{commit}}"]
    return subprocess.run(command, cwd=PROJECT, check=False, stderr=subprocess.DEVNULL).returncode == 0


if EXTRA:  # minutes; in make test-lab the services upgrade from what that release leaves

    @pytest.mark.skipif(not has_history(), reason="a shallow clone lacks the first release")
    def test_upgrade_from_the_first_release(lab: Lab, package: Package, tmp_path: Path) -> None:
        first = build_deb(lab, "arm64", tmp_path / "first", FIRST_RELEASE)
        files = [
            Path(shutil.copy(each.file, tmp_path / name))
            for each, name in ((first, "first.deb"), (package, "new.deb"))
        ]
        run = run_in_vm(
            MACHINE, "exec python3 /lab/guest/upgrade.py", lab=lab, directory=tmp_path / "vm", timeout=900,
            files=files,
        )  # fmt: skip
        assert run.status == 0, (run.share / "stderr").read_text()
        seen = json.loads((run.share / "upgrade.json").read_text())
        before, after = seen["before"], seen["after"]

        assert (seen["first"]["status"], seen["first"]["result"]["outcome"]) == (0, "pass")
        assert JOURNAL in before
        assert before.items() <= after.items()
        assert "textfile_seconds = 30" in after["/etc/sdeictl/config.toml"]
        assert seen["counted"].items() <= seen["counts"].items()
        assert set(seen["active"].values()) == {"active"}

        # What the first release has stored is understood: a result counts, and a journal comes to its end.
        results = {each["id"]: each for each in seen["status"]["result"]["results"]}
        assert results[seen["first"]["result"]["id"]]["outcome"] == "pass"
        assert (seen["resume"]["status"], seen["resume"]["result"]["result"]["outcome"]) == (0, "unknown")
        assert JOURNAL not in seen["end"]
        assert seen["printk"][0] == seen["printk"][1]
        assert (seen["again"]["status"], seen["again"]["result"]["outcome"]) == (0, "pass")
