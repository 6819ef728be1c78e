"""Runs in a guest: wedge a CPU for good, let others wait for it in each way that the kernel reports, panic.

    stall.py    the kernel is booted with STALL_PARAMETERS of tests/lab/stories.py

CPU 1 is wedged. CPU 2 waits for it in a function call (CSD lock). CPU 3 waits for a work item on it
(workqueue lockup), and then for an expedited grace period. Never returns.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path

HARDLOCKUP = Path("/sys/kernel/debug/provoke-crash/DIRECT")
VICTIM, CALLER, WAITER = 1, 2, 3
SETTLE_SECONDS = 1.0
REPORT_SECONDS = 90.0
MEMBARRIER = 283
"""The number of the system call (include/uapi/asm-generic/unistd.h)."""
GLOBAL, GLOBAL_EXPEDITED, REGISTER_GLOBAL_EXPEDITED = 1, 2, 4
"""Its commands (include/uapi/linux/membarrier.h)."""
REPORTS = (b"csd: ", b"detected stall", b"workqueue lockup")
EXPEDITED = b"detected expedited stalls"
"""On Linux 6.1 and 6.12 an expedited grace period waits for the CPU in a function call, on any other CPU:
that one is then stuck too, and it may be the one that runs this."""


def reports_expedited() -> bool:
    major, minor = (int(word) for word in os.uname().release.split(".")[:2])
    return (major, minor) > (6, 12)


def membarrier(command: int) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if library.syscall(MEMBARRIER, command, 0, 0) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def run_on(cpu: int, deed: Callable[[], object]) -> None:
    """Start a child on a CPU that does something it may never come back from."""
    if os.fork() == 0:
        os.sched_setaffinity(0, {cpu})
        deed()
        os._exit(0)


def wedge() -> None:
    # Only a CPU whose process has registered gets the interrupt of the command GLOBAL_EXPEDITED.
    membarrier(REGISTER_GLOBAL_EXPEDITED)
    HARDLOCKUP.write_text("HARDLOCKUP")


def wait_for_reports(log: int, reports: tuple[bytes, ...]) -> None:
    """Wait until each report was logged."""
    missing = set(reports)
    deadline = time.monotonic() + REPORT_SECONDS
    while missing and time.monotonic() < deadline:
        try:
            record = os.read(log, 8192)
        except BlockingIOError:
            time.sleep(0.2)
        else:
            missing -= {report for report in missing if report in record}
    if missing:
        sys.exit(f"not logged within {REPORT_SECONDS} s: {missing}")


def main() -> None:
    os.sched_setaffinity(0, {0})
    latency = os.open("/dev/cpu_dma_latency", os.O_RDWR)
    os.write(latency, struct.pack("=i", 0))
    for affinity in Path("/proc/irq").glob("*/smp_affinity"):
        try:
            affinity.write_text("1")
        except OSError:
            continue
    log = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
    os.lseek(log, 0, os.SEEK_END)
    run_on(VICTIM, wedge)
    time.sleep(SETTLE_SECONDS)
    run_on(CALLER, lambda: membarrier(GLOBAL_EXPEDITED))
    run_on(WAITER, lambda: Path("/proc/sys/vm/drop_caches").write_text("1"))
    run_on(WAITER, lambda: membarrier(GLOBAL))
    if reports_expedited():
        time.sleep(SETTLE_SECONDS)
        Path("/sys/kernel/rcu_expedited").write_text("1")
        run_on(WAITER, lambda: membarrier(GLOBAL))
    wait_for_reports(log, (*REPORTS, EXPEDITED) if reports_expedited() else REPORTS)
    Path("/proc/sys/kernel/panic").write_text("1")
    Path("/proc/sysrq-trigger").write_text("c")


main()
