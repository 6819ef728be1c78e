"""What did the kernel log say before the crash? The dump holds the printk ring buffer.

kernel/printk/printk_ringbuffer.c and .h; VMCOREINFO gives the offsets.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from sdeictl.klog.kmsg import escape
from sdeictl.vmcore.corefile import MissingDataError
from sdeictl.vmcore.memory import KernelMemory
from sdeictl.vmcore.vmcoreinfo import VmcoreInfo

_COMMITTED, _FINALIZED = 1, 2
"""The states (enum desc_state) in which a descriptor has a record."""
_STATE_SHIFT = 62
_ID_MASK = (1 << _STATE_SHIFT) - 1
_MAX_COUNT_BITS = 20
_MAX_RING_BYTES = 112 << 20
"""Limit for the ring buffer and its two arrays; of a log of 16 MiB they have 75 MiB."""
_MAX_SIZE_BITS = 32
"""More than KernelMemory.read() reads at once."""
_MAX_TEXT_BYTES = 16384
MAX_LOG_BYTES = 32 << 20
"""Limit for the log; on the largest machines its buffer has 16 MiB."""
_BLOCK_ID_BYTES = 8
"""struct prb_data_block: the text follows the descriptor's ID."""


class _Array:
    """An array of C structures; a record uses the element at its ID modulo the length."""

    def __init__(self, data: bytes, count: int, size: int) -> None:
        self._data, self._count, self._size = data, count, size

    def unpack(self, layout: str, record_id: int, offset: int) -> tuple[int, ...]:
        """Return the members at an offset in an element; raise struct.error if they are not in the array."""
        if not 0 <= offset < self._size:  # unpack_from() would count a negative one from the end of the array
            raise struct.error(f"an offset of {offset} in a structure of {self._size} bytes")
        return struct.unpack_from(layout, self._data, record_id % self._count * self._size + offset)


class _Ring:
    """The ring buffer: an array of descriptors, one of struct printk_info, and the texts."""

    def __init__(self, memory: KernelMemory, info: VmcoreInfo) -> None:
        ring = memory.u64(info.symbol("prb"))
        descriptors = ring + info.offset("printk_ringbuffer.desc_ring")
        self.count = 1 << min(
            memory.u32(descriptors + info.offset("prb_desc_ring.count_bits")), _MAX_COUNT_BITS
        )
        self.head_id = memory.u64(descriptors + info.offset("prb_desc_ring.head_id"))
        self.tail_id = memory.u64(descriptors + info.offset("prb_desc_ring.tail_id"))
        self._left = _MAX_RING_BYTES
        self._descs = self._read_array(
            memory, descriptors + info.offset("prb_desc_ring.descs"), info.size("prb_desc")
        )
        self._infos = self._read_array(
            memory, descriptors + info.offset("prb_desc_ring.infos"), info.size("printk_info")
        )
        texts = ring + info.offset("printk_ringbuffer.text_data_ring")
        bits = memory.u32(texts + info.offset("prb_data_ring.size_bits"))
        place = memory.u64(texts + info.offset("prb_data_ring.data"))
        self._text = self._read(memory, place, 1 << min(bits, _MAX_SIZE_BITS))
        self._state = info.offset("prb_desc.state_var")
        self._block = info.offset("prb_desc.text_blk_lpos")
        self._next = self._block + info.offset("prb_data_blk_lpos.next")
        self._seq, self._time = info.offset("printk_info.seq"), info.offset("printk_info.ts_nsec")
        self._length = info.offset("printk_info.text_len")

    def _read_array(self, memory: KernelMemory, pointer: int, size: int) -> _Array:
        return _Array(self._read(memory, memory.u64(pointer), self.count * size), self.count, size)

    def _read(self, memory: KernelMemory, address: int, size: int) -> bytes:
        self._left -= size
        if self._left < 0:
            raise MissingDataError
        return memory.read(address, size)

    def line(self, record_id: int) -> bytes | None:
        """Return a record as /dev/kmsg prints it; None if the descriptor has none."""
        (state,) = self._descs.unpack("<Q", record_id, self._state)
        if state & _ID_MASK != record_id & _ID_MASK or state >> _STATE_SHIFT not in (_COMMITTED, _FINALIZED):
            return None
        (begin,) = self._descs.unpack("<Q", record_id, self._block)
        (end,) = self._descs.unpack("<Q", record_id, self._next)
        (sequence,) = self._infos.unpack("<Q", record_id, self._seq)
        (nanoseconds,) = self._infos.unpack("<Q", record_id, self._time)
        # struct printk_info: u16 text_len, u8 facility, u8 flags:5, u8 level:3.
        length, facility, flags = self._infos.unpack("<HBB", record_id, self._length)
        priority = facility << 3 | flags >> 5
        text = self._block_text(begin, end)[: min(length, _MAX_TEXT_BYTES)]
        escaped = escape(text.decode("latin-1")).encode()
        return b"%d,%d,%d,-;%b\n" % (priority, sequence, nanoseconds // 1000, escaped)

    def _block_text(self, begin: int, end: int) -> bytes:
        """Return the text between two logical positions."""
        if begin & 1:  # FAILED_LPOS or EMPTY_LINE_LPOS: the record has no text
            return b""
        size = len(self._text)
        first, last = begin % size, (end - 1) % size + 1  # a block may end where the buffer ends
        if last <= first:  # a block that does not fit before the end of the buffer is at its start
            first = 0
        return self._text[first + _BLOCK_ID_BYTES : last]


def read_log(memory: KernelMemory, info: VmcoreInfo) -> bytes:
    """Return the kernel log in the format of /dev/kmsg; raise MissingDataError if the dump lacks it."""
    try:
        return b"".join(_lines(_Ring(memory, info)))
    except (struct.error, OverflowError) as error:  # an offset that is not in the buffer
        raise MissingDataError from error


def _lines(ring: _Ring) -> Iterator[bytes]:
    record_id = ring.tail_id
    left = MAX_LOG_BYTES
    for _ in range(ring.count):
        if line := ring.line(record_id):
            left -= len(line)
            if left < 0:
                raise MissingDataError
            yield line
        if record_id == ring.head_id:
            return
        record_id = record_id + 1 & _ID_MASK
