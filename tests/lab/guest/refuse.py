"""Runs in a guest: everything that speaks against a drill, one after the other, at last a CPU that is stuck.

Leaves /lab/refusals.json: for each obstacle what the drill said.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from observe import become_nobody, finish, keep_interrupts_here, leave, sdeictl, start, wait_to_be_ended

VICTIM = 2
HARDLOCKUP = Path("/sys/kernel/debug/provoke-crash/DIRECT")


def drill(*arguments: str) -> dict[str, Any]:
    done: dict[str, Any] = sdeictl("drill", "backtrace", "--format", "json", *arguments)
    return done


def as_nobody() -> dict[str, Any]:
    pid = os.fork()
    if pid == 0:
        become_nobody()
        done = drill("--masked")
        os._exit(0 if (done["status"], done["result"]["outcome"]) == (3, "refused") else 1)
    _pid, status = os.waitpid(pid, 0)
    return {"status": os.waitstatus_to_exitcode(status)}


def while_another_runs(*costly_drill: str) -> dict[str, Any]:
    os.makedirs("/run/sdeictl", exist_ok=True)
    with open("/run/sdeictl/drill.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return costly(*costly_drill) if costly_drill else drill()


def after_a_kill() -> dict[str, Any]:
    pid = start("drill", "backtrace", name="killed")
    while not Path("/var/lib/sdeictl/drills/journal.json").exists():
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    finish(pid, "killed")
    refused = drill()
    sdeictl("drill", "resume")
    return refused


def with_a_cpu_off_line() -> tuple[dict[str, Any], dict[str, Any]]:
    Path("/sys/devices/system/cpu/cpu3/online").write_text("0")
    both = drill("--masked", "--cpu", "3"), drill()
    Path("/sys/devices/system/cpu/cpu3/online").write_text("1")
    return both


def costly(*arguments: str) -> dict[str, Any]:
    done: dict[str, Any] = sdeictl("drill", *arguments, "--host", "lab", "--format", "json")
    return done


def with_a_full_disk() -> tuple[dict[str, Any], dict[str, Any]]:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "full", "/var/lib/sdeictl"], check=True)
    with contextlib.suppress(OSError), open("/var/lib/sdeictl/filler", "wb", buffering=0) as filler:
        while True:
            filler.write(bytes(4096))
    both = sdeictl("drill", "arm", "--for", "10m"), costly("lockup")
    subprocess.run(["umount", "/var/lib/sdeictl"], check=True)
    return both


def status() -> dict[str, Any]:
    found: dict[str, Any] = sdeictl("drill", "status", "--format", "json")["result"]
    return found


def after_arming() -> dict[str, Any]:
    sdeictl("drill", "arm", "--for", "10m")
    armed = status()
    sdeictl("drill", "arm", "--off")
    disarmed = status()
    sdeictl("drill", "arm", "--for", "10m")
    return {
        "statuses": (armed, disarmed),
        "another costly drill": while_another_runs("lockup"),
        "nothing survives a reset": costly("stop", "--way-back", "a switch"),
        "no crash kernel": costly("crash", "--way-back", "a switch"),
    }


def in_a_container() -> tuple[dict[str, Any], dict[str, Any]]:
    """Where /dev/kmsg is /dev/null: a probe that reads it must come to an end."""
    subprocess.run(["mount", "--bind", "/dev/null", "/dev/kmsg"], check=True)
    both = drill(), sdeictl("probe", "--format", "json")
    subprocess.run(["umount", "/dev/kmsg"], check=True)
    return both


def with_a_stuck_cpu() -> dict[str, Any]:
    if os.fork() == 0:
        os.sched_setaffinity(0, {VICTIM})
        HARDLOCKUP.write_text("HARDLOCKUP")
    time.sleep(1)
    return drill()


def main() -> None:
    keep_interrupts_here()
    refusals = {
        "not root": as_nobody(),
        "too long": drill("--masked", "--seconds", "60"),
        "another drill": while_another_runs(),
        "a killed drill": after_a_kill(),
    }
    refusals["not armed"] = costly("lockup")
    # Any file will do: it is refused before the image is looked into.
    refusals["kexec would die"] = sdeictl(
        "bench", "ab", "--dry-run", "--kernel", "/lab/job", "--format", "json"
    )
    refusals["full disk, arming"], refusals["full disk"] = with_a_full_disk()
    refusals |= after_arming()
    refusals["cpu off line"], refusals["the others"] = with_a_cpu_off_line()
    refusals["no log"], refusals["no log, probe"] = in_a_container()
    refusals["a stuck cpu"] = with_a_stuck_cpu()
    leave("refusals", refusals)
    wait_to_be_ended()


main()
