"""Shared by the guest scripts: run sdeictl without starting Python anew, and look at the CPUs without it."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

ALIVE_SECONDS = 10.0
STEP_SECONDS = 300.0
NOBODY = 65534


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (command, done.stdout[-2000:], done.stderr[-2000:])
    return done.stdout


def wait_for(
    what: str, condition: Callable[[], object], seconds: float = STEP_SECONDS, every: float = 0.2
) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"no {what} within {seconds:g} s"
        time.sleep(every)


def counters(directory: Path) -> dict[str, Any]:
    """Return what the watcher with this directory has counted."""
    counted: dict[str, Any] = json.loads((directory / "watch.json").read_text())
    return {**counted["counters"], **counted["events"]}


def become_nobody() -> None:
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)


def start(*arguments: str, name: str, become: Callable[[], None] | None = None) -> int:
    """Fork a child that runs the command line; its output goes to /tmp/<name>.{out,err}. Return its pid."""
    from sdeictl import cli  # noqa: PLC0415 - imported once, before the first fork

    pid = os.fork()
    if not pid:
        for descriptor, kind in ((1, "out"), (2, "err")):
            os.dup2(os.open(f"/tmp/{name}.{kind}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), descriptor)
        if become:
            become()
        sys.argv = ["sdeictl", *arguments]
        cli.main()
    return pid


def ends_within(pid: int, seconds: float) -> bool:
    """Tell whether a child ends in a time; it is still to be waited for."""
    deadline = time.monotonic() + seconds
    while not os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.05)
    return True


def finish(pid: int, name: str) -> dict[str, Any]:
    """Wait for a command; return its status, its output as JSON or text, and what it said meanwhile."""
    _pid, status = os.waitpid(pid, 0)
    output = Path(f"/tmp/{name}.out").read_text()
    try:
        result = json.loads(output)
    except ValueError:
        result = output
    said = Path(f"/tmp/{name}.err").read_text()
    return {"status": os.waitstatus_to_exitcode(status), "result": result, "said": said}


def sdeictl(*arguments: str) -> dict[str, Any]:
    done = finish(start(*arguments, name="command"), "command")
    return {"arguments": arguments, **done}


def timer_row() -> list[int]:
    """Return the arch_timer counts of the CPUs, in the order of the columns."""
    text = Path("/proc/interrupts").read_text()
    (line,) = (line for line in text.splitlines() if line.endswith("arch_timer"))
    return [int(word) for word in line.split()[1:] if word.isdigit()][: len(text.splitlines()[0].split())]


def runs_on(cpu: int) -> bool:
    """Tell whether a child pinned to a CPU runs there in time."""
    ours, theirs = os.pipe()
    if os.fork() == 0:
        os.sched_setaffinity(0, {cpu})
        os.write(theirs, b".")
        os._exit(0)
    os.close(theirs)
    alive = bool(select.select([ours], [], [], ALIVE_SECONDS)[0]) and os.read(ours, 1) == b"."
    os.close(ours)
    return alive


def look_at_cpus(seconds: float) -> dict[str, Any]:
    """Return for each CPU how often its timer ticked, and whether it runs what is pinned there.

    An idle CPU ticks every few seconds. The look ends when each CPU has ticked, or after `seconds`.
    """
    before, deadline = timer_row(), time.monotonic() + seconds
    ticks = [0]
    while not all(ticks) and time.monotonic() < deadline:
        time.sleep(0.5)
        ticks = [now - then for then, now in zip(before, timer_row())]
    return {"ticks": ticks, "runs": [runs_on(cpu) for cpu in range(len(ticks))]}


def keep_interrupts_here() -> None:
    """Move the devices' interrupts to this CPU: what it needs to write a file must not go with another."""
    for affinity in Path("/proc/irq").glob("*/smp_affinity"):
        with suppress(OSError):
            affinity.write_text("1")


def leave(name: str, document: object) -> None:
    """Leave a document for the host."""
    with Path(f"/lab/{name}.json").open("w") as out:
        out.write(json.dumps(document, indent=1) + "\n")
        out.flush()
        os.fsync(out.fileno())


def wait_to_be_ended() -> NoReturn:
    """Stay: on a host that has lost a CPU, an exit may not come back."""
    while True:
        time.sleep(1000)
