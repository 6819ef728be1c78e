"""Runs in a guest with idle states: what `probe --deep` says, then unguarded sysrq-l, and what that costs.

Leaves /lab/deep.json and /lab/control.json, which tells for each CPU whether it still runs what is pinned
to it. After the trigger nothing is forked: on a host that has lost a CPU a fork may not come back, nor does
the power-off.
"""

from __future__ import annotations

import os
import select
import subprocess
import time
from pathlib import Path

from observe import ALIVE_SECONDS, keep_interrupts_here, leave, sdeictl, wait_to_be_ended

USED_SECONDS = 60.0
REQUESTS = 5
"""A request loses the CPUs that are in their deeper state at that moment: one request may find none."""
UNANSWERED_SECONDS = 8.0
"""The kernel waits 10 s for CPUs that do not answer."""


def used() -> bool:
    """Tell whether every CPU has been in the state that runs CPU_PM."""
    usage = Path("/sys/devices/system/cpu").glob("cpu[0-9]*/cpuidle/state1/usage")
    counts = [int(path.read_text()) for path in usage]
    return len(counts) == os.cpu_count() and all(counts)


class Pinned:
    """A child that waits on a CPU, and answers there when it is asked."""

    def __init__(self, cpu: int) -> None:
        waits, self._ask = os.pipe()
        self._answer, answers = os.pipe()
        if os.fork() == 0:
            os.sched_setaffinity(0, {cpu})
            os.write(answers, os.read(waits, 1))
            os._exit(0)

    def answers(self) -> bool:
        os.write(self._ask, b".")
        return bool(select.select([self._answer], [], [], ALIVE_SECONDS)[0])


def request(trigger: int) -> None:
    """Ask all CPUs for a backtrace until one of them does not answer."""
    for _ in range(REQUESTS):
        time.sleep(1)  # everybody else is idle again
        began = time.monotonic()
        os.write(trigger, b"l")
        if time.monotonic() - began > UNANSWERED_SECONDS:
            return


def main() -> None:
    # The kernel does not ask the CPU that sends the request, so the CPU with the disks' interrupts is safe.
    os.sched_setaffinity(0, {0})
    keep_interrupts_here()
    subprocess.run(["mount", "-t", "tracefs", "tracefs", "/sys/kernel/tracing"], check=True)
    trigger = os.open("/proc/sysrq-trigger", os.O_WRONLY)
    deadline = time.monotonic() + USED_SECONDS
    while (
        Path("/sys/devices/system/cpu/cpu0/cpuidle").exists() and not used() and time.monotonic() < deadline
    ):
        time.sleep(0.5)
    record: dict[str, object] = {"used": used()}
    leave("deep", sdeictl("probe", "--deep", "--format", "json")["result"])
    pinned = [Pinned(cpu) for cpu in range(os.cpu_count() or 0)]
    request(trigger)
    record["alive"] = [child.answers() for child in pinned]
    leave("control", record)
    wait_to_be_ended()


main()
