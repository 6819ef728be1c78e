"""Real hosts in waves: Ansible drills them by SSH until one fails, and goes on when that one is mended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from sdeictl_agent.config import DEFAULT_PORT

from sdeictl.host.paths import INSTALLED_SDEICTL
from tests.lab.ansible import Ansible, write_plan
from tests.lab.build import EXTRA, Lab
from tests.lab.deb import Package
from tests.lab.machines import MACHINES, Machine
from tests.lab.prometheus import Prometheus, configured, free_port, wait_until
from tests.lab.vm import running_vm

READY = MACHINES["dt-sdei"]._replace(root="system", cpus=2)
BROKEN = MACHINES["dt-none"]._replace(root="system", cpus=2)
"""A host that was ready when the plan was made, and has lost its firmware's SDEI since."""
HOSTS = ("h1", "h2", "h3", "h4") if EXTRA else ("h1", "h2", "h3")
JOB = """
hostname {name}
install -d -m 700 ~root/.ssh
cp /lab/key.pub ~root/.ssh/authorized_keys
until systemctl --quiet is-active ssh; do sleep 1; done
# As installed as the story needs it; the roles install the package.
printf '#!/bin/sh\nPYTHONPATH=/lab/site exec python3 -m sdeictl "$@"\n' > /usr/local/bin/sdeictl
chmod +x /usr/local/bin/sdeictl
touch /lab/open
exec sleep infinity
"""
SET_UP = """
- hosts: all
  gather_facts: false
  strategy: free
  vars:
    install_deb: {package}
    agent_listen: 0.0.0.0:{port}
  roles:
    - sdeictl.fleet.install
    - sdeictl.fleet.agent
"""
SCRAPE = """
global: {{scrape_interval: 2s, scrape_timeout: 2s}}
scrape_configs:
  - job_name: sdeictl
    static_configs:
"""
TARGET = "      - {{targets: ['127.0.0.1:{port}'], labels: {{instance: '{host}:{port}', rack: r1}}}}\n"
BOOT_SECONDS, PLAY_SECONDS = 420.0, 900.0
REPORT_SECONDS = 420.0
"""The timer of the collector waits up to two minutes."""


class Guests:
    """Emulated hosts on ports of the loopback, with an Ansible that reaches them by SSH."""

    def __init__(self, lab: Lab, directory: Path, stack: ExitStack) -> None:
        self._lab, self._stack = lab, stack
        self.directory = directory
        self._running: dict[str, ExitStack] = {}
        self._shares: dict[str, Path] = {}
        self._key = directory / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self._key], check=True)
        self._nodes = directory / "nodes"
        self._nodes.mkdir()
        # The path of a socket has at most 108 bytes.
        sockets = stack.enter_context(tempfile.TemporaryDirectory(prefix="ssh-"))
        self._ansible = Ansible(
            lab, directory / "ansible", ("scontrol",), HOSTS=str(self._nodes), ANSIBLE_TIMEOUT="60",
            ANSIBLE_SSH_CONTROL_PATH_DIR=sockets,
        )  # fmt: skip
        self.ssh = {host: free_port() for host in HOSTS}
        self.agent = {host: free_port() for host in HOSTS}
        self._connection = directory / "connection.json"
        self._connection.write_text(
            json.dumps({"all": {"hosts": {host: self._reach(host) for host in HOSTS}}})
        )

    def _reach(self, host: str) -> dict[str, object]:
        options = ("StrictHostKeyChecking=no", f"UserKnownHostsFile={os.devnull}", "IdentitiesOnly=yes")
        return {
            "ansible_host": "127.0.0.1",
            "ansible_port": self.ssh[host],
            "ansible_user": "root",
            "ansible_ssh_private_key_file": str(self._key),
            "ansible_ssh_common_args": " ".join(f"-o {option}" for option in options),
            "ansible_python_interpreter": "/usr/bin/python3",
        }

    def boot(self, host: str, machine: Machine) -> None:
        """Boot a host; one that runs under this name is ended."""
        self.end(host)
        place = self.directory / f"vm-{host}-{len(list(self.directory.glob(f'vm-{host}-*')))}"
        ports = {self.ssh[host]: 22, self.agent[host]: DEFAULT_PORT}
        stack = self._stack.enter_context(ExitStack())
        share = stack.enter_context(
            running_vm(
                machine, JOB.format(name=host), lab=self._lab, directory=place, ports=ports,
                files=(self._key.with_suffix(".pub"),),
            )
        )  # fmt: skip
        self._running[host] = stack
        self._shares[host] = share
        self._node(host).write_text("IDLE")

    def end(self, host: str) -> None:
        """End a host, if it runs."""
        if host in self._running:
            self._running.pop(host).close()

    def wait(self, *hosts: str) -> None:
        """Wait until hosts have booted."""
        for host in hosts:
            wait_until(f"{host} boots", (self._shares[host] / "open").exists, BOOT_SECONDS)

    def set_up(self, package: Path) -> None:
        """Install sdeictl and its agent on all hosts, by our roles."""
        playbook = self.directory / "set-up.yml"
        playbook.write_text(SET_UP.format(package=package, port=DEFAULT_PORT))
        # Twice, and the second time nothing changes.
        for words in ("changed=", "changed=0 "):
            status, text = self._ansible.play(playbook, [self._connection], {}, timeout=PLAY_SECONDS)
            assert status == 0, text
            assert text.count(words) == len(HOSTS), text

    def drill(self, plan: Path, **variables: object) -> tuple[int, str]:
        """Drill the waves of a plan; return the status of Ansible and what it prints."""
        variables = {"waves_drain": "slurm", "waves_drain_delay": 1, "waves_become": False, **variables}
        return self._ansible.play(
            "sdeictl.fleet.waves", [plan, self._connection], variables, timeout=PLAY_SECONDS
        )

    def outcomes(self) -> dict[str, str]:
        """Return how the last drill of each host ended, as the host has stored it; "" without one."""
        return {host: self._outcome(host) for host in HOSTS}

    def _outcome(self, host: str) -> str:
        reach = self._reach(host)
        words = ["ssh", *str(reach["ansible_ssh_common_args"]).split(), "-i", str(self._key), "-p"]
        done = subprocess.run(
            [*words, str(self.ssh[host]), "root@127.0.0.1", "sdeictl drill status --format json"],
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        results = json.loads(done.stdout)["results"]
        return str(results[0]["outcome"]) if results else ""

    def scheduler(self) -> tuple[list[str], dict[str, str]]:
        """Return which hosts were drained since the last look, in order, and the state of each node."""
        log = self._nodes / "log"
        lines = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return [line.split()[1] for line in lines if line.startswith("drain")], {
            host: self._node(host).read_text() for host in HOSTS
        }

    def _node(self, host: str) -> Path:
        return self._nodes / f"{host}.node"


IDLE = dict.fromkeys(HOSTS, "IDLE")


@pytest.fixture
def guests(lab: Lab, tmp_path: Path) -> Iterator[Guests]:
    with ExitStack() as stack:
        yield Guests(lab, tmp_path, stack)


@contextmanager
def scraped(lab: Lab, guests: Guests) -> Iterator[Prometheus]:
    """Run a Prometheus that scrapes the agents of the hosts, once each has answered."""
    directory = guests.directory / "prometheus"
    directory.mkdir()
    targets = [TARGET.format(host=host, port=port) for host, port in guests.agent.items()]
    with configured(lab, "prometheus", directory, SCRAPE.format() + "".join(targets)) as server:
        wait_until("all reports", lambda: server.value("count(sdeictl_ready)") == len(HOSTS), REPORT_SECONDS)
        yield server


def plan_by(server: Prometheus, path: Path) -> dict[str, Any]:
    """Write the inventory of `fleet plan`, and return its document."""
    command = [
        sys.executable,
        "-m",
        "sdeictl",
        "fleet",
        "plan",
        "--prometheus",
        server.url,
        "--domain",
        "rack",
    ]
    found = {}
    for form in ("ansible", "json"):
        done = subprocess.run(
            [*command, "--max-unavailable", "1", "--format", form],
            capture_output=True, text=True, timeout=120,
            env=os.environ | {"no_proxy": "*"}, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        found[form] = done.stdout
    path.write_text(found["ansible"])
    document: dict[str, Any] = json.loads(found["json"])
    return document


def summary(document: Mapping[str, Any]) -> tuple[list[list[str]], dict[str, list[str]]]:
    """Return the waves of a plan, and the hosts that it leaves out by reason."""
    waves = [[host["host"] for host in wave["hosts"]] for wave in document["waves"]]
    left_out = {
        each["reason"]: [name.partition(":")[0] for name in each["instances"]]
        for each in document["left_out"]
    }
    return waves, left_out


@pytest.mark.parametrize("broken", HOSTS if EXTRA else HOSTS[1:2])
def test_waves_stop_at_the_host_that_fails_and_go_on_when_it_is_mended(guests: Guests, broken: str) -> None:
    for host in HOSTS:
        guests.boot(host, BROKEN if host == broken else READY)
    guests.wait(*HOSTS)
    plan = guests.directory / "plan.yml"
    assert write_plan(plan, HOSTS, 1) == [[host] for host in HOSTS]
    before, after = HOSTS[: HOSTS.index(broken)], HOSTS[HOSTS.index(broken) + 1 :]

    status, text = guests.drill(plan)
    assert status != 0, text
    assert guests.outcomes() == {
        **dict.fromkeys(before, "pass"), broken: "fail", **dict.fromkeys(after, "")
    }, text  # fmt: skip
    assert guests.scheduler() == ([*before, broken], IDLE)

    guests.boot(broken, READY)
    guests.wait(broken)
    status, text = guests.drill(plan)
    assert (status, guests.scheduler()) == (0, ([broken, *after], IDLE)), text
    assert guests.outcomes() == dict.fromkeys(HOSTS, "pass")


if EXTRA:

    def test_from_installation_to_an_empty_plan(lab: Lab, package: Package, guests: Guests) -> None:
        """The roles install sdeictl and the agent; the plans come from what Prometheus scrapes."""
        broken, *ready = HOSTS
        for host in HOSTS:
            guests.boot(host, BROKEN if host == broken else READY)
        guests.wait(*HOSTS)
        guests.set_up(package.file)
        plan = guests.directory / "plan.yml"
        with scraped(lab, guests) as server:
            assert summary(plan_by(server, plan)) == ([[host] for host in ready], {"not-ready": [broken]})
            status, text = guests.drill(plan, waves_executable=INSTALLED_SDEICTL)
            assert (status, guests.scheduler()) == (0, (ready, IDLE)), text
            passed = "count(sdeictl_drill_outcome == 1)"
            wait_until("the results", lambda: server.value(passed) == len(ready))
            assert summary(plan_by(server, plan)) == ([], {"not-ready": [broken], "done": ready})

    def test_host_that_dies_stops_the_waves(guests: Guests) -> None:
        for host in HOSTS:
            guests.boot(host, READY)
        guests.wait(*HOSTS)
        plan = guests.directory / "plan.yml"
        write_plan(plan, HOSTS, 1)
        guests.end(HOSTS[1])
        status, text = guests.drill(plan)
        assert (status != 0, f"{HOSTS[1]} does not answer" in text) == (True, True), text
        assert guests.scheduler() == ([HOSTS[0]], IDLE)

    def test_drill_that_resets_the_host(package: Package, guests: Guests) -> None:
        """The play waits for each host, judges the drill by what survived, and only then goes on."""
        for host in HOSTS:
            guests.boot(host, READY._replace(ramoops=True))
        guests.wait(*HOSTS)
        guests.set_up(package.file)
        plan = guests.directory / "plan.yml"
        write_plan(plan, HOSTS, 1, "stop")
        status, text = guests.drill(
            plan, waves_allow_reset=True, waves_way_back="the switch of the lab",
            waves_executable=INSTALLED_SDEICTL,
        )  # fmt: skip
        assert status == 0, text
        assert guests.outcomes() == dict.fromkeys(HOSTS, "pass")
        assert guests.scheduler() == (list(HOSTS), IDLE)
