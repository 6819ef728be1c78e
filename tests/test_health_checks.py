"""The checks for schedulers and monitors have three answers, and touch no drain of somebody else."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from sdeictl.host.open import open_root
from sdeictl.probe.collect import collect
from sdeictl.probe.report import build_report
from tests.conftest import PROJECT, load_host

HEALTH = PROJECT / "packaging/slurm/sdeictl-health"
NHC = PROJECT / "packaging/nhc/sdeictl.nhc"
OURS = "sdeictl: [boot 00000000, Linux 1] not-ready: x (admin): y"
NODE = "NodeName=n1 Arch=aarch64 State={} ThreadsPerCore=1{} Comment=x"
LOST = {"drill": "backtrace", "variant": "masked", "outcome": "lost", "stale": False}
SCONTROL = """
echo "$@" >> {log}
case "$*" in *show*) cat {node} ;; esac
"""


class Node:
    """A node with stub programs."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._log = directory / "log"
        self.state("IDLE")
        self.program("scontrol", SCONTROL.format(log=self._log, node=directory / "node"))

    def program(self, name: str, script: str) -> None:
        path = self._directory / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def state(self, state: str, reason: str = "") -> None:
        more = f" Reason={reason} [root@2026-01-01T00:00:00]" if reason else ""
        (self._directory / "node").write_text(NODE.format(state, more))

    def knows(self, host: str | None, *drills: dict[str, object]) -> None:
        """Let sdeictl report on one of the lab's hosts; without one it fails."""
        report = build_report(collect(open_root(str(load_host(host).root)))) if host else None
        for name, document in (("report", report), ("status", {"results": drills})):
            (self._directory / name).write_text(json.dumps(document) if document else "")
        files = {"drill": self._directory / "status", "probe": self._directory / "report"}
        cases = "".join(f"{word}) cat {path} ;; " for word, path in files.items())
        self.program("sdeictl", f'case "$1" in {cases} esac')

    def run(self) -> int:
        environment = {"PATH": f"{self._directory}:/usr/bin:/bin", "SLURMD_NODENAME": "n1"}
        return subprocess.run([HEALTH], env=environment, timeout=55, check=False).returncode

    def updates(self) -> list[str]:
        lines = self._log.read_text().splitlines() if self._log.exists() else []
        return [line.partition("NodeName=n1 ")[2] for line in lines if line.startswith("update")]


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def test_node_that_is_not_ready_is_drained(node: Node) -> None:
    node.knows("dt-none")
    assert node.run() == 1
    (update,) = node.updates()
    assert re.match(
        rf"State=DRAIN Reason=sdeictl: \[boot [0-9a-f]{{8}}, Linux {re.escape(os.uname().release)}\] "
        r"not-ready: sdei-advertised \(firmware\): Ask the firmware vendor", update,
    )  # fmt: skip


def test_lost_cpu_drains_a_ready_node(node: Node) -> None:
    node.knows("dt-sdei", LOST)
    assert node.run() == 1
    assert "drill-lost: backtrace-masked lost a CPU" in node.updates()[0]
    node.knows("dt-sdei", {**LOST, "stale": True}, {**LOST, "outcome": "fail"})
    assert (node.run(), len(node.updates())) == (0, 1)


@pytest.mark.parametrize("reason", ["", OURS, "memory error"])
def test_unknown_leaves_the_node_alone(node: Node, reason: str) -> None:
    node.state("IDLE+DRAIN" if reason else "IDLE", reason)
    node.knows(None)
    assert (node.run(), node.updates()) == (3, [])


def test_no_sdeictl_leaves_the_node_alone(node: Node) -> None:
    assert (node.run(), node.updates()) == (3, [])


def test_ready_node_gets_our_drain_back_only(node: Node) -> None:
    node.knows("dt-sdei")
    assert (node.run(), node.updates()) == (0, [])
    for reason in ("memory error", f"{OURS[1:]}", f"see {OURS}"):
        node.state("IDLE+DRAIN", reason)
        assert (node.run(), node.updates()) == (0, [])
    node.state("IDLE+DRAIN", OURS)
    assert (node.run(), node.updates()) == (0, ["State=RESUME"])


def test_drain_of_somebody_else_stays_theirs(node: Node) -> None:
    node.knows("dt-none")
    node.state("MIXED+DRAIN", "memory error")
    assert (node.run(), node.updates()) == (1, [])


def test_same_reason_is_written_once(node: Node) -> None:
    node.knows("dt-none")
    node.run()
    node.state("IDLE+DRAIN", node.updates()[0].partition("Reason=")[2])
    assert (node.run(), len(node.updates())) == (1, 1)
    node.state("IDLE+DRAIN", OURS)  # of an earlier boot
    assert (node.run(), len(node.updates())) == (1, 2)


def test_scontrol_that_hangs_ends_in_time(node: Node) -> None:
    node.knows("dt-none")
    node.program("scontrol", "exec sleep 600")
    assert node.run() == 3


@pytest.mark.parametrize(("status", "fails"), [(0, False), (2, True), (3, False), (127, False), (124, False)])
def test_nhc_fails_only_on_a_node_that_is_bad(tmp_path: Path, status: int, *, fails: bool) -> None:
    program = tmp_path / "sdeictl"
    program.write_text(f"#!/bin/sh\necho the answer\nexit {status}\n")
    program.chmod(0o755)
    script = f'die() {{ echo "DIED $*"; exit 1; }}; log() {{ echo "$*"; }}; . {NHC}; check_sdeictl'
    done: Any = subprocess.run(
        ["bash", "-c", script], env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert (done.returncode == 1, "DIED 1 check_sdeictl: the answer" in done.stdout) == (fails, fails)
