"""Crash dumps that no kernel left: `sdeictl vmcore` ends with an answer or a sentence, in bounded memory."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path

import pytest

from sdeictl.vmcore import printk, symbols
from sdeictl.vmcore.core import read_core
from sdeictl.vmcore.corefile import MAX_NOTE_BYTES, MAX_NOTES
from sdeictl.vmcore.open import open_core
from tests.support.core_builder import (
    IMAGE,
    LINEAR,
    RING_OFFSETS,
    FakeCpu,
    FakeKernel,
    flattened,
    kdump_core,
    note,
    prstatus,
)
from tests.support.limited import refused, run

MIB = 1 << 20
KERNEL: dict[str, object] = {
    "OSRELEASE": "7.3.4", "NUMBER(VA_BITS)": 48, "NUMBER(PHYS_OFFSET)": 0, "NUMBER(kimage_voffset)": 0,
    "SYMBOL(_stext)": f"{IMAGE:x}",
}  # fmt: skip


def dump(info: Mapping[str, object], notes: bytes = b"", memory: bytes = b"", segments: int = 1) -> bytes:
    """Return an ELF dump with this VMCOREINFO; its memory is at the start of the linear map."""
    lines = "".join(f"{name}={value}\n" for name, value in info.items()).encode()
    notes = note(b"VMCOREINFO\0", 0, lines) + notes
    at = 64 + 56 * (1 + segments)
    headers = struct.pack("<2I6Q", 4, 0, at, 0, 0, len(notes), len(notes), 0)
    size = len(memory) // segments
    for number in range(segments):
        start = number * size
        headers += struct.pack("<2I6Q", 1, 0, at + len(notes) + start, 0, start, size, size, 0)
    head = b"\x7fELF\x02\x01\x01" + bytes(9)
    head += struct.pack("<2HI3QI6H", 4, 183, 1, 0, 64, 0, 0, 64, 56, 1 + segments, 0, 0, 0)
    return head + headers + notes + memory


def with_symbols(count: int, name: bytes, token: bytes, segments: int = 1) -> bytes:
    """Return a dump with a table of symbols that all have one name; each byte of it stands for a token."""
    tables = {
        "num_syms": 0,
        "token_index": 0x1000,
        "token_table": 0x2000,
        "offsets": 0x10000,
        "names": 3 * MIB,
    }
    info = {**KERNEL, **{f"SYMBOL(kallsyms_{table})": f"{LINEAR + at:x}" for table, at in tables.items()}}
    memory = bytearray(19 * MIB)
    memory[0:4] = struct.pack("<I", count)
    memory[0x2000 : 0x2000 + len(token)] = token
    names = name * (16 * MIB // len(name))
    memory[3 * MIB : 3 * MIB + len(names)] = names
    return dump(info, memory=bytes(memory), segments=segments)


def with_log(count_bits: int, size: int) -> bytes:
    """Return a dump with a log in which all records have the same text."""
    count = 1 << count_bits
    texts = 0x1000 + 48 * count
    info = {
        **KERNEL, **{f"OFFSET({name})": value for name, value in RING_OFFSETS.items()},
        "SYMBOL(prb)": f"{LINEAR:x}", "SIZE(prb_desc)": 24, "SIZE(printk_info)": 24,
    }  # fmt: skip
    ring = struct.pack("<5Q", count_bits, LINEAR + 0x1000, LINEAR + 0x1000 + 24 * count, count - 1, 0)
    head = struct.pack("<Q", LINEAR + 8) + ring + struct.pack("<2Q", 15, LINEAR + texts)
    descriptors = b"".join(struct.pack("<3Q", at | 2 << 62, 2, size + 10) for at in range(count))
    infos = struct.pack("<2QHBB4x", 1, 10**9, size, 0, 6 << 5) * count
    return dump(info, memory=head.ljust(0x1000, b"\0") + descriptors + infos + b"A" * (1 << 15))


def stored(tmp_path: Path, data: bytes) -> Path:
    (tmp_path / "dump").write_bytes(data)
    return tmp_path / "dump"


@pytest.mark.parametrize("each", [struct.pack("<3I", 1, 0, 7) + bytes(4), prstatus(FakeCpu(0))])
def test_notes_without_end(tmp_path: Path, each: bytes) -> None:
    refused("notes", "vmcore", stored(tmp_path, dump(KERNEL, notes=each * (MAX_NOTES + 1))))
    most = stored(tmp_path, dump(KERNEL, notes=each * (MAX_NOTES - 1)))
    assert run("vmcore", most, "--format", "json").peak_mib < 150


def test_notes_over_each_other(tmp_path: Path) -> None:
    data = bytearray(dump(KERNEL, segments=1000))
    struct.pack_into("<Q", data, 64 + 32, MAX_NOTE_BYTES)
    header = bytes(data[64 : 64 + 56])
    data[64 : 64 + 56 * 1000] = header * 1000
    data += bytes(MAX_NOTE_BYTES)
    refused("more than 16 MiB of notes", "vmcore", stored(tmp_path, bytes(data)))


VALUES = ["9" * 21, "-1", "0x" + "f" * 16, "0x" + "f" * 5000, "1e9", "", "\u0663", str(1 << 63), "0"]
NAMES = [*KERNEL, "CRASHTIME", "SYMBOL(prb)", *(f"OFFSET({name})" for name in RING_OFFSETS), "SIZE(prb_desc)"]


@pytest.mark.parametrize("name", NAMES)
def test_any_value_in_vmcoreinfo(name: str, tmp_path: Path) -> None:
    whole = with_log(6, 100)
    start = whole.index(f"{name}=".encode()) if f"{name}=".encode() in whole else None
    for value in VALUES:
        info = {**KERNEL, name: value}
        data = dump(info) if start is None else with_value(name, value)
        with (stored(tmp_path, data)).open("rb") as file:
            core = read_core(open_core(file))
        assert core.kernel is None or len(core.kernel) <= 64


def with_value(name: str, value: str) -> bytes:
    """Return the dump with a log, with another value in one line of VMCOREINFO."""
    whole = with_log(6, 100)
    lines = whole[whole.index(b"OSRELEASE=") : whole.index(b"SIZE(printk_info)=24\n") + 21]
    info = dict(line.split("=", 1) for line in lines.decode().splitlines())
    memory = whole[whole.index(lines) + (len(lines) + 3 & ~3) :]
    return dump({**info, name: value}, memory=memory)


def test_vmcoreinfo_is_cut(tmp_path: Path) -> None:
    lines = {f"KEY{at}": "" for at in range(500_000)}
    assert run("vmcore", stored(tmp_path, dump({**KERNEL, **lines}))).peak_mib < 100


SYMBOLS = {
    "too many": (1 << 20, b"\x01\0", b"a\0"),
    "the most": ((1 << 19) - 1, b"\x15" + bytes(21), b"aaa\0"),
    "long names": (1900, b"\xff\x7f" + bytes(16383), b"a" * 1023 + b"\0"),
    "long tokens": (100_000, b"\x20" + bytes(32), b"a" * 15 + b"\0"),
}


@pytest.mark.parametrize("name", SYMBOLS)
def test_tables_of_symbols(name: str, tmp_path: Path) -> None:
    path = stored(tmp_path, with_symbols(*SYMBOLS[name]))
    assert run("vmcore", path).status == 3


def test_segments_without_end(tmp_path: Path) -> None:
    """Each read looks at many segments, so there are few reads."""
    assert run("vmcore", stored(tmp_path, with_symbols(1000, b"\x01\0", b"a\0", segments=19_000))).status == 3


def test_log_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = run("vmcore", stored(tmp_path, with_log(16, 16_000)), "--format", "json")
    assert "the dump lacks a readable kernel log" in json.loads(outcome.stdout)["gaps"]
    with stored(tmp_path, with_log(6, 100)).open("rb") as file:
        core = read_core(open_core(file))
    assert core.log is not None
    assert core.log.count(b"\n") == 64
    monkeypatch.setattr(printk, "MAX_LOG_BYTES", len(core.log) - 1)
    with stored(tmp_path, with_log(6, 100)).open("rb") as file:
        assert read_core(open_core(file)).log is None


@pytest.mark.parametrize("bits", [0, 0xFF])
def test_bitmap_stays_in_the_file(bits: int, tmp_path: Path) -> None:
    """A dump of 16 TiB of memory has 512 MiB of bitmap, most of it a hole."""
    frames = 1 << 31
    data = bytearray(kdump_core(FakeKernel((FakeCpu(0),)), None)[: 2 * 4096])
    struct.pack_into("<2I", data, 8 + 4 + 390 + 6 + 8 * 2 + 4 * 3, 2 * frames // 8 // 4096, 0)
    notes = prstatus(FakeCpu(0))
    struct.pack_into("<2Q", data, 4096 + 48, 4096 + 512, len(notes))
    struct.pack_into("<Q", data, 4096 + 96, frames)
    data[4096 + 512 : 4096 + 512 + len(notes)] = notes
    path = stored(tmp_path, bytes(data))
    with path.open("r+b") as file:
        file.seek(2 * 4096 + frames // 8)
        file.write(bytes([bits]) * 4 * MIB)
        file.truncate(2 * 4096 + 2 * frames // 8 + 64 * MIB)
    outcome = run("vmcore", path)
    assert b"UNKNOWN" in outcome.stdout
    assert outcome.peak_mib < 64


def test_limits_fit_real_kernels() -> None:
    assert symbols._MAX_SYMBOLS > 2 * 250_000
    assert MAX_NOTES > 2 * 4096


def test_pieces_over_one_place(tmp_path: Path) -> None:
    """Each read of the first MiB looks at all of them."""
    data = flattened(kdump_core(FakeKernel((FakeCpu(0),))), piece=MIB)
    pieces = 300_000 * (struct.pack(">2q", 0, 1) + b"\0")
    refused("its pieces overlap", "vmcore", stored(tmp_path, data[:4096] + pieces + data[4096:]))
