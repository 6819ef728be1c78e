"""Runs in a guest: firmware refuses to reset SDEI, so the kernel disables SDEI. Never returns.

Leaves /lab/{before,probe,drill,cpus}.json: what `probe` says before and after, what a drill sees, and who
runs then. At last a CPU is wedged and the host panics: the console shows by what its CPUs are stopped.
"""

from __future__ import annotations

import os
import subprocess
import time

from observe import leave, look_at_cpus, sdeictl
from wedge import SETTLE_SECONDS, panic, wedge_victim


def main() -> None:
    leave("before", sdeictl("probe", "--format", "json")["result"])
    subprocess.run(["insmod", "/lab/sdei_refused.ko"], check=True)
    leave("probe", sdeictl("probe", "--format", "json")["result"])
    leave("drill", sdeictl("drill", "backtrace", "--masked", "--format", "json"))
    leave("cpus", look_at_cpus(8.0))
    os.sched_setaffinity(0, {0})
    wedge_victim()
    time.sleep(SETTLE_SECONDS)
    panic()


main()
