"""Reads and follows /dev/kmsg (Documentation/ABI/testing/dev-kmsg)."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator

from sdeictl.host.files import MAX_STREAM_BYTES
from sdeictl.host.paths import KMSG

_RECORD_BYTES = 16384
"""Larger than any record (PRINTK_MESSAGE_MAX in kernel/printk/internal.h)."""
_KMSG_DEVICE = os.makedev(1, 11)
"""Documentation/admin-guide/devices.txt"""


def open_kmsg(path: str = KMSG) -> int:
    """Return a descriptor at the oldest record of the kernel log; raise OSError.

    Another device at this path is an error too. Containers often have /dev/null there, and a read from that
    device never reports the end of the log (EAGAIN).
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if os.fstat(descriptor).st_rdev != _KMSG_DEVICE:
        os.close(descriptor)
        raise OSError(errno.ENXIO, "it is not the kernel log device, as in a container", path)
    return descriptor


def open_end() -> int:
    """Return a descriptor after the newest record of the kernel log; raise OSError."""
    descriptor = open_kmsg()
    os.lseek(descriptor, 0, os.SEEK_END)
    return descriptor


def kmsg_records(descriptor: int) -> Iterator[bytes]:
    """Yield the records up to the newest one; overwritten records leave a gap in the sequence numbers."""
    while True:
        try:
            yield os.read(descriptor, _RECORD_BYTES)
        except BlockingIOError:
            return
        except BrokenPipeError:  # EPIPE: the next record was overwritten
            continue


def read_kmsg() -> Iterator[bytes]:
    """Yield the records from the oldest to the newest one; raise OSError."""
    descriptor = open_kmsg()
    left = MAX_STREAM_BYTES  # a host may log faster than this loop reads: it must end nevertheless
    try:
        for record in kmsg_records(descriptor):
            yield record
            left -= len(record)
            if left <= 0:
                return
    finally:
        os.close(descriptor)


class KmsgFollower:
    """Collects the records that the kernel logs from now on; one read(2) returns one record."""

    def __init__(self, descriptor: int, read: Callable[[int, int], bytes] = os.read) -> None:
        self.descriptor = descriptor
        self.overruns = 0
        """How often records were overwritten before they were read."""
        self._read = read
        self._records: list[bytes] = []

    def drain(self) -> tuple[bytes, ...]:
        """Read up to the newest record; return the new records."""
        known = len(self._records)
        while True:
            try:
                self._records.append(self._read(self.descriptor, _RECORD_BYTES))
            except BlockingIOError:
                return tuple(self._records[known:])
            except BrokenPipeError:
                self.overruns += 1

    def data(self) -> bytes:
        """Return all records read so far, in the format of /dev/kmsg."""
        return b"".join(self._records)
