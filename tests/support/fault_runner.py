"""Runs a command many times, each time with another failing call of the C library (tests/tools/faults.c).

    LD_PRELOAD=faults.so python -m tests.support.fault_runner PLACE SHIFT COMMAND... [--then COMMAND...]

PLACE/host is the tree of a recorded host: there sdeictl finds the running host, and keeps its state. The
command runs in PLACE/work. Prints one JSON document for each run: what failed, how the command ended, what
it said and which files are other ones then. The first run is one without a fault. The command after --then
follows each run, without a fault. SHIFT (0 to 4) is the error that the first call fails with; the next call
fails with the next one. Each run is a fork of a process that has imported everything.
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
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import Any

import psutil

from sdeictl.host import paths

ERRORS = (errno.EIO, errno.ENOSPC, errno.EACCES, errno.EINTR, errno.ENOENT)
SECONDS = 60.0
NO_FAULT = -1
CHANGED = ("work", "host/var/lib/sdeictl", "host/run/sdeictl", "host/proc/sys/kernel/printk")
"""What sdeictl may change: directories, and a setting."""


def move_host(tree: Path) -> None:
    """Let sdeictl find each file of the running host below a directory; before anything of it is imported."""
    for name, value in vars(paths).items():
        if isinstance(value, str) and value.startswith("/"):
            setattr(paths, name, f"{tree}{value}")
        elif isinstance(value, tuple) and name.isupper():
            setattr(paths, name, tuple(f"{tree}{each}" if each.startswith("/") else each for each in value))


def read_recorded_log(tree: Path) -> None:
    """Let the kernel log be the one of the recorded host; /dev/kmsg is a device."""
    live = import_module("sdeictl.host.live")
    live.read_kmsg = lambda: [(tree / "kmsg.txt").read_bytes()]  # type: ignore[attr-defined]


def import_everything() -> None:
    for package in ("sdeictl", "sdeictl_agent"):
        module = import_module(package)
        for found in pkgutil.walk_packages(module.__path__, f"{package}."):
            if not found.name.endswith((".libbench", "__main__")):  # no module of Python; the program itself
                import_module(found.name)


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


def run(faults: Faults, place: Path, arguments: list[str], index: int, error: int) -> dict[str, Any]:
    """Run a command in a fork, in PLACE/work; return how it ended."""
    before = files_in(place)
    pid = os.fork()
    if not pid:
        os.setsid()
        os.chdir(place / "work")
        for descriptor, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(f"{place}.{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), descriptor)
        sys.argv = ["sdeictl", *arguments]
        from sdeictl import cli  # noqa: PLC0415 - it is imported already

        faults.arm(index, error)
        cli.main()
    status = wait(pid)
    failed, calls = faults.failed(), faults.count()
    output, said = (Path(f"{place}.{name}").read_text(errors="replace") for name in ("out", "err"))
    return {
        "index": index, "error": errno.errorcode[error], "failed": failed, "calls": calls,
        "status": status, "output": output, "said": said, "before": before, "files": files_in(place),
    }  # fmt: skip


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
        if kept.is_file():
            shutil.copy(kept, place / name)
            continue
        shutil.rmtree(place / name, ignore_errors=True)
        if kept.exists():
            shutil.copytree(kept, place / name)
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


def main() -> None:
    place, shift, words = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    at = words.index("--then") if "--then" in words else len(words)
    command, then = words[:at], words[at + 1 :]
    keep(place)
    move_host(place / "host")
    import_everything()
    psutil.PROCFS_PATH = f"{place}/host/proc"
    read_recorded_log(place / "host")
    os.geteuid = lambda: 0
    faults = Faults()
    for index in count(NO_FAULT):
        renew(place)
        result = run(faults, place, command, index, ERRORS[(index + shift) % len(ERRORS)])
        if then:
            result["then"] = run(faults, place, then, NO_FAULT, errno.EIO)
        print(json.dumps(result), flush=True)
        if index != NO_FAULT and not result["failed"]:
            break


if __name__ == "__main__":
    main()
