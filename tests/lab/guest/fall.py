"""Runs in a guest, in each boot anew: a drill that can cost the host is killed at each of its steps.

    fall.py FIRST COMMAND...    such as `0 stop`, `4 crash --variant wedged`; FIRST is the step to begin with

Leaves /lab/falls.json: for each step what the drill had said, what the resume then said, and the host's
settings before and after. Where a CPU is left wedged, the host is reset and goes on in the next boot. A
wedged CPU can keep a disk's journal from its end, and whoever waits for that: so nothing here is kept on one.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

from ladder import consent, load_crash_kernel
from observe import ends_within, finish, keep_interrupts_here, leave, runs_on, sdeictl, start

PROGRESS = Path("/lab/progress.json")
DRILLS = Path("/var/lib/sdeictl/drills")
SETTINGS = ("printk", "watchdog_thresh", "hardlockup_panic")
STEP_SECONDS = 120.0
DOWN_SECONDS = 60.0
RESUME_SECONDS = 90.0


def settings() -> dict[str, str]:
    return {name: Path(f"/proc/sys/kernel/{name}").read_text() for name in SETTINGS}


def said() -> list[str]:
    try:
        lines = Path("/tmp/fallen.err").read_text().splitlines()
    except FileNotFoundError:
        return []
    return [line for line in lines if line.startswith("drill: ")]


def kill_at(step: int, command: list[str]) -> dict[str, Any] | None:
    """Return what the drill had said when it was killed; None if it has no such step."""
    shutil.rmtree(DRILLS, ignore_errors=True)
    Path("/tmp/fallen.err").unlink(missing_ok=True)
    assert sdeictl("drill", "arm", "--for", "10m")["status"] == 0
    pid = start("drill", *command, *consent(command), "--format", "json", name="fallen")
    deadline = time.monotonic() + STEP_SECONDS
    while len(said()) <= step and time.monotonic() < deadline:
        if ends_within(pid, 0):
            finish(pid, "fallen")
            return None
        time.sleep(0.002)
    os.kill(pid, signal.SIGKILL)
    finish(pid, "fallen")
    return {"step": said()[step], "said": said()}


def ended() -> dict[str, Any]:
    """Resume, and tell what is left then."""
    first = sdeictl("drill", "resume", "--format", "json")
    resumes = [first]
    if (DRILLS / "journal.json").exists():
        resumes.append(sdeictl("drill", "resume", "--format", "json"))
    stored = [json.loads(path.read_text()) for path in sorted(DRILLS.glob("[12]*.json"))]
    return {"resumes": resumes, "stored": stored, "journal": (DRILLS / "journal.json").exists()}


def end_wedged() -> dict[str, Any]:
    """Resume where that may wait for ever on the disk: then the next boot does it."""
    if not ends_within(start("drill", "resume", name="wedged"), RESUME_SECONDS):
        return {"blocked": True}
    return ended()


def reset(progress: dict[str, Any]) -> None:
    leave("progress", progress)
    Path("/proc/sysrq-trigger").write_text("b")
    time.sleep(DOWN_SECONDS)


def main() -> None:
    first, command = int(sys.argv[1]), sys.argv[2:]
    keep_interrupts_here()
    progress: dict[str, Any] = {
        "step": first - 1,
        "first": first,
        "falls": [],
        "found": settings(),
        "boots": 0,
    }
    if PROGRESS.exists():
        progress = json.loads(PROGRESS.read_text())
    progress["boots"] += 1
    last = progress["falls"][-1] if progress["falls"] else {}
    if last.pop("blocked", False):
        last.update(ended(), settings=settings(), waited=True)
    elif len(progress["falls"]) <= progress["step"] - first:
        # The host went down before the drill could be killed: that was its last step.
        progress["falls"].append({"step": None, "said": [], "settings": settings(), **ended()})
        leave("falls", progress)
        return
    load_crash_kernel()
    while True:
        progress["step"] += 1
        leave("progress", progress)
        killed = kill_at(progress["step"], command)
        if killed is None:
            break
        time.sleep(2)  # what its helpers have begun goes on
        fall = {**killed, "wedged": [cpu for cpu in range(os.cpu_count() or 0) if not runs_on(cpu)]}
        fall |= {**(end_wedged() if fall["wedged"] else ended()), "settings": settings()}
        progress["falls"].append(fall)
        if fall["wedged"]:
            reset(progress)
    leave("falls", progress)


if __name__ == "__main__":
    main()
