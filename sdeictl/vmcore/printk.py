"""The kernel log inside a core: kernel/printk/printk_ringbuffer.c, by the offsets VMCOREINFO gives."""

import struct
from collections.abc import Iterator, Mapping

from sdeictl.vmcore.corefile import NotInCoreError
from sdeictl.vmcore.memory import KernelMemory, number

_COMMITTED, _FINALIZED = 1, 2
"""enum desc_state; the others hold no record."""
_STATE_SHIFT = 62
_ID_MASK = (1 << _STATE_SHIFT) - 1
_MAX_COUNT_BITS = 20
_MAX_TEXT_BYTES = 16384


class _Layout:
    """Offsets and sizes; raises NotInCoreError where VMCOREINFO lacks one."""

    def __init__(self, info: Mapping[str, str]) -> None:
        self._info = info

    def offset(self, name: str) -> int:
        return self._number(f"OFFSET({name})")

    def size(self, name: str) -> int:
        return self._number(f"SIZE({name})")

    def symbol(self, name: str) -> int:
        return self._number(f"SYMBOL({name})")

    def _number(self, key: str) -> int:
        value = number(self._info, key)
        if value is None:
            raise NotInCoreError
        return value


class _Record:
    """How a descriptor, its info and its text are found."""

    def __init__(self, memory: KernelMemory, layout: _Layout) -> None:
        ring = memory.u64(layout.symbol("prb"))
        descriptors = ring + layout.offset("printk_ringbuffer.desc_ring")
        text = ring + layout.offset("printk_ringbuffer.text_data_ring")
        bits = memory.u32(descriptors + layout.offset("prb_desc_ring.count_bits"))
        self.count = 1 << min(bits, _MAX_COUNT_BITS)
        self.head = memory.u64(descriptors + layout.offset("prb_desc_ring.head_id"))
        self.tail = memory.u64(descriptors + layout.offset("prb_desc_ring.tail_id"))
        self._desc_size, self._info_size = layout.size("prb_desc"), layout.size("printk_info")
        table = memory.u64(descriptors + layout.offset("prb_desc_ring.descs"))
        self._descs = memory.read(table, self.count * self._desc_size)
        table = memory.u64(descriptors + layout.offset("prb_desc_ring.infos"))
        self._infos = memory.read(table, self.count * self._info_size)
        self._size = 1 << memory.u32(text + layout.offset("prb_data_ring.size_bits"))
        self._text = memory.read(memory.u64(text + layout.offset("prb_data_ring.data")), self._size)
        self._state = layout.offset("prb_desc.state_var")
        self._block = layout.offset("prb_desc.text_blk_lpos")
        self._next = layout.offset("prb_data_blk_lpos.next")
        self._seq, self._time = layout.offset("printk_info.seq"), layout.offset("printk_info.ts_nsec")
        self._length = layout.offset("printk_info.text_len")

    def line(self, number_: int) -> bytes | None:
        """Return a record as /dev/kmsg shows it, None if it holds none."""
        at = number_ % self.count * self._desc_size
        (state,) = struct.unpack_from("<Q", self._descs, at + self._state)
        if state & _ID_MASK != number_ & _ID_MASK or state >> _STATE_SHIFT not in (_COMMITTED, _FINALIZED):
            return None
        (begin,) = struct.unpack_from("<Q", self._descs, at + self._block)
        (end,) = struct.unpack_from("<Q", self._descs, at + self._block + self._next)
        info = number_ % self.count * self._info_size
        (sequence,) = struct.unpack_from("<Q", self._infos, info + self._seq)
        (nanoseconds,) = struct.unpack_from("<Q", self._infos, info + self._time)
        # struct printk_info: the facility follows the length, then five flags and the level.
        length, facility, flags = struct.unpack_from("<HBB", self._infos, info + self._length)
        priority = facility << 3 | flags >> 5
        text = b"" if begin & 1 else self._body(begin, end)[: min(length, _MAX_TEXT_BYTES)]
        return b"%d,%d,%d,-;%b\n" % (priority, sequence, nanoseconds // 1000, _escape(text))

    def _body(self, begin: int, end: int) -> bytes:
        first, last = begin % self._size, end % self._size
        if last <= first:  # the block would not have fitted: it is at the buffer's start
            first = 0
        return self._text[first + 8 : last]  # behind the descriptor's id


def read_log(memory: KernelMemory, info: Mapping[str, str]) -> bytes:
    """Return the log as /dev/kmsg would give it; raise NotInCoreError if it is not in the core."""
    record = _Record(memory, _Layout(info))
    return b"".join(_lines(record))


def _lines(record: _Record) -> Iterator[bytes]:
    number_, left = record.tail, record.count
    while left:
        try:
            line = record.line(number_)
        except struct.error as error:
            raise NotInCoreError from error
        if line:
            yield line
        if number_ == record.head:
            return
        number_, left = number_ + 1 & _ID_MASK, left - 1


def _escape(text: bytes) -> bytes:
    """Return text as /dev/kmsg escapes it (msg_add_ext_text())."""
    if text.isascii() and text.decode("ascii").isprintable() and b"\\" not in text:
        return text
    return b"".join(bytes([byte]) if 32 <= byte < 127 and byte != 92 else b"\\x%02x" % byte for byte in text)
