"""A BPF program that masks the interrupts of one CPU for a bounded time.

BPF_PROG_TEST_RUN with BPF_F_TEST_RUN_ON_CPU runs a raw tracepoint program in the IPI handler of the target,
where interrupts are masked (net/bpf/test_run.c, Linux 7.3). It needs neither a module nor BTF. The format of
the instructions is in RFC 9669, the format of bpf(2) in include/uapi/linux/bpf.h.

The verifier accepts no loop without an end. From Linux 6.9 on the instruction may_goto ends a loop. For older
kernels the loop has a counter: it copies a large buffer onto itself until the time is over.
"""

from __future__ import annotations

import ctypes
import errno
import math
import mmap
import os
import platform
import resource
import struct
from contextlib import suppress

from sdeictl.text import lines_of

PROGRAM_NAME = "sdeictl_win"
"""The running program is on the stack as `bpf_prog_<tag>_sdeictl_win`."""
CALL_SECONDS = 0.24
"""The kernel ends a may_goto loop after 250 ms (bpf_check_timed_may_goto() in kernel/bpf/core.c)."""
COPIED_BYTES = 4 << 20
"""The largest value of a map on a kernel with pages of 4 KiB (KMALLOC_MAX_SIZE)."""
COPIES_PER_SECOND = 8192
"""No CPU copies COPIED_BYTES so often: copy_from_kernel_nofault() takes 8 bytes at a time (mm/maccess.c)."""

NOT_OPENED, OPEN, CLOSED = 0, 1, 2
"""The values that the program writes to its map: before the masked window, inside it, after it."""

_SYSCALL_BPF = {"aarch64": 280, "x86_64": 321}
_MAP_CREATE, _PROG_LOAD, _PROG_TEST_RUN = 0, 5, 10
_MAP_TYPE_ARRAY, _PROG_TYPE_RAW_TRACEPOINT = 2, 17
_F_MMAPABLE, _F_TEST_RUN_ON_CPU = 1 << 10, 1
_KTIME_GET_NS, _PROBE_READ_KERNEL = 5, 113
# The codes of the instructions (RFC 9669; may_goto: include/uapi/linux/bpf.h).
_ADD, _LOAD, _STORE, _CALL, _EXIT, _JUMP_IF_LESS = 0x07, 0x18, 0x7B, 0x85, 0x95, 0xAD
_MOVE, _COPY, _MAY_GOTO = 0xB7, 0xBF, 0xE5
_ADD_REGISTER, _JUMP_IF_NOT_LESS = 0x0F, 0x35
_LOG_BYTES = 16384
_LOG_ERRORS = 4
"""BPF_LOG_STATS: what is wrong and the statistics, but not each of up to a million steps."""
_LOAD_TRIES = 5
"""A signal makes the verifier return EAGAIN (kernel/bpf/verifier.c), and each signal costs one try."""


class BpfWindow:
    """The loaded program and its map. It masks no CPU before run().

    Raises OSError if the kernel refuses the map or the program.
    """

    def __init__(self, seconds: float) -> None:
        # Before Linux 5.11 maps count as locked memory of the process.
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        self._map = _create_map(8, _F_MMAPABLE)
        try:
            self._memory = mmap.mmap(self._map, mmap.PAGESIZE)
            self._program = _load_window(self._map, seconds)
        except OSError:
            os.close(self._map)
            raise

    def state(self) -> int:
        """Return the value in the map: NOT_OPENED, OPEN or CLOSED."""
        return int(struct.unpack_from("<Q", self._memory)[0])

    def run(self, cpu: int) -> None:
        """Mask `cpu` until the time is over; raise OSError.

        The caller must run on another CPU, which spins until the program ends.
        """
        _bpf(
            _PROG_TEST_RUN,
            struct.pack("<4I2Q4I2Q4I", self._program, *([0] * 11), _F_TEST_RUN_ON_CPU, cpu, 0, 0),
        )

    def close(self) -> None:
        """Free the program and the map."""
        self._memory.close()
        os.close(self._program)
        os.close(self._map)


def _create_map(value_bytes: int, flags: int = 0) -> int:
    """Return the descriptor of an array with one value; raise OSError."""
    return _bpf(_MAP_CREATE, struct.pack("<5I", _MAP_TYPE_ARRAY, 4, value_bytes, 1, flags))


def _load_window(marks: int, seconds: float) -> int:
    """Return the descriptor of the program that this kernel accepts; raise OSError if it accepts neither."""
    try:
        return _load(assemble(marks, seconds))
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    buffer = _create_map(COPIED_BYTES)
    try:
        return _load(assemble_with_counter(marks, buffer, seconds))
    finally:
        os.close(buffer)  # The program keeps the map.


def _load(program: bytes, tries: int = _LOAD_TRIES) -> int:
    """Return the descriptor of the loaded program; raise OSError with the last line of the verifier's log."""
    instructions, gpl = ctypes.create_string_buffer(program), ctypes.create_string_buffer(b"GPL")
    log = ctypes.create_string_buffer(_LOG_BYTES)
    attributes = struct.pack(
        "<2I2Q2IQ2I16s", _PROG_TYPE_RAW_TRACEPOINT, len(program) // 8, ctypes.addressof(instructions),
        ctypes.addressof(gpl), _LOG_ERRORS, _LOG_BYTES, ctypes.addressof(log), 0, 0, PROGRAM_NAME.encode(),
    )  # fmt: skip
    try:
        return _bpf(_PROG_LOAD, attributes)
    except OSError as error:
        if error.errno == errno.EAGAIN and tries > 1:
            return _load(program, tries - 1)
        verifier_log = [*lines_of(log.value.decode("utf-8", "replace").strip())]
        detail = f"{error.strerror}: {verifier_log[-1]}" if verifier_log else error.strerror
        raise OSError(error.errno, detail) from error


def _bpf(command: int, attributes: bytes) -> int:
    """Call bpf(2) and return its result; raise OSError."""
    number = _SYSCALL_BPF.get(platform.machine())
    if number is None:
        raise OSError(0, f"sdeictl does not know the number of bpf(2) on {platform.machine()}")
    libc = ctypes.CDLL(None, use_errno=True)
    # Zeroes after the fields of a command mean "not used" (bpf_check_uarg_tail_zero(), kernel/bpf/syscall.c).
    buffer = ctypes.create_string_buffer(attributes, 128)
    result = int(libc.syscall(ctypes.c_long(number), command, buffer, ctypes.c_uint(len(buffer))))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def assemble(map_descriptor: int, seconds: float) -> bytes:
    """Return the program: write OPEN to the map, spin for `seconds`, write CLOSED.

    The program calls the spinning function several times, because the kernel ends the loop of each call
    after a quarter of a second (CALL_SECONDS).
    """
    calls = max(1, math.ceil(seconds / CALL_SECONDS))
    end = [*_mark(CLOSED), *_return_zero()]
    program = [
        *_load_map_value(map_descriptor, register=6),
        *_mark(OPEN),
        *(_call_function(left + len(end)) for left in reversed(range(calls))),
        *end,
        *_spin(round(seconds / calls * 1e9)),
    ]
    return b"".join(program)


def assemble_with_counter(marks: int, buffer: int, seconds: float) -> bytes:
    """Return the program for kernels without may_goto: write OPEN, copy for `seconds`, write CLOSED.

    The verifier follows each pass of the loop, and at most a million instructions, so it refuses a window of
    more than 13 s. It follows the way out first, so that it need not remember one way out per pass.
    """
    program = [
        *_load_map_value(marks, register=6),
        *_load_map_value(buffer, register=7),
        *_mark(OPEN),
        _instruction(_CALL, 0, 0, 0, _KTIME_GET_NS),  # r0 = now
        _instruction(_COPY, 8, 0, 0, 0),  # r8 = r0
        *_load_number(round(seconds * 1e9), register=1),
        _instruction(_ADD_REGISTER, 8, 1, 0, 0),  # r8 += r1
        _instruction(_MOVE, 9, 0, 0, 0),  # r9 = 0
        _instruction(_JUMP_IF_NOT_LESS, 9, 0, 7, math.ceil(seconds * COPIES_PER_SECOND)),  # if r9 >= all, end
        _instruction(_ADD, 9, 0, 0, 1),  # r9 += 1
        _instruction(_COPY, 1, 7, 0, 0),  # r1 = buffer
        _instruction(_MOVE, 2, 0, 0, COPIED_BYTES),  # r2 = its size
        _instruction(_COPY, 3, 7, 0, 0),  # r3 = buffer
        _instruction(_CALL, 0, 0, 0, _PROBE_READ_KERNEL),
        _instruction(_CALL, 0, 0, 0, _KTIME_GET_NS),  # r0 = now
        _instruction(_JUMP_IF_LESS, 0, 8, -8, 0),  # if r0 < r8, go to the first jump
        *_mark(CLOSED),
        *_return_zero(),
    ]
    return b"".join(program)


def _mark(value: int) -> list[bytes]:
    """Return the instructions that write a value to the map; r6 has the address of the map."""
    return [
        _instruction(_MOVE, 1, 0, 0, value),  # r1 = value
        _instruction(_STORE, 6, 1, 0, 0),  # *r6 = r1
    ]


def _spin(nanoseconds: int) -> list[bytes]:
    """Return the function that spins for some nanoseconds."""
    return [
        _instruction(_CALL, 0, 0, 0, _KTIME_GET_NS),  # r0 = now
        _instruction(_COPY, 6, 0, 0, 0),  # r6 = r0
        _instruction(_ADD, 6, 0, 0, nanoseconds),  # r6 += nanoseconds
        _instruction(_MAY_GOTO, 0, 0, 2, 0),  # end the loop after 250 ms; the verifier demands this
        _instruction(_CALL, 0, 0, 0, _KTIME_GET_NS),  # r0 = now
        _instruction(_JUMP_IF_LESS, 0, 6, -3, 0),  # if r0 < r6, go to may_goto
        *_return_zero(),
    ]


def _load_map_value(descriptor: int, register: int) -> list[bytes]:
    """Return the instructions that load the address of the map's value (BPF_PSEUDO_MAP_VALUE)."""
    return [_instruction(_LOAD, register, 2, 0, descriptor), _instruction(0, 0, 0, 0, 0)]


def _load_number(number: int, register: int) -> list[bytes]:
    """Return the instructions that load a number of 64 bits."""
    return [
        _instruction(_LOAD, register, 0, 0, number),
        _instruction(0, 0, 0, 0, number >> 32),
    ]


def _call_function(distance: int) -> bytes:
    """Return a call of the function `distance` instructions ahead (BPF_PSEUDO_CALL)."""
    return _instruction(_CALL, 0, 1, 0, distance)


def _return_zero() -> list[bytes]:
    return [_instruction(_MOVE, 0, 0, 0, 0), _instruction(_EXIT, 0, 0, 0, 0)]


def _instruction(code: int, destination: int, source: int, offset: int, immediate: int) -> bytes:
    return struct.pack("<BBhI", code, source << 4 | destination, offset, immediate & 0xFFFFFFFF)
