"""Stands for sdeictl on a host, for ssh to it, for scontrol and for kubectl, as its first argument says.

HOSTS in the environment is a directory with a file for each host: how its drill ends. What happens is added
to HOSTS/log.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

HOSTS = Path(os.environ["HOSTS"])


def log(*words: str) -> None:
    with (HOSTS / "log").open("a") as file:
        file.write(" ".join(words) + "\n")


def ssh(words: list[str]) -> int:
    """Run the command here, unless the host is lost, or has not yet booted again."""
    command = words[-1]
    host = next(word for word in words[:-1] if (HOSTS / word).exists())
    if is_away(host):
        return 255
    status = subprocess.run(
        ["/bin/sh", "-c", command], env={**os.environ, "HOST": host}, check=False
    ).returncode
    return 255 if is_away(host) else status


def is_away(host: str) -> bool:
    """Tell whether a host does not answer: a lost one never does, one that boots not so many times."""
    if (HOSTS / f"{host}.lost").exists():
        return True
    return counts_down(HOSTS / f"{host}.boots")


def counts_down(path: Path) -> bool:
    """Tell whether a file exists. It has a number, and is removed after so many looks."""
    if not path.exists():
        return False
    left = int(path.read_text())
    path.write_text(str(left - 1)) if left > 1 else path.unlink()
    return True


def sdeictl(words: list[str]) -> int:
    host = os.environ["HOST"]
    results = HOSTS / f"{host}.result"
    if words[:2] == ["drill", "status"]:
        found = [json.loads(results.read_text())] if results.exists() else []
        print(json.dumps({"results": found}))
        return 0
    if "--dry-run" in words:
        print(json.dumps({"schema": "sdeictl.plan/1", "plan": [], "reasons": []}))
        return 0
    if words[:2] == ["drill", "arm"]:
        return 0
    outcome = (HOSTS / host).read_text().strip()
    if words[:2] == ["drill", "resume"]:
        log("resumed", host)
        results.write_text(json.dumps(result_of("stop", None, "pass")))
        print("{}")
        return 0
    if counts_down(HOSTS / f"{host}.busy"):
        outcome = "refused"
    else:
        log("drill", host)
    if outcome == "resets":
        (HOSTS / f"{host}.boots").write_text("4")
        return 1
    if outcome == "lost":
        (HOSTS / f"{host}.lost").touch()
        return 1
    if outcome == "refused":
        refused = {"schema": "sdeictl.drill/1", "outcome": outcome, "reasons": ["a watchdog is armed"]}
        print(json.dumps(refused))
        return 4
    result = result_of("backtrace", "masked", outcome)
    results.write_text(json.dumps(result))
    print(json.dumps(result))
    return 0 if outcome == "pass" else 1


def result_of(drill: str, variant: str | None, outcome: str) -> dict[str, object]:
    reasons = [] if outcome == "pass" else ["CPU 3 did not answer"]
    return {"schema": "sdeictl.drill/1", "drill": drill, "variant": variant, "outcome": outcome,
            "reasons": reasons, "stale": False}  # fmt: skip


def scontrol(words: list[str]) -> int:
    """Keep the state of a node in HOSTS/NODE.node, as `STATE REASON`."""
    if words[:3] == ["--oneliner", "show", "node"]:
        state, _, reason = node(words[3]).read_text().partition(" ")
        more = f" Reason={reason} [root@2026-01-01T00:00:00]" if reason else ""
        print(f"NodeName={words[3]} Arch=aarch64 State={state} ThreadsPerCore=1{more} Comment=x")
        return 0
    assert words[0] == "update"
    fields = dict(word.split("=", 1) for word in words[1:])
    name = fields["NodeName"]
    drained = fields["State"] == "DRAIN"
    log("drain" if drained else "resume", name)
    node(name).write_text(f"IDLE+DRAIN {fields['Reason']}" if drained else "IDLE")
    return 0


def node(name: str) -> Path:
    return HOSTS / f"{name}.node"


def kubectl(words: list[str]) -> int:
    """Keep a node in HOSTS/NODE.node, as JSON."""
    words = [word for word in words if not word.startswith("--")]
    name = next(word for word in words if node(word).exists())
    document = json.loads(node(name).read_text())
    if words[0] == "get":
        print(json.dumps(document))
        return 0
    if words[0] == "annotate":
        key, _, value = words[-1].partition("=")
        annotations = document["metadata"].setdefault("annotations", {})
        annotations.pop(key.rstrip("-"), None) if key.endswith("-") else annotations.update({key: value})
    else:
        log("drain" if words[0] == "drain" else "resume", name)
        document["spec"] = {"unschedulable": True} if words[0] == "drain" else {}
    node(name).write_text(json.dumps(document))
    return 0


PROGRAMS = {"ssh": ssh, "sdeictl": sdeictl, "scontrol": scontrol, "kubectl": kubectl}

if __name__ == "__main__":
    sys.exit(PROGRAMS[sys.argv[1]](sys.argv[2:]))
