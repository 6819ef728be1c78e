"""Real Ansible drills stub hosts in waves: it drains, drills and gives back no others than it should."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.lab.ansible import Ansible, environment, install, write_plan
from tests.lab.build import EXTRA, Lab

HOSTS = ("h1", "h2", "h3", "h4", "h5")
WAVES = (("h1",), ("h2", "h3"), ("h4", "h5"))
"""As the plan has them: a canary, then batches of two."""
MARK = "sdeictl: drill"


class Fleet:
    """Stub hosts in a directory, and Ansible."""

    def __init__(self, lab: Lab, directory: Path, drain: str, drill: str = "backtrace-masked") -> None:
        self.drain = drain
        self.hosts = directory / "hosts"
        self.hosts.mkdir()
        self._ansible = Ansible(
            lab, directory, ("ssh", "sdeictl", "scontrol", "kubectl"),
            HOSTS=str(self.hosts), ANSIBLE_HOST_KEY_CHECKING="0",
        )  # fmt: skip
        plan, connection = directory / "plan.yml", directory / "connection.json"
        assert write_plan(plan, HOSTS, 2, drill) == list(map(list, WAVES))
        variables = {
            "ansible_connection": "ssh", "ansible_ssh_executable": str(self._ansible.stubs / "ssh"),
            "ansible_ssh_transfer_method": "piped", "ansible_python_interpreter": sys.executable,
            "waves_become": False,
        }  # fmt: skip
        connection.write_text(json.dumps({"sdeictl_waves": {"vars": variables}}))
        self._inventories = [plan, connection]
        self._variables = {
            "waves_drain": drain, "waves_drain_delay": 0, "waves_drain_tries": 2, "waves_refused_tries": 3,
        }  # fmt: skip
        for host in HOSTS:
            self.set(host, "pass")
            self.set_node(host, drained=None)

    def set(self, host: str, outcome: str) -> None:
        """Say how the drill of a host ends."""
        (self.hosts / host).write_text(outcome)

    def set_node(self, host: str, *, drained: str | None, state: str = "IDLE") -> None:
        """Set the state of a node; `drained` is the reason."""
        node = self.hosts / f"{host}.node"
        if self.drain == "kubernetes":
            metadata = {"annotations": {"sdeictl/drained": drained}} if drained == MARK else {}
            node.write_text(
                json.dumps({"metadata": metadata, "spec": {"unschedulable": True} if drained else {}})
            )
        else:
            node.write_text(f"IDLE+DRAIN {drained}" if drained else state)

    def node(self, host: str) -> str:
        """Return the state of a node: `free`, or what it is drained for."""
        text = (self.hosts / f"{host}.node").read_text()
        if self.drain == "kubernetes":
            document: Any = json.loads(text)
            mark = document["metadata"].get("annotations", {}).get("sdeictl/drained", "")
            return mark or "somebody" if document["spec"].get("unschedulable") else "free"
        return text.partition(" ")[2] or "free"

    def run(self, *arguments: str) -> tuple[int, str]:
        """Run the waves; return the status of Ansible and what it prints."""
        return self._ansible.play("sdeictl.fleet.waves", self._inventories, self._variables, *arguments)

    def done(self, what: str) -> list[str]:
        """Return the hosts to which this happened, in order."""
        log = self.hosts / "log"
        lines = log.read_text().splitlines() if log.exists() else []
        return [line.partition(" ")[2] for line in lines if line.partition(" ")[0] == what]

    def forget(self) -> None:
        (self.hosts / "log").unlink()


def up_to(host: str) -> set[str]:
    """Return the hosts of the wave of this one, and of all waves before it."""
    number = next(number for number, wave in enumerate(WAVES) if host in wave)
    return {each for wave in WAVES[: number + 1] for each in wave}


@pytest.fixture(params=["slurm", "kubernetes"] if EXTRA else ["slurm"])
def fleet(request: pytest.FixtureRequest, lab: Lab, tmp_path: Path) -> Fleet:
    return Fleet(lab, tmp_path, request.param)


def assert_all_free(fleet: Fleet, hosts: Iterable[str] = HOSTS) -> None:
    assert {host: fleet.node(host) for host in hosts} == dict.fromkeys(hosts, "free")


def test_every_host_in_its_wave(fleet: Fleet) -> None:
    status, text = fleet.run()
    assert status == 0, text
    drilled = fleet.done("drill")
    ends = [0]
    for wave in WAVES:
        ends.append(ends[-1] + len(wave))
        assert set(drilled[ends[-2] : ends[-1]]) == set(wave)
    assert sorted(fleet.done("drain")) == sorted(fleet.done("resume")) == sorted(HOSTS)
    assert_all_free(fleet)
    # Nothing is left to do.
    fleet.forget()
    status, text = fleet.run()
    assert (status, fleet.done("drill"), fleet.done("drain")) == (0, [], []), text


FAULTS = [
    (host, outcome) for host in ("h1", "h3", "h4") for outcome in ("fail", "unknown", "refused", "lost")
]
"""Every order of failures; CI takes each outcome once."""


@pytest.mark.parametrize(("host", "outcome"), FAULTS if EXTRA else FAULTS[::3])
def test_first_bad_host_stops_the_waves(fleet: Fleet, host: str, outcome: str) -> None:
    fleet.set(host, outcome)
    status, text = fleet.run()
    assert status != 0, text
    assert set(fleet.done("drill")) <= up_to(host)
    assert host in text
    assert (f"{host} does not answer since the drill" in text) is (outcome == "lost"), text
    assert sorted(fleet.done("drain")) == sorted(fleet.done("resume"))
    assert_all_free(fleet)
    # The host is mended; a second run drills it and all that had no turn.
    passed = {each for each in HOSTS if (fleet.hosts / f"{each}.result").exists()} - {host}
    (fleet.hosts / f"{host}.lost").unlink(missing_ok=True)
    fleet.set(host, "pass")
    fleet.forget()
    status, text = fleet.run()
    assert status == 0, text
    assert set(fleet.done("drill")) == set(HOSTS) - passed
    assert_all_free(fleet)


def test_host_that_is_not_there_stops_the_waves(fleet: Fleet) -> None:
    (fleet.hosts / "h2.lost").touch()
    status, text = fleet.run()
    assert (status != 0, "h2 does not answer" in text) == (True, True), text
    assert fleet.done("drill") == ["h1"]
    assert_all_free(fleet)


def test_host_that_the_drill_resets_is_judged_after_it(lab: Lab, tmp_path: Path) -> None:
    fleet = Fleet(lab, tmp_path, "slurm", "stop")
    for host in HOSTS:
        fleet.set(host, "resets")
    # The load of a host that was just drained makes it refuse.
    (fleet.hosts / "h2.busy").write_text("2")
    status, text = fleet.run("-e", "waves_allow_reset=true", "-e", "waves_way_back=bmc1")
    assert status == 0, text
    assert sorted(fleet.done("drill")) == sorted(fleet.done("resumed")) == sorted(HOSTS)
    assert_all_free(fleet)


def test_drain_of_somebody_else_is_left_alone(fleet: Fleet) -> None:
    fleet.set_node("h2", drained="memory error")
    status, text = fleet.run()
    assert status == 0, text
    assert "h2 is skipped" in text
    assert set(fleet.done("drill")) == set(HOSTS) - {"h2"}
    assert fleet.node("h2") != "free"
    assert "h2" not in fleet.done("drain") + fleet.done("resume")


def test_own_drain_of_a_run_that_was_killed_is_taken_over(fleet: Fleet) -> None:
    fleet.set_node("h2", drained=MARK)
    status, text = fleet.run()
    assert status == 0, text
    assert set(fleet.done("drill")) == set(HOSTS)
    assert_all_free(fleet)


def test_check_mode_changes_nothing(fleet: Fleet) -> None:
    status, text = fleet.run("--check")
    assert status == 0, text
    assert (fleet.done("drill"), fleet.done("drain"), fleet.done("resume")) == ([], [], [])


def test_part_of_a_wave_is_refused(fleet: Fleet) -> None:
    status, text = fleet.run("--limit", "h2,h3,h4")
    assert status != 0
    assert "Do not use --limit" in text
    assert set(fleet.done("drill")) <= {"h2"}


@pytest.mark.parametrize("state", ["DOWN*", "IDLE+MAINTENANCE", "IDLE+DRAIN+PLANNED"] if EXTRA else ["DOWN*"])
def test_node_that_is_not_in_service_is_skipped(lab: Lab, tmp_path: Path, state: str) -> None:
    fleet = Fleet(lab, tmp_path, "slurm")
    fleet.set_node("h3", drained=None, state=state)
    status, text = fleet.run()
    assert (status, "h3 is skipped" in text) == (0, True), text
    assert (fleet.hosts / "h3.node").read_text() == state


def test_without_a_drain(lab: Lab, tmp_path: Path) -> None:
    fleet = Fleet(lab, tmp_path, "none")
    status, text = fleet.run()
    assert status == 0, text
    assert (set(fleet.done("drill")), fleet.done("drain")) == (set(HOSTS), [])


def test_lint(lab: Lab, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ansiblelint", "--offline", "--strict", "--nocolor"],
        cwd=install(tmp_path), env=environment(lab, tmp_path), capture_output=True, text=True, timeout=180,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


if EXTRA:  # each of its 24 tests installs what it needs: minutes

    def test_sanity(lab: Lab, tmp_path: Path) -> None:
        """ansible-test fetches a script that installs pip; ours does it with what Python brings."""
        place = install(tmp_path)
        bootstrap = tmp_path / ".ansible/test/cache/get_pip_24_2.py"
        bootstrap.parent.mkdir(parents=True)
        bootstrap.write_text("import ensurepip\nensurepip.bootstrap()\n")
        for words in (["init", "--quiet"], ["add", "--all"]):  # it looks only at what git knows
            subprocess.run(["git", *words], cwd=place, check=True)
        version = f"{sys.version_info[0]}.{sys.version_info[1]}"
        done = subprocess.run(
            ["ansible-test", "sanity", "--local", "--python", version],
            cwd=place, env=environment(lab, tmp_path), capture_output=True, text=True, timeout=900,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
