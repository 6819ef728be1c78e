"""Runs a program many times, each time with another failing call of the C library (tests/tools/faults.c).

    LD_PRELOAD=faults.so python -m tests.support.fault_runner PLAN

PLAN is a Plan as JSON. PLACE/host is the tree of a recorded host: there sdeictl finds the running host, and
keeps its state. The program runs in PLACE/work. Prints one JSON document for each run: what failed, how the
program ended, what it said, which files are other ones then, and what its clients saw. The first run is one
without a fault. Each run is a fork of a process that has imported everything.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import pkgutil
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from sdeictl.host import paths
from tests.support import fault_stand_ins
from tests.support.fault_clients import CLIENTS, Client

ERRORS = (errno.EIO, errno.ENOSPC, errno.EACCES, errno.EINTR, errno.ENOENT)
SECONDS = 60.0
BOOTS = 9
"""A program goes on in at most so many boots of its host."""
NO_FAULT = -1
CHANGED = (
    "work", "host/var/lib/sdeictl", "host/run/sdeictl", "host/run/sdeictl-watch", "host/proc/cmdline",
    "host/proc/sys/kernel/printk", "host/kmsg.txt", "host/loaded",
)  # fmt: skip
"""What sdeictl may change, also by the programs that it calls: directories, and files."""
MAINS = {
    "sdeictl": ("sdeictl.cli", "main"),
    "sdeictl-agent": ("sdeictl_agent.exporter", "main"),
    "sdeictl-agent-collect": ("sdeictl_agent.collector", "main"),
    "sdeictl-agent-watch": ("sdeictl_agent.watcher", "main"),
}


class Plan(NamedTuple):
    """What to run. A command is the name of a program in MAINS and its arguments."""

    place: str
    command: Sequence[str]
    first: Sequence[Sequence[str]] = ()
    """Commands that run once before, without a fault; what they change is found by each run."""
    then: Sequence[str] = ()
    """A command that follows each run, without a fault, again in each boot in which the host goes down."""
    shift: int = 0
    """Which of ERRORS the first call fails with; the next one fails with the next error."""
    most: int = 0
    """At most about so many runs, at equal distances; 0: one for each call, and a last one in which none is
    left."""


def move_host(tree: Path) -> None:
    """Let sdeictl find each file of the running host below a directory; before anything of it is imported."""
    for name, value in vars(paths).items():
        if isinstance(value, str) and value.startswith("/"):
            setattr(paths, name, f"{tree}{value}")
        elif isinstance(value, tuple) and name.isupper():
            setattr(paths, name, tuple(f"{tree}{each}" if each.startswith("/") else each for each in value))


def import_everything() -> None:
    for package in ("sdeictl", "sdeictl_agent"):
        module = import_module(package)
        for found in pkgutil.walk_packages(module.__path__, f"{package}."):
            if not found.name.endswith((".libbench", "__main__")):  # no module of Python; the program itself
                import_module(found.name)


def read_host_once() -> None:
    """Compile the patterns that a probe uses, so that not each fork has to; nothing of the host is kept."""
    collect, live = (import_module(f"sdeictl.{name}") for name in ("probe.collect", "host.live"))
    collect.collect(live.LiveRoot())


class Faults:
    """The library that is preloaded."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(None)
        self._library.faults_failed.restype = ctypes.c_char_p
        self._library.faults_count.restype = ctypes.c_long

    def arm(self, index: int, error: int) -> None:
        self._library.faults_arm(ctypes.c_long(index), error)

    def count(self) -> int:
        return int(self._library.faults_count())

    def failed(self) -> str:
        return str(self._library.faults_failed().decode())


def run(faults: Faults, place: Path, command: Sequence[str], index: int, error: int) -> dict[str, Any]:
    """Run a program in a fork, in PLACE/work, with its clients; return how it ended."""
    before = files_in(place)
    client = CLIENTS[command[0]](place, command) if command[0] in CLIENTS else None
    pid = os.fork()
    if not pid:
        os.setsid()
        os.chdir(place / "work")
        for descriptor, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(f"{place}.{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), descriptor)
        sys.argv = [*client.begin()] if client else [*command]
        faults.arm(index, error)
        main_of(command[0])()
        os._exit(0)
    seen = end_with_clients(pid, client) if client else {}
    status = wait(pid)
    failed, calls = faults.failed(), faults.count()
    output, said = (Path(f"{place}.{name}").read_text(errors="replace") for name in ("out", "err"))
    return {
        "index": index, "error": errno.errorcode[error], "failed": failed, "calls": calls,
        "status": status, "output": output, "said": said, "before": before, "files": files_in(place),
        "seen": seen,
    }  # fmt: skip


def main_of(program: str) -> Callable[[], object]:
    module, name = MAINS[program]
    function: Callable[[], object] = getattr(sys.modules[module], name)
    return function


def end_with_clients(pid: int, client: Client) -> dict[str, Any]:
    """Let the clients of a daemon do what they do, and end it; return what they saw."""

    def runs() -> bool:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None

    with client:
        seen = client.use(runs)
        if runs():
            os.kill(pid, signal.SIGTERM)
        client.await_end(runs)
        return seen


def files_in(place: Path) -> dict[str, str]:
    """Return what sdeictl may change, by its path."""
    found = [
        path for name in CHANGED for path in (place / name, *(place / name).rglob("*")) if path.is_file()
    ]
    return {str(path.relative_to(place)): path.read_bytes().decode("latin-1") for path in found}


def wait(pid: int) -> int | None:
    """Return the exit status of a child; None if it had to be ended."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.001)
    os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return None


def renew(place: Path) -> None:
    """Put back the files that a run may have changed; PLACE/kept has them as they were."""
    for name in CHANGED:
        kept = place / "kept" / name
        if (place / name).is_dir():
            shutil.rmtree(place / name)
        else:
            (place / name).unlink(missing_ok=True)
        if kept.is_dir():
            shutil.copytree(kept, place / name)
        elif kept.exists():
            shutil.copy(kept, place / name)
    (place / "work").mkdir(exist_ok=True)


def keep(place: Path) -> None:
    """Keep the files that a run may change, for renew()."""
    for name in CHANGED:
        kept = place / "kept" / name
        kept.parent.mkdir(parents=True, exist_ok=True)
        if (place / name).is_dir():
            shutil.copytree(place / name, kept)
        elif (place / name).exists():
            shutil.copy(place / name, kept)


def run_sound(faults: Faults, place: Path, command: Sequence[str]) -> dict[str, Any]:
    return run(faults, place, command, NO_FAULT, errno.EIO)


def run_in_each_boot(faults: Faults, place: Path, command: Sequence[str]) -> dict[str, Any]:
    """Run a command without a fault, again as long as the host goes down in it; return how the last ended."""
    ended = run_sound(faults, place, command)
    for _boot in range(BOOTS):
        if ended["status"] != -signal.SIGKILL:
            break
        ended = run_sound(faults, place, command)
    return ended


def indices(most: int, calls: int) -> Iterator[int]:
    """Yield which calls fail. Without a limit they do not end: the number of calls may differ in each run."""
    if not most:
        yield from count()
    yield from range(0, calls, -(-calls // most))


def main() -> None:
    plan = Plan(**json.loads(sys.argv[1]))
    place = Path(plan.place)
    (place / "work").mkdir(exist_ok=True)
    move_host(place / "host")
    import_everything()
    psutil.PROCFS_PATH = f"{place}/host/proc"
    fault_stand_ins.install(place / "host")
    os.geteuid = lambda: 0
    read_host_once()
    faults = Faults()
    for command in plan.first:
        run_sound(faults, place, command)
    keep(place)
    sound = run_sound(faults, place, plan.command)
    show(faults, place, plan, sound)
    for number, index in enumerate(indices(plan.most, sound["calls"])):
        renew(place)
        result = run(faults, place, plan.command, index, ERRORS[(number + plan.shift) % len(ERRORS)])
        show(faults, place, plan, result)
        if not plan.most and not result["failed"]:
            break


def show(faults: Faults, place: Path, plan: Plan, result: dict[str, Any]) -> None:
    """Run what follows a run, and print both."""
    if plan.then:
        result["then"] = run_in_each_boot(faults, place, plan.then)
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
