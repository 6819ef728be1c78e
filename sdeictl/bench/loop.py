"""The timed loops: the small C library, or where it was not built, a labelled loop of Python's."""

import collections
import ctypes
import itertools
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

LIBRARY = str(Path(__file__).with_name("libbench.so"))
C, PYTHON = "c", "python"
Timer = Callable[[int], int]
"""Does a call so often; returns nanoseconds."""


class Call(NamedTuple):
    """What is timed."""

    name: str
    about: str


CALLS = (
    Call("getppid", "the null system call, through syscall(2) of the C library"),
    Call("gettid", "another null system call"),
    Call("getppid-raw", "getppid by the bare instruction"),
    Call("gettid-raw", "gettid by the bare instruction"),
    Call("read-zero", "read of one byte from /dev/zero"),
    Call("pipe", "one byte to another process and back, both on one CPU"),
    Call("page-fault", "the first touch of a page of anonymous memory"),
    Call("futex-wake", "a wake of a futex that nobody waits for"),
    Call("timer", "a timer of 1 us, until its reader is back"),
    Call("sched-yield", "sched_yield"),
)
DEFAULT_CALLS = ("getppid",)
EMPTY = "empty"
"""The loop with nothing in it: reported beside every run, never subtracted."""

_IN_PYTHON: dict[str, Callable[[], object]] = {
    "getppid": os.getppid,
    "gettid": threading.get_native_id,
    "sched-yield": os.sched_yield,
    EMPTY: object,
}


class Loops(NamedTuple):
    """What can be timed here."""

    kind: str
    """C or PYTHON. A loop of Python's was 17 % too slow where it was measured: it costs the interpreter
    its branch predictions besides, which no empty loop shows."""
    timers: dict[str, Timer]


def load_loops(path: str = LIBRARY) -> Loops:
    """Return the C library's loops, else Python's."""
    try:
        library = ctypes.CDLL(path, use_errno=True)
    except OSError:
        return Loops(PYTHON, {name: _python_timer(call) for name, call in _IN_PYTHON.items()})
    names = [EMPTY, *(call.name for call in CALLS)]
    found = {name: getattr(library, f"sdeictl_bench_{name.replace('-', '_')}", None) for name in names}
    return Loops(C, {name: _c_timer(function) for name, function in found.items() if function})


def _c_timer(function: Callable[[int], int]) -> Timer:
    # The types of ctypes' functions are set on the function itself.
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
        # The tightest loop there is: it runs in C but for the call itself.
        collections.deque(itertools.starmap(call, itertools.repeat((), count)), maxlen=0)
        return time.perf_counter_ns() - started

    return run
