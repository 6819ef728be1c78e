"""The Ansible of the lab's part `ansible`, with our collection, and the inventories that it plays."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from sdeictl.fleet.plan import HostState, Limit, make_plan
from sdeictl.fleet.plan_text import PlanQuestion, plan_inventory
from tests.conftest import PROJECT
from tests.lab.build import Lab

STUB = PROJECT / "tests/lab/stub_host.py"


class Ansible:
    """An Ansible whose home is a directory, and in whose search path stubs come first."""

    def __init__(self, lab: Lab, directory: Path, stubs: Sequence[str], **more: str) -> None:
        self.directory = directory
        self.stubs = directory / "bin"
        self.stubs.mkdir(parents=True)
        for name in stubs:
            (self.stubs / name).write_text(f'#!/bin/sh\nexec {sys.executable} {STUB} {name} "$@"\n')
            (self.stubs / name).chmod(0o755)
        install(directory)
        self._environment = environment(lab, directory) | more
        self._environment["PATH"] = f"{self.stubs}:{self._environment['PATH']}"

    def play(
        self,
        playbook: str | Path,
        inventories: Sequence[Path],
        variables: Mapping[str, object],
        *arguments: str,
        timeout: float = 180,
    ) -> tuple[int, str]:
        """Run a playbook; return its status and what it prints."""
        sources = [word for path in inventories for word in ("-i", path)]
        done = subprocess.run(
            [
                sys.executable, "-m", "ansible", "playbook", *sources, playbook,
                "-e", json.dumps(variables), *arguments,
            ],
            env=self._environment, capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr


def install(directory: Path) -> Path:
    """Install the collection below a directory, and return its own directory."""
    place = directory / "collections/ansible_collections/sdeictl/fleet"
    shutil.copytree(PROJECT / "ansible", place)
    return place


def environment(lab: Lab, directory: Path) -> dict[str, str]:
    """Return the environment of Ansible, which then finds the collection below a directory."""
    usr = lab.part("ansible") / "usr"
    return {
        **os.environ,
        "PATH": f"{usr}/bin:{os.environ['PATH']}",
        "PYTHONPATH": str(usr),
        "HOME": str(directory),
        "LC_ALL": "C.UTF-8",
        "ANSIBLE_COLLECTIONS_PATH": str(directory / "collections"),
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_PIPELINING": "1",
    }


def write_plan(
    path: Path, hosts: Sequence[str], limit: int, drill: str = "backtrace-masked"
) -> list[list[str]]:
    """Write an inventory as `fleet plan` makes it of ready hosts without a drill; return its waves."""
    states = [HostState(f"{host}:1", "r1", True, ("7.3",), "sdei", True) for host in hosts]
    plan = make_plan(states, [drill], Limit(limit, percent=False))
    question = PlanQuestion("http://prometheus", "now", ("kernel",), "rack", str(limit), (drill,))
    path.write_text(plan_inventory(question, plan))
    return [[host.name for host in wave.hosts] for wave in plan.waves]
