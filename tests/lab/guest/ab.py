"""Runs in a guest, in each boot anew: `bench ab` through its boots, killed at one of its steps.

    ab.py BOOTS STEP    BOOTS with and as many without; STEP counts what it says over all boots, -1: never

Leaves /lab/ab.json: what it ended with, each boot's command line and the bare loop's time in it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from observe import ends_within, finish, leave, sdeictl, start

PROGRESS = Path("/state/ab.json")
JOURNAL = Path("/var/lib/sdeictl/bench/ab.journal")
BOOTING = "booting the kernel"
"""What it says before it calls kexec(8)."""
CALM_LOAD = 0.3
REFUSED = 4
ATTEMPTS = 10


def store(progress: dict[str, Any]) -> None:
    PROGRESS.with_suffix(".new").write_text(json.dumps(progress))
    os.sync()
    PROGRESS.with_suffix(".new").rename(PROGRESS)
    os.sync()


def said() -> list[str]:
    try:
        lines = Path("/tmp/ab.err").read_text().splitlines()
    except FileNotFoundError:
        return []
    return [line for line in lines if line.startswith("bench: ")]


def keep_busy(until: int) -> None:
    """Take what CPU time is left, in a child, until a process has ended.

    While a CPU is idle, the clock of this machine leaps from timer to timer: without the child, kexec(8) that
    waits for a file of its host is out of time at once.
    """
    if os.fork():
        return
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    while Path(f"/proc/{until}").exists():
        pass
    os._exit(0)


def run(progress: dict[str, Any], kill_at: int, *arguments: str) -> bool:
    """Run one command of the experiment; tell whether it was killed at its step."""
    Path("/tmp/ab.err").unlink(missing_ok=True)
    pid = start(*arguments, "--format", "json", name="ab")
    seen = 0
    while True:
        ended = ends_within(pid, 0.0)
        steps = said()
        if len(steps) > seen:
            progress["said"] += steps[seen:]
            seen = len(steps)
            store(progress)
            Path("/lab/said").write_text("\n".join(progress["said"]))
            if BOOTING in steps[-1]:
                keep_busy(until=pid)
        if len(progress["said"]) > kill_at >= 0 and not progress["killed"]:
            progress["killed"] = progress["said"][kill_at]
            store(progress)
            os.kill(pid, signal.SIGKILL)
            finish(pid, "ab")
            return True
        if ended:
            progress["ended"] = finish(pid, "ab")
            return False
        time.sleep(0.05)


def main() -> None:
    boots, kill_at = sys.argv[1], int(sys.argv[2])
    progress: dict[str, Any] = {"boots": [], "said": [], "killed": None, "ended": None}
    if PROGRESS.exists():
        progress = json.loads(PROGRESS.read_text())
    reference = subprocess.run(["/lab/reference", "2000", "200"], capture_output=True, text=True, check=True)
    line = Path("/proc/cmdline").read_text().strip()
    progress["boots"].append({"line": line, "reference": float(reference.stdout)})
    store(progress)
    # While this machine waits for a file of its host, its clock runs away. So all are read beforehand.
    sdeictl("bench", "ab", "--dry-run", "--kernel", "/lab/Image", "--format", "json")
    while os.getloadavg()[0] > CALM_LOAD:
        time.sleep(5)
    # The power may have gone when all was done: then there is nothing to resume, and nothing is begun anew.
    if JOURNAL.exists() or any(JOURNAL.parent.glob("*-ab.json")):
        arguments = ["bench", "resume"]
    else:
        assert sdeictl("drill", "arm", "--for", "1h")["status"] == 0
        consent = ("--host", "lab", "--way-back", "the lab's own power switch")
        kernel = ("--kernel", "/lab/Image", "--no-initrd", "--own-resume", "--seconds", "1")
        Path("/proc/sys/kernel/panic").write_text("5")
        arguments = ["bench", "ab", "getppid", "--boots", boots, *kernel, *consent]
    for _attempt in range(ATTEMPTS):
        if run(progress, kill_at, *arguments):
            run(progress, kill_at, "bench", "resume")
        if progress["ended"]["status"] != REFUSED:
            break
        time.sleep(60)  # its load is what the runaway clock makes of it
    # Not what was said at last: a kill may have come when all was done.
    (stored,) = JOURNAL.parent.glob("*-ab.json")
    leave("ab", {**progress, "result": json.loads(stored.read_text())})


main()
