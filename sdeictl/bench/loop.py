"""The timed loops: from the small C library, or in Python if the installation has no library."""

from __future__ import annotations

import collections
import ctypes
import itertools
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from sdeictl.bench.words import LoopKind
from sdeictl.text import NamedTuple

LIBRARY = str(Path(__file__).with_name("libbench.so"))
Timer = Callable[[int], int]
"""Does a call this many times and returns the nanoseconds that it took; raises OSError."""


class Call(NamedTuple):
    """A call that can be timed."""

    name: str
    about: str


CALLS = (
    Call("getppid", "the null system call, through syscall(2) of the C library"),
    Call("gettid", "another null system call"),
    Call("getppid-raw", "getppid by a bare svc instruction"),
    Call("gettid-raw", "gettid by a bare svc instruction"),
    Call("read-zero", "read of one byte from /dev/zero"),
    Call("pipe", "one byte to another process and back, both on one CPU"),
    Call("page-fault", "the first write to a page of anonymous memory"),
    Call("futex-wake", "a wake of a futex without waiters"),
    Call("timer", "a timer of 1 us, until the read that waits for it returns"),
    Call("sched-yield", "sched_yield"),
)
DEFAULT_CALLS = ("getppid",)
EMPTY = "empty"
"""The loop without a call: every run reports its time, and no result has it subtracted."""

_IN_PYTHON: dict[str, Callable[[], object]] = {
    "getppid": os.getppid,
    "gettid": threading.get_native_id,
    "sched-yield": os.sched_yield,
    EMPTY: object,
}


class Loops(NamedTuple):
    """The loops of this installation."""

    kind: LoopKind
    """A Python loop was measured to be 17 % too slow: the calls also cost the interpreter its branch
    predictions, and an empty loop does not show that."""
    timers: dict[str, Timer]
    """By the name of the call, and EMPTY."""


def load_loops(path: str = LIBRARY) -> Loops:
    """Return the loops of the C library, or Python loops if the library cannot be loaded."""
    try:
        library = ctypes.CDLL(path, use_errno=True)
    except OSError:
        return Loops(LoopKind.PYTHON, {name: _python_timer(call) for name, call in _IN_PYTHON.items()})
    names = [EMPTY, *(call.name for call in CALLS)]
    found = {name: getattr(library, f"sdeictl_bench_{name.replace('-', '_')}", None) for name in names}
    return Loops(LoopKind.C, {name: _c_timer(function) for name, function in found.items() if function})


def _c_timer(function: Callable[[int], int]) -> Timer:
    # ctypes keeps the types of a function on the function itself.
    function.restype = ctypes.c_int64  # type: ignore[attr-defined]
    function.argtypes = (ctypes.c_uint64,)  # type: ignore[attr-defined]

    def run(count: int) -> int:
        spent = function(count)
        if spent < 0:
            raise OSError(-spent, os.strerror(-spent))
        return spent

    return run


def _python_timer(call: Callable[[], object]) -> Timer:
    def run(count: int) -> int:
        started = time.perf_counter_ns()
        # The tightest loop in Python: everything but the call itself runs in C.
        collections.deque(itertools.starmap(call, itertools.repeat((), count)), maxlen=0)
        return time.perf_counter_ns() - started

    return run
