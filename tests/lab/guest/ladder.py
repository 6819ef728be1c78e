"""Runs in a guest, in each boot anew: one drill after the other that can cost the host.

    ladder.py COMMAND...        each as `stop`, `crash --variant wedged`, `stop --evidence /lab/console.log`

Goes on where the last boot was left; leaves /lab/ladder.json: what each drill, or the resume after its
reset, said. /state is the disk that outlasts a reset.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from observe import leave, look_at_cpus, sdeictl

PROGRESS = Path("/state/ladder.json")
YEAR_SECONDS = 365 * 86400
NO_CLOCK = 20 * YEAR_SECONDS
"""Before this the machine has only counted from 1970 on."""
TARGET = 3
ATTEMPTS = 3
IN_USE = re.compile(rf"CPU {TARGET} is in use: (.*?)\. Choose another CPU")
CONSENT = ("--host", "lab", "--way-back", "the lab's own power switch")


def load_crash_kernel() -> None:
    """As a kdump service does."""
    if Path("/sys/kernel/kexec_crash_size").read_text() == "0\n":
        return
    words = [
        word for word in Path("/proc/cmdline").read_text().split() if not word.startswith("crashkernel=")
    ]
    line = " ".join([*words, "nr_cpus=1", "reset_devices"])
    subprocess.run(["kexec", "-s", "-p", "/lab/Image", f"--append={line}"], check=True)
    Path("/proc/sys/kernel/panic").write_text("5")


def consent(command: list[str]) -> tuple[str, ...]:
    """Return what the operator says about a drill."""
    if command[0] == "lockup" and "--permanent" not in command:
        return CONSENT[:2]
    # Debian's makedumpfile reads a kernel with addresses of 52 bits only where its pages are of 64 KiB.
    if command[0] == "crash" and os.sysconf("SC_PAGESIZE") == 4096:
        return (*CONSENT, "--plain-dump")
    return CONSENT


def run_drill(command: list[str]) -> dict[str, Any]:
    """Run a drill on the last CPU: what it runs is accepted in the words of the refusal."""
    chosen = (*command, "--cpu", str(TARGET))
    if "all-masked" in command:
        chosen = tuple(command)
    accepted: tuple[str, ...] = ()
    for _ in range(ATTEMPTS):
        done: dict[str, Any] = sdeictl("drill", *chosen, *accepted, *consent(command), "--format", "json")
        in_use = IN_USE.search(" ".join(done["result"].get("reasons", ())))
        if not in_use:
            break
        accepted = ("--accept-load", in_use[1])  # An interrupt that came meanwhile changes it.
    return done


def store(progress: dict[str, Any]) -> None:
    new = PROGRESS.with_suffix(".new")
    new.write_text(json.dumps(progress))
    os.sync()
    new.rename(PROGRESS)
    os.sync()


def main() -> None:
    commands = [shlex.split(command) for command in sys.argv[1:]]
    progress: dict[str, Any] = {"begun": 0, "done": [], "boots": 0}
    if PROGRESS.exists():
        progress = json.loads(PROGRESS.read_text())
    progress["boots"] += 1
    if len(progress["done"]) < progress["begun"]:
        progress["done"].append(sdeictl("drill", "resume", "--format", "json"))
    load_crash_kernel()
    while progress["begun"] < len(commands):
        command = commands[progress["begun"]]
        progress["begun"] += 1
        store(progress)
        assert sdeictl("drill", "arm", "--for", "10m")["status"] == 0
        # Back by a year, or on where the machine has no clock; after the reset it is right again.
        now = time.time()
        shift = YEAR_SECONDS if now < NO_CLOCK else -YEAR_SECONDS
        time.clock_settime(time.CLOCK_REALTIME, now + shift)
        progress["done"].append(run_drill(command))
    leave("cpus", look_at_cpus(8.0))
    leave("status", sdeictl("drill", "status", "--format", "json"))
    leave("ladder", progress)


if __name__ == "__main__":
    main()
