"""Counts how often a tracepoint of the running kernel fires on each CPU, by perf_event_open(2)."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import platform
import struct
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager

_SYSCALL_PERF_EVENT_OPEN = {"aarch64": 241}
_TYPE_TRACEPOINT = 2
_ATTRIBUTE_BYTES = 128
"""PERF_ATTR_SIZE_VER7; an older kernel accepts zeroes at its end (perf_copy_attr(), kernel/events/core.c)."""
_ANY_PROCESS, _NO_GROUP = -1, -1
_FLAG_CLOEXEC = 8
_SET_FILTER = 0x40082406
"""PERF_EVENT_IOC_SET_FILTER (include/uapi/linux/perf_event.h)."""

Counts = Callable[[], int]
"""Returns how often the tracepoint has fired so far, on all CPUs."""


@contextmanager
def counting(directory: str, condition: str, cpus: Iterable[int]) -> Iterator[Counts]:
    """Count how often a tracepoint fires on these CPUs, from now to the end of the context.

    `directory` is the one of the tracepoint in tracefs, `condition` a filter such as `cb == 0x12`.
    Raises OSError. Without the permission to trace (CAP_PERFMON) that is a PermissionError.
    """
    with open(f"{directory}/id", "rb") as stream:
        text = stream.read(32)
    if not text.strip().isdigit():
        raise OSError(errno.EINVAL, f"{directory}/id does not contain a number")
    identifier = int(text)
    with ExitStack() as stack:
        events = []
        for cpu in cpus:
            events.append(_open(identifier, cpu))
            stack.callback(os.close, events[-1])
            fcntl.ioctl(events[-1], _SET_FILTER, condition.encode("ascii") + b"\0")
        before = _total(events)
        yield lambda: _total(events) - before


def _open(identifier: int, cpu: int) -> int:
    """Return the descriptor of a new counter on one CPU; raise OSError."""
    number = _SYSCALL_PERF_EVENT_OPEN.get(platform.machine())
    if number is None:
        raise OSError(0, f"sdeictl does not know the number of perf_event_open(2) on {platform.machine()}")
    attributes = struct.pack("<IIQ", _TYPE_TRACEPOINT, _ATTRIBUTE_BYTES, identifier)
    buffer = ctypes.create_string_buffer(attributes, _ATTRIBUTE_BYTES)
    libc = ctypes.CDLL(None, use_errno=True)
    result = int(
        libc.syscall(
            ctypes.c_long(number), buffer, _ANY_PROCESS, cpu, _NO_GROUP, ctypes.c_ulong(_FLAG_CLOEXEC)
        )
    )
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def _total(events: Iterable[int]) -> int:
    return sum(struct.unpack("<Q", os.read(event, 8))[0] for event in events)
