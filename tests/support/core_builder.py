"""Builds small crash dumps of a made-up arm64 kernel: as ELF, and compressed like makedumpfile's.

The kernel has everything that the reader follows: symbols, CPU masks, the memory
in which each CPU saves its registers, and the printk ring buffer. VMCOREINFO
gives the offsets.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Mapping
from typing import NamedTuple

PAGE = 4096
VA_BITS = 48
LINEAR = (1 << 64) - (1 << VA_BITS)
RAM = 0x40000000
IMAGE_PHYS = RAM + 0x200000
IMAGE = 0xFFFF800080000000
PERCPU_PHYS = RAM + 0x400000
PERCPU_BYTES = 0x2000
NOTES_OFFSET = 0x1000
"""Offset of a CPU's note in its per-CPU memory."""
RING_BITS, TEXT_BITS = 6, 13
TEXT_BYTES = 1 << TEXT_BITS
RING_OFFSETS = {
    "printk_ringbuffer.desc_ring": 0, "printk_ringbuffer.text_data_ring": 40,
    "prb_desc_ring.count_bits": 0, "prb_desc_ring.descs": 8, "prb_desc_ring.infos": 16,
    "prb_desc_ring.head_id": 24, "prb_desc_ring.tail_id": 32, "prb_desc.state_var": 0,
    "prb_desc.text_blk_lpos": 8, "prb_data_blk_lpos.next": 8, "printk_info.seq": 0,
    "printk_info.ts_nsec": 8, "printk_info.text_len": 16, "prb_data_ring.size_bits": 0,
    "prb_data_ring.data": 8,
}  # fmt: skip


class FakeCpu(NamedTuple):
    """The registers that one CPU saved."""

    pc: int | None
    """None if the CPU left no registers: it was offline, or the kernel did not stop it."""
    pstate: int = 0x40000005
    pid: int = 0
    sp: int = IMAGE
    online: bool = True


class FakeKernel(NamedTuple):
    """A kernel that has crashed."""

    cpus: tuple[FakeCpu, ...]
    functions: Mapping[str, int] = {"lkdtm_HARDLOCKUP": 0x1000, "default_idle_call": 0x1100}
    """Offsets in the image."""
    log: tuple[str, ...] = ()
    """Lines of the kernel log: seconds, a space, the text."""
    panic_cpu: int = 0
    relative_base: bool = False
    """As before Linux 7.1: kallsyms has offsets from kallsyms_relative_base, not from their own addresses."""


def address_of(function: str, offset: int = 8) -> int:
    """Return an address in one of the default kernel's functions."""
    return IMAGE + FakeKernel(()).functions[function] + offset


def prstatus(cpu: FakeCpu) -> bytes:
    """Return the note of a CPU, as crash_save_cpu() writes it."""
    desc = bytearray(392)
    struct.pack_into("<i", desc, 32, cpu.pid)
    struct.pack_into("<3Q", desc, 360, cpu.sp, cpu.pc or 0, cpu.pstate)
    return note(b"CORE\0", 1, bytes(desc))


def note(name: bytes, kind: int, data: bytes) -> bytes:
    """Return an ELF note."""

    def pad(part: bytes) -> bytes:
        return part + bytes(-len(part) % 4)

    return struct.pack("<3I", len(name), len(data), kind) + pad(name) + pad(data)


class _Image:
    """The kernel's image while it is laid out."""

    def __init__(self) -> None:
        self.data = bytearray(0x2000)
        self.symbols: dict[str, int] = {}

    def place(self, name: str, data: bytes) -> int:
        """Append data and return its address, which becomes the symbol `name`."""
        self.data += bytes(-len(self.data) % 16)
        self.symbols[name] = IMAGE + len(self.data)
        self.data += data
        return self.symbols[name]


def build_memory(kernel: FakeKernel) -> tuple[dict[int, bytes], bytes]:
    """Return the physical memory as {address: bytes}, and VMCOREINFO."""
    image = _Image()
    image.symbols |= {"_text": IMAGE, "_stext": IMAGE}
    image.symbols |= {name: IMAGE + offset for name, offset in kernel.functions.items()}
    _place_cpus(image, kernel)
    info = _place_log(image, kernel.log) | _place_symbols(image, kernel)
    info |= {
        "OSRELEASE": "7.3.4-fake", "PAGESIZE": str(PAGE), "CRASHTIME": "1700000000",
        "SYMBOL(_stext)": f"{IMAGE:x}", "NUMBER(VA_BITS)": str(VA_BITS),
        "NUMBER(kimage_voffset)": hex(IMAGE - IMAGE_PHYS), "NUMBER(PHYS_OFFSET)": hex(RAM),
    }  # fmt: skip
    percpu = b"".join(map(_build_percpu, kernel.cpus))
    text = "".join(f"{key}={value}\n" for key, value in info.items()).encode()
    return {IMAGE_PHYS: bytes(image.data), PERCPU_PHYS: percpu}, text


def _build_percpu(cpu: FakeCpu) -> bytes:
    saved = b"" if cpu.pc is None else prstatus(cpu)
    return (bytes(NOTES_OFFSET) + saved).ljust(PERCPU_BYTES, b"\0")


def _place_cpus(image: _Image, kernel: FakeKernel) -> None:
    """Lay out the variables that describe the CPUs."""
    count = len(kernel.cpus)
    active = sum(1 << index for index, cpu in enumerate(kernel.cpus) if cpu.online)
    running = sum(1 << index for index, cpu in enumerate(kernel.cpus) if cpu.online and cpu.pc is None)
    image.place("nr_cpu_ids", struct.pack("<I", count))
    image.place("panic_cpu", struct.pack("<I", kernel.panic_cpu))
    for name, mask in (("possible", (1 << count) - 1), ("active", active), ("online", running | 1)):
        image.place(f"__cpu_{name}_mask", mask.to_bytes((count + 63) // 64 * 8, "little"))
    percpu = [LINEAR + PERCPU_PHYS - RAM + index * PERCPU_BYTES for index in range(count)]
    image.place("__per_cpu_offset", struct.pack(f"<{count}Q", *percpu))
    image.place("crash_notes", struct.pack("<Q", NOTES_OFFSET))


def _place_log(image: _Image, log: tuple[str, ...]) -> dict[str, str]:
    """Lay out the printk ring buffer and return its part of VMCOREINFO."""
    names = ("prb_descs", "prb_infos", "prb_text")
    tables = [image.place(name, data) for name, data in zip(names, _build_records(log))]
    blocks = _lay_out_blocks(log)
    oldest = next((index for index, block in enumerate(blocks) if block[0] + TEXT_BYTES >= blocks[-1][1]), 0)
    ring = struct.pack("<I4x4Q", RING_BITS, tables[0], tables[1], max(len(log) - 1, 0), oldest)
    ring += struct.pack("<I4xQ", TEXT_BITS, tables[2])
    prb = image.place("prb", struct.pack("<Q", image.place("printk_rb_static", ring)))
    info = {f"OFFSET({name})": str(offset) for name, offset in RING_OFFSETS.items()}
    return info | {"SIZE(prb_desc)": "24", "SIZE(printk_info)": "32", "SYMBOL(prb)": f"{prb:x}"}


def _lay_out_blocks(log: tuple[str, ...]) -> list[tuple[int, int]]:
    """Return the first and the next logical position of the data block of each line.

    A block that does not fit before the end of the buffer is at its start (get_next_lpos() of Linux 7.3.4).
    """
    blocks: list[tuple[int, int]] = []
    begin = 0
    for line in log:
        length = 8 + (len(_text_of(line)) + 7) // 8 * 8
        end = begin + length
        if begin // TEXT_BYTES != (end - 1) // TEXT_BYTES:
            end = end // TEXT_BYTES * TEXT_BYTES + length
        blocks.append((begin, end))
        begin = end
    return blocks


def _text_of(line: str) -> bytes:
    return line.partition(" ")[2].encode()


def _build_records(log: tuple[str, ...]) -> tuple[bytes, bytes, bytes]:
    """Return the descriptors, the array of struct printk_info and the text buffer."""
    descs, infos, text = bytearray(24 << RING_BITS), bytearray(32 << RING_BITS), bytearray(TEXT_BYTES)
    for index, (line, (begin, end)) in enumerate(zip(log, _lay_out_blocks(log))):
        data = _text_of(line)
        wraps = begin // TEXT_BYTES != (end - 1) // TEXT_BYTES
        start = 8 if wraps else begin % TEXT_BYTES + 8
        text[start : start + len(data)] = data
        struct.pack_into("<3Q", descs, 24 * index, 2 << 62 | index, begin, end)
        nanoseconds = round(float(line.partition(" ")[0]) * 1e9)
        struct.pack_into("<2QHBB", infos, 32 * index, index, nanoseconds, len(data), 0, 6 << 5)
    return bytes(descs), bytes(infos), bytes(text)


def _place_symbols(image: _Image, kernel: FakeKernel) -> dict[str, str]:
    """Lay out kallsyms, where _end comes last, and return its part of VMCOREINFO."""
    image.symbols["_end"] = IMAGE + 0x100000
    ordered = sorted(image.symbols.items(), key=lambda item: item[1])
    packed = [f"T{name}".encode() for name, _address in ordered]
    tokens, starts = _build_tokens()
    places = {"num_syms": image.place("kallsyms_num_syms", struct.pack("<I", len(ordered)))}
    places["names"] = image.place("kallsyms_names", b"".join(bytes([len(name)]) + name for name in packed))
    places["token_table"] = image.place("kallsyms_token_table", tokens)
    places["token_index"] = image.place("kallsyms_token_index", starts)
    places["offsets"] = offsets = image.place("kallsyms_offsets", bytes(4 * len(ordered)))
    if kernel.relative_base:
        places["relative_base"] = image.place("kallsyms_relative_base", struct.pack("<Q", IMAGE))
    for index, (_name, address) in enumerate(ordered):
        base = IMAGE if kernel.relative_base else offsets + 4 * index
        struct.pack_into("<i", image.data, offsets - IMAGE + 4 * index, address - base)
    image.data += bytes(1024)
    return {f"SYMBOL(kallsyms_{name})": f"{place:x}" for name, place in places.items()}


def _build_tokens() -> tuple[bytes, bytes]:
    """Return the token table, with one token for each character, and the start of each token."""
    tokens = [bytes([code, 0]) if 32 < code < 127 else b"\0" for code in range(256)]
    starts = [sum(map(len, tokens[:code])) for code in range(256)]
    return b"".join(tokens), struct.pack("<256H", *starts)


def build_notes(kernel: FakeKernel, info: bytes) -> bytes:
    """Return the notes as /proc/vmcore packs them: a CPU that left no registers has none."""
    saved = b"".join(prstatus(cpu) for cpu in kernel.cpus if cpu.pc is not None)
    return saved + (note(b"VMCOREINFO\0", 0, info) if info else b"")


def elf_core(kernel: FakeKernel, *, info: bool = True) -> bytes:
    """Return an ELF dump; without `info` (VMCOREINFO) it does not show which CPU wrote which note."""
    memory, text = build_memory(kernel)
    notes = build_notes(kernel, text if info else b"")
    headers = 1 + len(memory)
    at = 64 + 56 * headers
    parts = [(4, 0, notes)] + [(1, address, data) for address, data in sorted(memory.items())]
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    out = ident + struct.pack("<2HI3QI6H", 4, 183, 1, 0, 64, 0, 0, 64, 56, headers, 0, 0, 0)
    body = b""
    for kind, address, data in parts:
        out += struct.pack("<2I6Q", kind, 0, at + len(body), 0, address, len(data), len(data), 0)
        body += data
    return out + body


def kdump_core(kernel: FakeKernel, compress: Callable[[bytes], tuple[bytes, int]] | None = None) -> bytes:
    """Return a compressed dump; `compress` returns a page's data and its flags (default: zlib)."""
    memory, text = build_memory(kernel)
    return kdump_file(_split_pages(memory), build_notes(kernel, text), compress)


def kdump_file(
    pages: Mapping[int, bytes], notes: bytes, compress: Callable[[bytes], tuple[bytes, int]] | None = None
) -> bytes:
    """Return a compressed dump of pages by their page frame numbers."""
    frames = max(pages) + 1
    bitmap = _build_bitmap(pages)
    first = PAGE * 2 + 2 * len(bitmap)
    note_at = first + 24 * len(pages)
    header = struct.pack(
        "<8si390s6x2Q2i4I", b"KDUMP   ", 6, b"", 0, 0, 1, PAGE, 1, 2 * len(bitmap) // PAGE, frames, 0
    )
    sub = struct.pack("<Q2i2Q9Q", 0, 31, 0, 0, 0, 0, 0, note_at, len(notes), 0, 0, 0, 0, frames)
    descriptors, body = b"", b""
    for _frame, page in sorted(pages.items()):
        data, flags = compress(page) if compress else (zlib.compress(page), 1)
        descriptors += struct.pack("<Q2IQ", note_at + len(notes) + len(body), len(data), flags, 0)
        body += data
    return header.ljust(PAGE, b"\0") + sub.ljust(PAGE, b"\0") + bitmap * 2 + descriptors + notes + body


def _split_pages(memory: Mapping[int, bytes]) -> dict[int, bytes]:
    """Return the pages by page frame number."""
    return {
        (address + start) // PAGE: data[start : start + PAGE].ljust(PAGE, b"\0")
        for address, data in memory.items()
        for start in range(0, len(data), PAGE)
    }


def _build_bitmap(frames: Mapping[int, bytes]) -> bytes:
    """Return a bitmap in whole blocks with the bits of these page frames set."""
    bitmap = bytearray(-(-(max(frames) + 1) // (8 * PAGE)) * PAGE)
    for frame in frames:
        bitmap[frame // 8] |= 1 << frame % 8
    return bytes(bitmap)


def flattened(data: bytes, *, piece: int = PAGE, ends: bool = True) -> bytes:
    """Return a dump as `makedumpfile -F` writes it: pieces in any order, the header again as the last one."""
    header = struct.pack(">16s2q", b"makedumpfile", 1, 1).ljust(4096, b"\0")
    starts = list(range(0, len(data), piece))
    # The first header of makedumpfile is not yet complete. It leaves out zeroes, here all but the last.
    last = max(starts, default=0)
    pieces = [(0, bytes(piece))] + [(at, data[at : at + piece]) for at in (*reversed(starts[1:]), 0)]
    pieces = pieces[:1] + [(at, part) for at, part in pieces[1:] if any(part) or at == last]
    stream = b"".join(struct.pack(">2q", at, len(part)) + part for at, part in pieces if part)
    return header + stream + (struct.pack(">2q", -1, -1) if ends else b"")
