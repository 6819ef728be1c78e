"""`sdeictl vmcore`: it matches all registers with the right CPU, and no damaged file misleads it."""

from __future__ import annotations

import contextlib
import ctypes
import io
import random
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from sdeictl.cli import cli
from sdeictl.text import to_plain
from sdeictl.vmcore import printk
from sdeictl.vmcore.core import Core, CoreCpu, read_core
from sdeictl.vmcore.corefile import CoreError, DumpFormat, MissingDataError
from sdeictl.vmcore.memory import KernelMemory
from sdeictl.vmcore.notes import Registers, parse_notes
from sdeictl.vmcore.open import open_core
from sdeictl.vmcore.report import vmcore_document, vmcore_status
from sdeictl.vmcore.symbols import TABLES
from sdeictl.vmcore.text import render_vmcore
from sdeictl.vmcore.vmcoreinfo import find_vmcoreinfo
from tests.conftest import TESTS, Golden, validate
from tests.support.core_builder import (
    NOTES_OFFSET,
    PERCPU_BYTES,
    PERCPU_PHYS,
    RING_OFFSETS,
    FakeCpu,
    FakeKernel,
    address_of,
    elf_core,
    flattened,
    kdump_core,
)
from tests.test_analysis_properties import EXAMPLES

IDLE = FakeCpu(address_of("default_idle_call"))
WEDGED = FakeCpu(address_of("lkdtm_HARDLOCKUP"), pstate=0x600000C5, pid=101)
UNSTOPPED = FakeCpu(None)
OFFLINE = FakeCpu(None, online=False)
LOG = (
    "0.0 Booting Linux on physical CPU 0x0000000000 [0x411fd070]",
    "0.0 Linux version 7.3.4-fake (x) #1",
    "0.5 sdei_nmi: using SDEI cross-CPU NMI (SDEI_EVENT_SIGNAL, event 0)",
    "1.0 Run /sbin/init as init process",
    "9.0 Kernel panic - not syncing: dumptest",
    "9.1 SMP: stopping secondary CPUs",
    "10.2 SMP: retry stop with SDEI NMI for CPUs 2",
    "10.3 Starting crashdump kernel...",
)
STOPPED = FakeKernel((IDLE, IDLE, WEDGED, IDLE), log=LOG)
REGISTERS = Registers(pid=0, pc=0, sp=0, pstate=0x5)
TRUNCATED = "the dump is truncated: the file ends before the memory that its headers list"


BuildDump = Callable[[FakeKernel], bytes]


def read(data: bytes) -> Core:
    return read_core(open_core(io.BytesIO(data)))


@pytest.mark.parametrize("build", [elf_core, kdump_core])
def test_report_shows_every_cpu(build: BuildDump, golden: Golden, tmp_path: Path) -> None:
    core = read(build(STOPPED))
    report = vmcore_document(core)
    validate("vmcore-1", report)
    golden.check(f"{core.format}.vmcore.json", report)
    path = tmp_path / "vmcore"
    path.write_bytes(build(STOPPED))
    done = CliRunner().invoke(cli, ["vmcore", str(path)])
    assert done.exit_code == 0
    golden.check(f"{core.format}.vmcore.txt", done.stdout)


@pytest.mark.parametrize("build", [elf_core, kdump_core])
@pytest.mark.parametrize("missing", [0, 1, 2, 3])
def test_missing_note_shifts_no_registers(build: BuildDump, missing: int) -> None:
    """The notes after the missing one move up: their positions name the wrong CPUs."""
    distinct = [FakeCpu(address_of("default_idle_call", 4 * index), pid=index + 1) for index in range(4)]
    distinct[missing] = UNSTOPPED
    core = read(build(FakeKernel(tuple(distinct), log=LOG)))
    assert vmcore_document(core)["missing"] == [missing]
    assert vmcore_status(core) == 1
    for cpu in core.cpus:
        pid = cpu.registers.pid if cpu.registers else None
        assert pid == (None if cpu.cpu == missing else cpu.cpu + 1)
    assert not core.unmatched


def test_offline_cpu_is_not_missing() -> None:
    core = read(elf_core(FakeKernel((IDLE, OFFLINE, WEDGED, OFFLINE), log=LOG)))
    assert vmcore_document(core)["missing"] == []
    assert [cpu.online for cpu in core.cpus] == [True, False, True, False]
    assert vmcore_status(core) == 0


def test_registers_without_vmcoreinfo_stay_unmatched() -> None:
    core = read(elf_core(STOPPED, info=False))
    assert (core.cpus, len(core.unmatched), vmcore_status(core)) == ((), 4, 3)
    report = vmcore_document(core)
    assert [registers["function"] for registers in report["unmatched"]] == [None] * 4


def test_recorded_note_addresses_match_registers() -> None:
    addresses = {cpu: PERCPU_PHYS + PERCPU_BYTES * cpu + NOTES_OFFSET for cpu in range(4)}
    data = elf_core(FakeKernel((IDLE, UNSTOPPED, WEDGED, IDLE)), info=False)
    core = read_core(open_core(io.BytesIO(data)), addresses)
    assert [cpu.cpu for cpu in core.cpus if not cpu.registers] == [1]
    assert [cpu.registers.pid for cpu in core.cpus if cpu.registers] == [0, WEDGED.pid, 0]


def test_foreign_data_is_not_a_note() -> None:
    zeroes, absent, shifted = 0x10, PERCPU_BYTES * 999, NOTES_OFFSET + 4
    addresses = {cpu: PERCPU_PHYS + offset for cpu, offset in enumerate((zeroes, absent, shifted))}
    core = read_core(open_core(io.BytesIO(elf_core(STOPPED))), addresses)
    assert [(cpu.known, cpu.registers) for cpu in core.cpus[1:]] == [(False, None)] * 2
    assert vmcore_status(core) == 1  # CPU 0 wrote no note


@pytest.mark.parametrize(
    ("cpu", "headline", "line"),
    [
        (CoreCpu(3, True, True), "INCOMPLETE  the dump lacks the registers of CPU 3", "NO REGISTERS"),
        (
            CoreCpu(3, None, True),
            "UNKNOWN  ",
            "no registers; the dump does not show whether the CPU was online",
        ),
        (CoreCpu(3, True, False), "UNKNOWN  ", "unknown: the dump lacks the memory"),
        (CoreCpu(3, False, True), "COMPLETE  ", "offline"),
        (None, "UNKNOWN  the dump does not show which CPUs left registers", "unknown release of Linux"),
    ],
    ids=["missing", "online-unknown", "note-unknown", "offline", "no-cpus"],
)
def test_text_without_registers(cpu: CoreCpu | None, headline: str, line: str) -> None:
    core = Core(DumpFormat.ELF, None, None, (cpu,) if cpu else (), (), None, None, ())
    text = to_plain(render_vmcore(vmcore_document(core), 200))
    assert text.startswith(headline)
    assert line in text


@pytest.mark.parametrize(("count", "words"), [(1, "a set"), (2, "2 sets")])
def test_headline_counts_unmatched_registers(count: int, words: str) -> None:
    core = Core(DumpFormat.ELF, None, None, (), (REGISTERS,) * count, None, None, ())
    text = to_plain(render_vmcore(vmcore_document(core), 200))
    assert text.startswith(f"UNKNOWN  the dump does not show which CPU wrote {words} of registers\n")


@pytest.mark.parametrize("last_bytes", [1000, 1008, 1016, 1024, 1032])
def test_log_wraps_around_its_buffer(last_bytes: int) -> None:
    """A block of 8 bytes and its text ends before, at and after the end of the buffer of 8 KiB."""
    full = tuple(f"{number}.0 {str(number) * 1016}" for number in range(1, 8))
    log = (*full, f"8.0 {'8' * last_bytes}", "9.0 last")
    core = read(elf_core(STOPPED._replace(log=log)))
    assert core.log is not None
    texts = [line.partition(b";")[2] for line in core.log.splitlines()]
    assert texts[-2:] == [b"8" * last_bytes, b"last"]
    assert texts[:-2] == [line.partition(" ")[2].encode() for line in full[-len(texts) + 2 :]]


@pytest.mark.parametrize("offset", [-(10**30), -1000, 10**6, 10**20])
@pytest.mark.parametrize("name", sorted(RING_OFFSETS))
def test_log_at_a_false_offset(name: str, offset: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RING_OFFSETS, name, offset)
    core = read(elf_core(STOPPED))
    assert core.log is None or not name.startswith(("prb_desc.", "prb_data_blk_lpos.", "printk_info."))
    validate("vmcore-1", vmcore_document(core))


def test_relative_base_of_older_kernels() -> None:
    core = read(elf_core(STOPPED._replace(relative_base=True)))
    assert core.cpus[2].function == "lkdtm_HARDLOCKUP+0x8"


def test_registers_lack_a_priority_mask() -> None:
    pseudo_nmi = "0.4 GICv3: Pseudo-NMIs enabled using relaxed ICC_PMR_EL1 synchronisation"
    core = read(elf_core(STOPPED._replace(log=(*LOG[:2], pseudo_nmi, *LOG[3:]))))
    cpus = vmcore_document(core)["cpus"]
    assert [cpu["registers"] and cpu["registers"]["masked"] for cpu in cpus] == [None, None, True, None]


def _raw(page: bytes) -> tuple[bytes, int]:
    return page, 0


def _zstd(page: bytes) -> tuple[bytes, int]:
    library = ctypes.CDLL("libzstd.so.1")
    out = ctypes.create_string_buffer(8192)
    library.ZSTD_compress.restype = ctypes.c_size_t
    size = library.ZSTD_compress(out, ctypes.c_size_t(len(out)), page, ctypes.c_size_t(len(page)), 3)
    return out.raw[:size], 0x20


@pytest.mark.parametrize("compress", [_raw, _zstd])
def test_compression_does_not_change_report(compress: Callable[[bytes], tuple[bytes, int]]) -> None:
    assert vmcore_document(read(kdump_core(STOPPED, compress))) == vmcore_document(read(kdump_core(STOPPED)))


def test_undecodable_pages_are_gaps() -> None:
    core = read(kdump_core(STOPPED, lambda page: (page[:100], 0x2)))
    assert (core.cpus, len(core.unmatched), vmcore_status(core)) == ((), 4, 3)
    assert core.gaps


@pytest.mark.parametrize("build", [elf_core, kdump_core])
def test_truncation_loses_but_never_invents(build: BuildDump) -> None:
    data = build(STOPPED)
    whole = vmcore_document(read(data))
    for end in sorted({*range(0, min(len(data), 9000), 97), *random.Random(1).sample(range(len(data)), 60)}):
        try:
            report = vmcore_document(read(data[:end]))
        except CoreError:
            continue
        validate("vmcore-1", report)
        assert TRUNCATED in report["gaps"]
        for cpu, original in zip(report["cpus"], whole["cpus"]):
            assert cpu["registers"] in (None, original["registers"])


def test_other_architecture_is_named() -> None:
    data = bytearray(elf_core(STOPPED))
    data[18:20] = (62).to_bytes(2, "little")
    with pytest.raises(CoreError, match=r"^it is of type 4 for machine 62, not a dump of an arm64 kernel$"):
        read(bytes(data))


@pytest.mark.parametrize("build", [elf_core, kdump_core])
@settings(max_examples=EXAMPLES)
@given(seed=st.integers(0, 1 << 32), many=st.integers(1, 12))
def test_damage_causes_no_internal_error(build: BuildDump, seed: int, many: int) -> None:
    dice = random.Random(seed)
    data = bytearray(build(STOPPED))
    for _ in range(many):
        at = dice.randrange(min(len(data), 9200))
        data[at : at + 4] = dice.choice([b"\0\0\0\0", b"\xff\xff\xff\xff", dice.randbytes(4)])
    with contextlib.suppress(CoreError):
        validate("vmcore-1", vmcore_document(read(bytes(data))))


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "it is neither an ELF dump nor a dump from makedumpfile"),
        (bytes(1 << 16), "it is neither an ELF dump nor a dump from makedumpfile"),
        (b"\x7fELF", "its ELF header is damaged"),
        (b"KDUMP   ", "it is truncated"),
        (b"KDUMP   " + bytes(1 << 16), "its header is damaged (blocks of 0 bytes"),
        (b"makedumpfile\0\0\0\0", "it is cut short"),
        (elf_core(FakeKernel((UNSTOPPED,)), info=False), "it has no registers and no VMCOREINFO"),
        (Path("/bin/true").read_bytes(), "not a dump of an arm64 kernel"),
    ],
    ids=["empty", "zeroes", "elf-only", "kdump-only", "kdump-zeroes", "flattened", "no-kernel", "a-program"],
)
def test_other_files_get_a_sentence(data: bytes, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "vmcore"
    path.write_bytes(data)
    done = CliRunner().invoke(cli, ["vmcore", str(path)])
    assert done.exit_code != 0
    assert getattr(done.exception, "status", None) == 3
    assert sentence in str(done.exception)


@pytest.mark.parametrize("build", [elf_core, kdump_core])
@pytest.mark.parametrize("piece", [100, 4096, 1 << 20])
def test_flattened_dump_reads_as_the_dump_does(build: BuildDump, piece: int) -> None:
    data = build(STOPPED)
    plain = read_core(open_core(io.BytesIO(data)))
    assert read_core(open_core(io.BytesIO(flattened(data, piece=piece)))) == plain


def test_flattened_dump_without_its_end_is_truncated() -> None:
    data = flattened(kdump_core(STOPPED), ends=False)
    assert TRUNCATED in read_core(open_core(io.BytesIO(data))).gaps


@pytest.mark.parametrize(
    ("piece", "why"),
    [
        (struct.pack(">2q", -5, 10), "its stream is damaged"),
        (struct.pack(">2q", 1 << 60, 10), "its stream is damaged"),
        (struct.pack(">2q", 0, 0), "its stream is damaged"),
        (struct.pack(">2q", 0, 16) + b"makedumpfile".ljust(16, b"\0"), "it is cut short"),
    ],
    ids=["negative", "far", "empty", "nested"],
)
def test_damaged_stream(piece: bytes, why: str) -> None:
    header = flattened(b"")[:4096]
    with pytest.raises(CoreError, match=why):
        open_core(io.BytesIO(header + piece))


BUNDLED = TESTS / "crash/vmcore"


def test_bundled_dump(golden: Golden) -> None:
    """Everyone can try `sdeictl vmcore`: a real crash of the lab, small."""
    assert BUNDLED.stat().st_size < 200 << 10
    with BUNDLED.open("rb") as file:
        core = read_core(open_core(file))
    document = vmcore_document(core)
    validate("vmcore-1", document)
    assert vmcore_status(core) == 0
    wedged = document["cpus"][1]
    assert wedged["registers"]
    assert wedged["registers"]["masked"]
    assert wedged["parked"]
    golden.check("bundled.vmcore.txt", to_plain(render_vmcore(document)))


def test_bundled_dump_has_no_code() -> None:
    """No page between the first function of the kernel and its tables of symbols is there."""
    with BUNDLED.open("rb") as file:
        core = open_core(file)
        info = find_vmcoreinfo(tuple(parse_notes(core.notes)))
        memory = KernelMemory(core, info)
        start = info.symbol("_stext")
        end = min(info.symbol(f"kallsyms_{name}") for name in TABLES)
        assert end - start > 4 << 20
        for address in range(start, end - 4096, 4096):
            with contextlib.suppress(MissingDataError):
                assert not any(memory.read(address, 4096)), hex(address)


@pytest.mark.parametrize("size", [5000, 40_000])
def test_cut_flattened_dump_is_cut(size: int) -> None:
    """makedumpfile writes the header last."""
    with pytest.raises(CoreError, match="it is cut short: the end of its stream is missing"):
        open_core(io.BytesIO(BUNDLED.read_bytes()[:size]))


def test_ring_buffer_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(printk, "_MAX_RING_BYTES", 1000)
    core = read_core(open_core(io.BytesIO(kdump_core(STOPPED))))
    assert core.log is None
    assert core.gaps
