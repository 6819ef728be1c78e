"""Runs in a guest with idle states that mask SDEI: one unguarded sysrq-l, and what it costs.

Leaves /lab/control.json with the timer ticks of each CPU over 15 s, then the
status of the run. After the trigger nothing is forked: on a host that has lost
a CPU a fork may not come back, nor does the power-off.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from observe import keep_interrupts_here, leave, leave_status, timer_row

USED_SECONDS = 60.0
TICK_SECONDS = 15.0


def used() -> bool:
    """Tell whether every CPU has been in the state that runs CPU_PM."""
    usage = Path("/sys/devices/system/cpu").glob("cpu[0-9]*/cpuidle/state1/usage")
    counts = [int(path.read_text()) for path in usage]
    return len(counts) == os.cpu_count() and all(counts)


def main() -> None:
    keep_interrupts_here()
    trigger = os.open("/proc/sysrq-trigger", os.O_WRONLY)
    deadline = time.monotonic() + USED_SECONDS
    while (
        Path("/sys/devices/system/cpu/cpu0/cpuidle").exists() and not used() and time.monotonic() < deadline
    ):
        time.sleep(0.5)
    record: dict[str, object] = {"used": used()}
    time.sleep(1)  # everybody else is idle again
    os.write(trigger, b"l")
    before = timer_row()
    time.sleep(TICK_SECONDS)
    record["ticks"] = [now - then for then, now in zip(before, timer_row())]
    leave("control", record)
    leave_status(0)


main()
