"""Our HealthCheckProgram in Debian's Slurm: it drains, leaves alone, resumes; drains of others stay."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.conftest import PROJECT
from tests.lab.build import Lab
from tests.lab.deb import run_in

STORY = """
ip link set lo up
ip address add 192.0.2.1/32 dev lo
exec unshare --uts sh -c 'hostname n1; exec timeout 300 python3 /story.py'
"""
"""This machine keeps its name. Slurm resolves no name where 127.0.0.1 is the only address."""


def test_health_check_in_slurm(lab: Lab) -> None:
    with tempfile.TemporaryDirectory(prefix="slurm-", dir=lab.cache) as root:
        subprocess.run(["tar", "-C", root, "-xf", lab.part("slurm") / "root.tar"], check=True)
        health = Path(root, "usr/libexec/sdeictl/sdeictl-health")
        health.parent.mkdir(parents=True)
        shutil.copy(PROJECT / "packaging/slurm/sdeictl-health", health)
        shutil.copy(PROJECT / "tests/lab/slurm_story.py", Path(root, "story.py"))
        said = run_in(root, STORY)
    steps = {
        step.pop("step"): step for step in map(json.loads, filter(None, map(json_line, said.splitlines())))
    }
    assert steps["alone"] == {"status": 3, "in_time": True}, said
    assert (steps["registered"]["state"], steps["registered"]["reason"]) == ("IDLE", ""), said
    bad = steps["bad"]
    assert bad["state"] == "IDLE+DRAIN", said
    assert bad["reason"].startswith("sdeictl: [boot "), said
    assert bad["reason"].endswith("not-ready: sdei-advertised (firmware): Ask the firmware vendor."), said
    assert steps["unknown"] == bad
    assert steps["booted"]["reason"] == bad["reason"].replace(bad["reason"][15:23], "11111111")
    assert steps["mended"]["state"] == "IDLE"  # Slurm itself keeps the old reason
    for step in ("foreign, good", "foreign, bad"):
        assert (steps[step]["state"], steps[step]["reason"]) == ("IDLE+DRAIN", "memory error")


def json_line(line: str) -> str:
    """Return a line of the story; what the services say is none."""
    return line if line.startswith('{"step"') else ""
