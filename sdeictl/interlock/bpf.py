"""A BPF program that keeps one CPU's interrupts masked for a bounded time, and how to run it.

BPF_PROG_TEST_RUN of a raw tracepoint program with BPF_F_TEST_RUN_ON_CPU runs it
in the target's IPI handler, with interrupts masked (net/bpf/test_run.c, Linux
7.3). No module and no BTF are needed. Format of the instructions: RFC 9669;
of bpf(2): include/uapi/linux/bpf.h.
"""

import ctypes
import errno
import math
import mmap
import os
import platform
import struct

PROGRAM_NAME = "sdeictl_win"
"""The kernel shows the running program as `bpf_prog_<tag>_sdeictl_win`."""
CALL_SECONDS = 0.24
"""The kernel ends a may_goto loop after 250 ms (kernel/bpf/core.c, bpf_check_timed_may_goto())."""

NOT_OPENED, OPEN, CLOSED = 0, 1, 2
"""What the program leaves in its map, from inside the window."""

_SYSCALL_BPF = {"aarch64": 280, "x86_64": 321}
_MAP_CREATE, _PROG_LOAD, _PROG_TEST_RUN = 0, 5, 10
_MAP_TYPE_ARRAY, _PROG_TYPE_RAW_TRACEPOINT = 2, 17
_F_MMAPABLE, _F_TEST_RUN_ON_CPU = 1 << 10, 1
_KTIME_GET_NS = 5
_LOG_BYTES = 16384
_LOAD_TRIES = 5
"""The verifier gives up with EAGAIN when a signal comes (kernel/bpf/verifier.c); each takes one try."""


class BpfWindow:
    """The loaded program and its map. Nothing runs before run().

    Raises OSError where the kernel does not take the map or the program.
    """

    def __init__(self, seconds: float) -> None:
        self._map = _bpf(_MAP_CREATE, struct.pack("<5I", _MAP_TYPE_ARRAY, 4, 8, 1, _F_MMAPABLE))
        try:
            self._memory = mmap.mmap(self._map, mmap.PAGESIZE)
            self._program = _load(assemble(self._map, seconds))
        except OSError:
            os.close(self._map)
            raise

    def state(self) -> int:
        """Return what the program has left in its map: NOT_OPENED, OPEN or CLOSED."""
        return int(struct.unpack_from("<Q", self._memory)[0])

    def run(self, cpu: int) -> None:
        """Mask `cpu` until the time is over; the caller must be on another CPU, and stays there spinning."""
        _bpf(
            _PROG_TEST_RUN,
            struct.pack("<4I2Q4I2Q4I", self._program, *([0] * 11), _F_TEST_RUN_ON_CPU, cpu, 0, 0),
        )

    def close(self) -> None:
        """Give the program and the map back."""
        self._memory.close()
        os.close(self._program)
        os.close(self._map)


def _load(program: bytes, tries: int = _LOAD_TRIES) -> int:
    instructions, gpl = ctypes.create_string_buffer(program), ctypes.create_string_buffer(b"GPL")
    log = ctypes.create_string_buffer(_LOG_BYTES)
    attributes = struct.pack(
        "<2I2Q2IQ2I16s", _PROG_TYPE_RAW_TRACEPOINT, len(program) // 8, ctypes.addressof(instructions),
        ctypes.addressof(gpl), 1, _LOG_BYTES, ctypes.addressof(log), 0, 0, PROGRAM_NAME.encode(),
    )  # fmt: skip
    try:
        return _bpf(_PROG_LOAD, attributes)
    except OSError as error:
        if error.errno == errno.EAGAIN and tries > 1:
            return _load(program, tries - 1)
        said = log.value.decode("utf-8", "replace").strip().splitlines()
        detail = f"{error.strerror}: {said[-1]}" if said else error.strerror
        raise OSError(error.errno, detail) from error


def _bpf(command: int, attributes: bytes) -> int:
    number = _SYSCALL_BPF.get(platform.machine())
    if number is None:
        raise OSError(0, f"bpf(2) of {platform.machine()} is not known here")
    libc = ctypes.CDLL(None, use_errno=True)
    # The kernel reads zeroes beyond what a command needs as "not used".
    buffer = ctypes.create_string_buffer(attributes, 128)
    result = int(libc.syscall(ctypes.c_long(number), command, buffer, ctypes.c_uint(len(buffer))))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def assemble(map_descriptor: int, seconds: float) -> bytes:
    """Return the program: mark the map, spin until `seconds` are over, mark it again.

    The spinning is one function called several times: the kernel ends the loop
    of each call after a quarter of a second.
    """
    calls = max(1, math.ceil(seconds / CALL_SECONDS))
    rest = [
        _instruction(0xB7, 1, 0, 0, CLOSED),
        _instruction(0x7B, 6, 1, 0, 0),
        *_return_zero(),
    ]
    program = [
        *_load_map_value(map_descriptor, register=6),
        _instruction(0xB7, 1, 0, 0, OPEN),
        _instruction(0x7B, 6, 1, 0, 0),
        *(_call_function(left + len(rest)) for left in reversed(range(calls))),
        *rest,
        *_spin(round(seconds / calls * 1e9)),
    ]
    return b"".join(program)


def _spin(nanoseconds: int) -> list[bytes]:
    return [
        _instruction(0x85, 0, 0, 0, _KTIME_GET_NS),
        _instruction(0xBF, 6, 0, 0, 0),  # r6 = now
        _instruction(0x07, 6, 0, 0, nanoseconds),  # r6 += nanoseconds
        _instruction(0xE5, 0, 0, 2, 0),  # may_goto: leave the loop below
        _instruction(0x85, 0, 0, 0, _KTIME_GET_NS),
        _instruction(0xAD, 0, 6, -3, 0),  # if r0 < r6 goto may_goto
        *_return_zero(),
    ]


def _load_map_value(descriptor: int, register: int) -> list[bytes]:
    return [
        _instruction(0x18, register, 2, 0, descriptor),
        _instruction(0, 0, 0, 0, 0),
    ]  # BPF_PSEUDO_MAP_VALUE


def _call_function(distance: int) -> bytes:
    return _instruction(0x85, 0, 1, 0, distance)  # BPF_PSEUDO_CALL


def _return_zero() -> list[bytes]:
    return [_instruction(0xB7, 0, 0, 0, 0), _instruction(0x95, 0, 0, 0, 0)]


def _instruction(code: int, destination: int, source: int, offset: int, immediate: int) -> bytes:
    return struct.pack("<BBhI", code, source << 4 | destination, offset, immediate & 0xFFFFFFFF)
