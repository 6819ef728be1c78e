"""Runs in a guest: wedge one CPU for good, ask for a backtrace, wait for the detector, panic.

Leaves /lab/record.json with what it did, before it does it. Never returns.
Everything here stays on CPU 0: what runs on the wedged CPU never runs again.
"""

from __future__ import annotations

import gzip
import json
import os
import struct
import sys
import time
from pathlib import Path

HARDLOCKUP = Path("/sys/kernel/debug/provoke-crash/DIRECT")
VICTIM = 1
SETTLE_SECONDS = 1.0
DETECTOR_SECONDS = 40.0


def main() -> None:
    os.sched_setaffinity(0, {0})
    # A request may cost the CPUs that are in a deeper idle state (see control.py): hold them out of it.
    latency = os.open("/dev/cpu_dma_latency", os.O_RDWR)
    os.write(latency, struct.pack("=i", 0))
    wedge = can_wedge()
    hasten_perf_detector()
    record = {"wedged": VICTIM if wedge else None, "function": "lkdtm_HARDLOCKUP" if wedge else None}
    with open("/lab/record.json", "w") as out:
        json.dump(record, out)
        out.flush()
        os.fsync(out.fileno())
    log = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
    os.lseek(log, 0, os.SEEK_END)
    if wedge:
        wedge_victim()
    time.sleep(SETTLE_SECONDS)
    Path("/proc/sysrq-trigger").write_text("l")
    if wedge and has_detector():
        wait_for(log, b"Watchdog detected hard LOCKUP on cpu %d" % VICTIM)
        time.sleep(SETTLE_SECONDS)
    panic()


def wedge_victim() -> None:
    """Wedge a CPU: the child that does it never comes back."""
    if os.fork() == 0:
        os.sched_setaffinity(0, {VICTIM})
        HARDLOCKUP.write_text("HARDLOCKUP")


def panic() -> None:
    """End the guest by a panic and a reset."""
    Path("/proc/sys/kernel/panic").write_text("1")
    Path("/proc/sysrq-trigger").write_text("c")


def can_wedge() -> bool:
    """Tell whether the kernel has LKDTM, and is not locked down."""
    try:
        HARDLOCKUP.open("w").close()
    except OSError:
        return False
    return True


def has_detector() -> bool:
    """Tell whether the kernel has a hard-lockup detector, and it is on."""
    return Path("/proc/sys/kernel/nmi_watchdog").read_text().strip() == "1"


def hasten_perf_detector() -> None:
    """It counts the cycles of the CPU itself, of which an emulated one has few."""
    config = Path("/proc/config.gz")
    if config.exists() and b"CONFIG_HARDLOCKUP_DETECTOR_PERF=y" in gzip.decompress(config.read_bytes()):
        Path("/proc/sys/kernel/watchdog_thresh").write_text("2")


def wait_for(log: int, text: bytes) -> None:
    deadline = time.monotonic() + DETECTOR_SECONDS
    while time.monotonic() < deadline:
        try:
            if text in os.read(log, 8192):
                return
        except BlockingIOError:
            time.sleep(0.2)
    sys.exit(f"{text!r} was not logged within {DETECTOR_SECONDS} s")


if __name__ == "__main__":
    main()
