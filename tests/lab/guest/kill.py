"""Runs in a guest: stop a masked drill by a signal at each of its steps, and see what it leaves.

    kill.py SIGNAL PROVIDER

Leaves /lab/kills.json: for each step what the drill, the resume and the host then said.
"""

from __future__ import annotations

import json
import os
import signal
import struct
import sys
import time
from pathlib import Path
from typing import Any

from observe import ends_within, finish, leave, look_at_cpus, sdeictl, start

DRILLS = Path("/var/lib/sdeictl/drills")
JOURNAL = DRILLS / "journal.json"
STEP_SECONDS = 120.0
RELEASE_SECONDS = 60.0
SYSCTLS = ("printk", "printk_devkmsg", "sysrq", "panic", "watchdog", "watchdog_thresh", "nmi_watchdog")


def host_state() -> dict[str, Any]:
    with open("/dev/cpu_dma_latency", "rb") as latency:
        found: dict[str, Any] = {"latency": struct.unpack("=i", latency.read(4))[0]}
    found["modules"] = sorted(line.split()[0] for line in Path("/proc/modules").read_text().splitlines())
    found |= {name: Path(f"/proc/sys/kernel/{name}").read_text() for name in SYSCTLS}
    found["journal"] = JOURNAL.exists()
    return found


def steps_said() -> list[str]:
    try:
        return [
            line for line in Path("/tmp/killed.err").read_text().splitlines() if line.startswith("drill: ")
        ]
    except FileNotFoundError:
        return []


def stop_at(step: int, number: signal.Signals, provider: str) -> dict[str, Any] | None:
    """Return what happened; None if the drill has no such step."""
    Path("/tmp/killed.err").unlink(missing_ok=True)
    stored = set(DRILLS.glob("*.json"))
    pid = start("drill", "backtrace", "--masked", "--provider", provider, "--format", "json", name="killed")
    deadline = time.monotonic() + STEP_SECONDS
    ended = False
    while len(steps_said()) <= step and not ended and time.monotonic() < deadline:
        ended = ends_within(pid, 0.0)
        time.sleep(0.002)
    if ended and len(steps_said()) <= step:
        finish(pid, "killed")
        return None
    os.kill(pid, number)
    drill = finish(pid, "killed")
    left = host_state()
    resume = sdeictl("drill", "resume")
    new = {path for path in DRILLS.glob("*.json") if path != JOURNAL} - stored
    return {
        "step": steps_said()[step],
        "steps": steps_said(),
        "drill": drill,
        "left": left,
        "resume": resume,
        "after": settled_state(),
        "stored": [json.loads(path.read_text())["outcome"] for path in sorted(new)],
    }


def settled_state() -> dict[str, Any]:
    """Return the host's state once the last helper of a killed drill has come back from the kernel."""
    deadline = time.monotonic() + RELEASE_SECONDS
    while (state := host_state())["latency"] == 0 and time.monotonic() < deadline:
        time.sleep(0.1)
    return state


def main() -> None:
    number, provider = signal.Signals[sys.argv[1]], sys.argv[2]
    found = host_state()
    kills: list[dict[str, Any]] = []
    while (kill := stop_at(len(kills), number, provider)) is not None:
        kills.append(kill)
    leave("kills", {"found": found, "kills": kills, "cpus": look_at_cpus(8.0)})


if __name__ == "__main__":
    main()
