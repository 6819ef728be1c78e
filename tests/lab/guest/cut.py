"""Runs in a guest: begin a drill that can cost the host and say its steps to the host, which cuts the power.

    cut.py COMMAND...

In the boot after that: resume, and leave /lab/ended.json.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from fall import ended, settings
from ladder import consent, load_crash_kernel
from observe import keep_interrupts_here, leave, sdeictl

FIRED = Path("/state/begun")


def main() -> None:
    if FIRED.exists():
        leave("ended", {**ended(), "settings": settings()})
        return
    load_crash_kernel()
    keep_interrupts_here()  # what it says goes through a device, whose interrupts must not go with a CPU
    assert sdeictl("drill", "arm", "--for", "10m")["status"] == 0
    FIRED.touch()
    os.sync()
    os.dup2(os.open("/lab/said", os.O_WRONLY | os.O_CREAT | os.O_SYNC, 0o644), 2)
    command = ["sdeictl", "drill", *sys.argv[1:], *consent(sys.argv[1:])]
    if not os.fork():
        os.execvp(sys.executable, [sys.executable, "-m", *command])
    time.sleep(600)


main()
