"""Runs in a guest, inside the sandbox of one of the agent's units: try what none of them may do.

Prints what became of each attempt: the name of an errno, the signal that ended it, or DONE.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import signal
import socket
from collections.abc import Callable
from functools import partial

FILES = (
    "/proc/sysrq-trigger",
    "/proc/sys/kernel/watchdog_thresh",
    "/proc/sys/kernel/panic",
    "/sys/kernel/debug/provoke-crash/DIRECT",
    "/sys/kernel/debug/tracing/kprobe_events",
    "/sys/devices/system/cpu/cpu2/online",
    "/dev/kmsg",
    "/dev/cpu_dma_latency",
    "/dev/mem",
    "/dev/vda",
    "/boot/anything",
    "/etc/anything",
    "/home/anything",
    "/usr/bin/anything",
    "/var/lib/sdeictl/anything",
    "/var/lib/sdeictl/drills/anything",
    "/var/log/anything",
    "/run/anything",
    "/run/sdeictl/report.json",
    "/run/sdeictl/drill.lock",
    "/run/sdeictl-watch/watch.json",
    "/run/sdeictl-watch/anything",
)
BPF, FINIT_MODULE, INIT_MODULE, KEXEC_FILE_LOAD, KEXEC_LOAD, REBOOT = 280, 273, 105, 294, 104, 142
"""Numbers of system calls (include/uapi/asm-generic/unistd.h)."""
PROG_LOAD = 5
BROKEN = 254
"""The attempt itself has failed: that is no errno."""


def write_to(path: str) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))


def call(number: int, *arguments: int) -> None:
    """Make a system call whose arguments are wrong: whoever may make it is told that, and nothing happens."""
    library = ctypes.CDLL(None, use_errno=True)
    if library.syscall(number, *arguments) < 0:
        raise OSError(ctypes.get_errno(), "")


def connect() -> None:
    with socket.socket(socket.AF_INET) as outward:
        outward.settimeout(2)
        outward.connect(("10.0.2.2", 1))


ATTEMPTS: dict[str, Callable[[], None]] = {
    **{path: partial(write_to, path) for path in FILES},
    "bpf": lambda: call(BPF, PROG_LOAD, 0, 0),
    "init_module": lambda: call(INIT_MODULE, 0, 0, 0),
    "finit_module": lambda: call(FINIT_MODULE, -1, 0, 0),
    "kexec_load": lambda: call(KEXEC_LOAD, 0, 17, 0, 0),
    "kexec_file_load": lambda: call(KEXEC_FILE_LOAD, -1, -1, 0, 0, 0),
    "reboot": lambda: call(REBOOT, 0, 0, 0, 0),
    "an address outside": connect,
    "a raw socket": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close(),
}


def outcome_of(attempt: Callable[[], None]) -> str:
    """Make an attempt in a process of its own; return what became of it."""
    pid = os.fork()
    if not pid:
        try:
            attempt()
        except OSError as error:
            os._exit(error.errno or BROKEN)
        except BaseException:
            os._exit(BROKEN)
        os._exit(0)
    _pid, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        return signal.Signals(os.WTERMSIG(status)).name
    code = os.WEXITSTATUS(status)
    return errno.errorcode.get(code, str(code)) if code else "DONE"


print(json.dumps({name: outcome_of(attempt) for name, attempt in ATTEMPTS.items()}))
