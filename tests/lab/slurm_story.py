"""Runs in a root with Slurm: a controller, a node, and our HealthCheckProgram, which sdeictl's stub answers.

It prints one line of JSON for each step: what was done, and the state and the reason of the node after it.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

HEALTH = "/usr/libexec/sdeictl/sdeictl-health"
ANSWER = Path("/answer")
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
STUB = f"""#!/bin/sh
[ "$1" = drill ] && {{ echo '{{"results": []}}'; exit 0; }}
cat {ANSWER}
"""
CONFIG = f"""
ClusterName=lab
SlurmctldHost=n1(127.0.0.1)
AuthType=auth/munge
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation=/var/spool/slurmctld
SlurmdSpoolDir=/var/spool/slurmd
ProctrackType=proctrack/pgid
TaskPlugin=task/none
ReturnToService=2
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
HealthCheckProgram={HEALTH}
HealthCheckInterval=2
HealthCheckNodeState=ANY
NodeName=n1 NodeAddr=127.0.0.1 CPUs=1 State=UNKNOWN
PartitionName=all Nodes=n1 Default=YES State=UP
"""
READY = {"verdict": {"ready": True, "missing": []}, "findings": []}
FINDING = {"id": "sdei-advertised", "owner": "firmware", "remedy": "Ask the firmware vendor."}
NOT_READY = {"verdict": {"ready": False, "missing": ["sdei-advertised"]}, "findings": [FINDING]}
SECONDS = 60.0


def run(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True, timeout=SECONDS).stdout


def start(*words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(words, stdin=subprocess.DEVNULL)


def prepare() -> None:
    """Write the configuration, and start munge."""
    Path("/etc/hosts").write_text("127.0.0.1 n1 localhost\n")
    Path("/etc/slurm").mkdir(exist_ok=True)
    Path("/etc/slurm/slurm.conf").write_text(CONFIG)
    Path("/etc/slurm/cgroup.conf").write_text("CgroupPlugin=disabled\n")
    Path("/usr/bin/sdeictl").write_text(STUB)
    Path("/usr/bin/sdeictl").chmod(0o755)
    for name in ("/var/spool/slurmctld", "/var/spool/slurmd", "/run/munge"):
        Path(name).mkdir(parents=True, exist_ok=True)
    run(
        "chown",
        "munge:",
        "/run/munge",
        "/var/lib/munge",
        "/var/log/munge",
        "/etc/munge",
        "/etc/munge/munge.key",
    )
    run("setpriv", "--reuid=munge", "--regid=munge", "--clear-groups", "munged")


def answer(document: object) -> None:
    ANSWER.write_text(json.dumps(document) if document else "")


def node() -> tuple[str, str]:
    """Return the state of the node and the reason for it."""
    try:
        text = run("scontrol", "--oneliner", "show", "node", "n1")
    except subprocess.CalledProcessError:  # the controller does not listen yet
        return "", ""
    state = re.search(r"\bState=(\S+)", text)
    reason = re.search(r"\bReason=(.*?) \[\S+@\S+\]", text)
    return state[1] if state else "", reason[1] if reason else ""


def wait_for(condition: Callable[[str, str], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition(*node()) and time.monotonic() < deadline:
        time.sleep(0.3)


def rounds() -> None:
    """Wait until the health check has run a few times more."""
    time.sleep(8)


def tell(step: str, **more: object) -> None:
    state, reason = node()
    print(json.dumps({"step": step, "state": state, "reason": reason, **more}), flush=True)


def without_a_controller() -> None:
    answer(NOT_READY)
    began = time.monotonic()
    status = subprocess.run([HEALTH], env={**os.environ, "SLURMD_NODENAME": "n1"}, check=False).returncode
    print(
        json.dumps({"step": "alone", "status": status, "in_time": time.monotonic() - began < SECONDS}),
        flush=True,
    )


def drained(state: str, _reason: str) -> bool:
    return "DRAIN" in state


def free(state: str, _reason: str) -> bool:
    return state == "IDLE"


def restart(slurmd: Sequence[str], old: subprocess.Popen[bytes], boot_id: str) -> subprocess.Popen[bytes]:
    """Let the node boot: its slurmd ends, and another one starts with another boot id."""
    old.terminate()
    old.wait(SECONDS)
    Path("/boot_id").write_text(boot_id)
    run("mount", "--bind", "/boot_id", str(BOOT_ID))
    return start(*slurmd)


def main() -> None:
    prepare()
    without_a_controller()
    answer(READY)
    start("slurmctld", "-D")
    slurmd = ("slurmd", "-D", "-N", "n1")
    process = start(*slurmd)
    wait_for(free)
    tell("registered")
    answer(NOT_READY)
    wait_for(drained)
    tell("bad")
    answer(None)
    rounds()
    tell("unknown")
    process = restart(slurmd, process, "11111111-2222\n")
    answer(NOT_READY)
    wait_for(lambda _state, reason: "boot 11111111" in reason)
    tell("booted")
    answer(READY)
    wait_for(free)
    tell("mended")
    run("scontrol", "update", "NodeName=n1", "State=DRAIN", "Reason=memory error")
    rounds()
    tell("foreign, good")
    answer(NOT_READY)
    rounds()
    tell("foreign, bad")


if __name__ == "__main__":
    main()
