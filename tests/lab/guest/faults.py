"""Runs in a guest: masked drills, each with another failing call of the C library (tests/tools/faults.c).

    LD_PRELOAD=/lab/faults.so faults.py FIRST EVERY

Of the calls of a drill, the one numbered FIRST fails and, from there on, each EVERY-th. A FIRST below zero
counts from the last call. Leaves /lab/faults.json: for each run what failed, and what the drill, the resume
and the host then said. Each run is a fork of a process that has imported everything.
"""

from __future__ import annotations

import ctypes
import errno
import os
import pkgutil
import sys
from importlib import import_module
from typing import Any

from kill import DRILLS, JOURNAL, host_state, settled_state
from observe import finish, leave, look_at_cpus, sdeictl, start

import sdeictl as package
from sdeictl.host.live import LiveRoot
from sdeictl.probe.collect import collect

ERRORS = (errno.EIO, errno.ENOSPC, errno.EACCES, errno.EINTR, errno.ENOENT)
NO_FAULT = -1
DRILL = ("drill", "backtrace", "--masked", "--seconds", "1", "--format", "json")
"""A longer window would take most of each run: the masked CPU takes all of its time."""
ATTEMPTS = 3
"""A busy machine can hold up its guest for longer than the window. The drill then cannot tell."""

library = ctypes.CDLL(None)
library.faults_failed.restype = ctypes.c_char_p
library.faults_count.restype = ctypes.c_long


def prepare() -> None:
    """Import all modules, and compile the patterns of a probe, so that not each run has to."""
    for module in pkgutil.walk_packages(package.__path__, "sdeictl."):
        if not module.name.endswith((".libbench", "__main__")):
            import_module(module.name)
    collect(LiveRoot())


def arm(index: int, error: int) -> None:
    os.setpgid(0, 0)  # only the calls of this group count
    library.faults_arm(ctypes.c_long(index), error)


def drill_with_fault(index: int, error: int) -> dict[str, Any]:
    for stored in DRILLS.glob("*.json"):
        stored.unlink()  # each drill reads the results of all before it
    drill = finish(start(*DRILL, name="faulty", become=lambda: arm(index, error)), "faulty")
    begun = JOURNAL.exists()
    return {
        "index": index, "error": errno.errorcode[error], "failed": library.faults_failed().decode(),
        "calls": library.faults_count(), "drill": drill,
        "resume": sdeictl("drill", "resume") if begun else None, "after": settled_state(),
    }  # fmt: skip


def main() -> None:
    first, every = map(int, sys.argv[1:])
    prepare()
    found = host_state()
    for _ in range(ATTEMPTS):
        sound = drill_with_fault(NO_FAULT, errno.EIO)
        if sound["drill"]["status"] == 0:
            break
    done: list[dict[str, Any]] = []
    for number, index in enumerate(range(sound["calls"])[first::every]):
        done.append(drill_with_fault(index, ERRORS[number % len(ERRORS)]))
        leave("faults", {"found": found, "sound": sound, "runs": done})
    leave("cpus", look_at_cpus(8.0))


main()
