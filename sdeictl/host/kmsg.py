"""Follows the kernel log. Documentation/ABI/testing/dev-kmsg."""

import os
from collections.abc import Callable

from sdeictl.host.root import open_kmsg

_RECORD_BYTES = 16384


def open_end() -> int:
    """Return a descriptor of the kernel log that stands behind its present end; raises OSError."""
    descriptor = open_kmsg()
    os.lseek(descriptor, 0, os.SEEK_END)
    return descriptor


def is_kernel(record: bytes) -> bool:
    """Tell whether a record is the kernel's own: its facility is 0."""
    priority = record.split(b",", 1)[0]
    return priority.isdigit() and int(priority) < 8


class KmsgFollower:
    """Collects what is logged from now on; one read(2) gives one record."""

    def __init__(self, descriptor: int, read: Callable[[int, int], bytes] = os.read) -> None:
        self.descriptor = descriptor
        self.overruns = 0
        """How often records were overwritten before they were read."""
        self._read = read
        self._records: list[bytes] = []

    def drain(self) -> tuple[bytes, ...]:
        """Read to the present end; return the new records."""
        known = len(self._records)
        while True:
            try:
                self._records.append(self._read(self.descriptor, _RECORD_BYTES))
            except BlockingIOError:
                return tuple(self._records[known:])
            except BrokenPipeError:
                self.overruns += 1

    def data(self) -> bytes:
        """Return everything read so far."""
        return b"".join(self._records)
