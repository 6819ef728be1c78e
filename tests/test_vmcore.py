"""`sdeictl vmcore`: every CPU's registers are told, none is given another's, no file is believed blindly."""

import contextlib
import ctypes
import io
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from sdeictl.cli import cli
from sdeictl.vmcore.core import Core, read_core
from sdeictl.vmcore.corefile import CoreError
from sdeictl.vmcore.open import open_core
from sdeictl.vmcore.report import vmcore_json, vmcore_status
from tests.conftest import Golden, validate
from tests.support.core_builder import (
    NOTES_OFFSET,
    PERCPU_BYTES,
    PERCPU_PHYS,
    FakeCpu,
    FakeKernel,
    address_of,
    elf_core,
    kdump_core,
)

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
EXAMPLES = int(os.environ.get("SDEICTL_EXAMPLES", "300"))
STOPPED = FakeKernel((IDLE, IDLE, WEDGED, IDLE), log=LOG)


Build = Callable[[FakeKernel], bytes]


def read(data: bytes) -> Core:
    return read_core(open_core(io.BytesIO(data)))


@pytest.mark.parametrize("build", [elf_core, kdump_core])
def test_every_cpu_with_where_it_was(build: Build, golden: Golden, tmp_path: Path) -> None:
    core = read(build(STOPPED))
    report = vmcore_json(core)
    validate("vmcore-1", report)
    golden.check(f"{core.format}.vmcore.json", report)
    path = tmp_path / "vmcore"
    path.write_bytes(build(STOPPED))
    done = CliRunner().invoke(cli, ["vmcore", str(path)])
    assert done.exit_code == 0
    golden.check(f"{core.format}.vmcore.txt", done.stdout)


@pytest.mark.parametrize("build", [elf_core, kdump_core])
@pytest.mark.parametrize("missing", [0, 1, 2, 3])
def test_a_cpu_that_was_not_stopped_is_named_and_the_others_keep_theirs(build: Build, missing: int) -> None:
    """The notes behind the missing one move up: by position they would be given to the wrong CPUs."""
    distinct = [FakeCpu(address_of("default_idle_call", 4 * index), pid=index + 1) for index in range(4)]
    distinct[missing] = UNSTOPPED
    core = read(build(FakeKernel(tuple(distinct), log=LOG)))
    assert vmcore_json(core)["missing"] == [missing]
    assert vmcore_status(core) == 1
    for cpu in core.cpus:
        pid = cpu.registers.pid if cpu.registers else None
        assert pid == (None if cpu.cpu == missing else cpu.cpu + 1)
    assert not core.unmatched


def test_a_cpu_that_was_off_line_is_not_missing() -> None:
    core = read(elf_core(FakeKernel((IDLE, OFFLINE, WEDGED, OFFLINE), log=LOG)))
    assert vmcore_json(core)["missing"] == []
    assert [cpu.online for cpu in core.cpus] == [True, False, True, False]
    assert vmcore_status(core) == 0


def test_registers_that_nothing_assigns_stay_unassigned() -> None:
    core = read(elf_core(STOPPED, info=False))
    assert (core.cpus, len(core.unmatched), vmcore_status(core)) == ((), 4, 3)
    done = vmcore_json(core)
    assert [registers["function"] for registers in done["unmatched"]] == [None] * 4


def test_the_places_recorded_before_assign_them_too() -> None:
    places = {cpu: PERCPU_PHYS + PERCPU_BYTES * cpu + NOTES_OFFSET for cpu in range(4)}
    data = elf_core(FakeKernel((IDLE, UNSTOPPED, WEDGED, IDLE)), info=False)
    core = read_core(open_core(io.BytesIO(data)), places)
    assert [cpu.cpu for cpu in core.cpus if not cpu.registers] == [1]
    assert [cpu.registers.pid for cpu in core.cpus if cpu.registers] == [0, WEDGED.pid, 0]


def test_a_place_that_holds_what_is_no_note_of_this_core_is_not_believed() -> None:
    places = {0: PERCPU_PHYS + 0x10, 1: PERCPU_PHYS + PERCPU_BYTES * 999, 2: PERCPU_PHYS + NOTES_OFFSET + 4}
    core = read_core(open_core(io.BytesIO(elf_core(STOPPED))), places)
    assert [(cpu.known, cpu.registers) for cpu in core.cpus[1:]] == [(False, None)] * 2
    assert vmcore_status(core) == 1  # at place 0 there are zeroes: that CPU wrote none


def test_symbols_of_older_kernels_have_one_base() -> None:
    core = read(elf_core(STOPPED._replace(relative_base=True)))
    assert core.cpus[2].function == "lkdtm_HARDLOCKUP+0x8"


def test_a_priority_mask_is_not_in_the_registers() -> None:
    pseudo = "0.4 GICv3: Pseudo-NMIs enabled using relaxed ICC_PMR_EL1 synchronisation"
    core = read(elf_core(STOPPED._replace(log=(*LOG[:2], pseudo, *LOG[3:]))))
    assert [cpu["registers"]["masked"] for cpu in vmcore_json(core)["cpus"]] == [None, None, True, None]


def _raw(page: bytes) -> tuple[bytes, int]:
    return page, 0


def _zstd(page: bytes) -> tuple[bytes, int]:
    library = ctypes.CDLL("libzstd.so.1")
    out = ctypes.create_string_buffer(8192)
    library.ZSTD_compress.restype = ctypes.c_size_t
    size = library.ZSTD_compress(out, ctypes.c_size_t(len(out)), page, ctypes.c_size_t(len(page)), 3)
    return out.raw[:size], 0x20


@pytest.mark.parametrize("compress", [_raw, _zstd])
def test_pages_by_another_compressor(compress: Callable[[bytes], tuple[bytes, int]]) -> None:
    assert vmcore_json(read(kdump_core(STOPPED, compress))) == vmcore_json(read(kdump_core(STOPPED)))


def test_pages_that_cannot_be_unpacked_are_gaps() -> None:
    core = read(kdump_core(STOPPED, lambda page: (page[:100], 0x2)))
    assert (core.cpus, len(core.unmatched), vmcore_status(core)) == ((), 4, 3)
    assert core.gaps


@pytest.mark.parametrize("build", [elf_core, kdump_core])
def test_a_core_cut_anywhere_is_no_internal_error(build: Build) -> None:
    data = build(STOPPED)
    whole = vmcore_json(read(data))
    for cut in sorted({*range(0, min(len(data), 9000), 97), *random.Random(1).sample(range(len(data)), 60)}):
        try:
            report = vmcore_json(read(data[:cut]))
        except CoreError:
            continue
        validate("vmcore-1", report)
        assert "it is cut short: the file ends before the memory that it should hold" in report["gaps"]
        for cpu, before in zip(report["cpus"], whole["cpus"], strict=False):
            assert cpu["registers"] in (None, before["registers"])


def test_a_core_of_another_architecture_is_named() -> None:
    data = bytearray(elf_core(STOPPED))
    data[18:20] = (62).to_bytes(2, "little")
    with pytest.raises(CoreError, match=r"^it is ET_CORE of EM_X86_64, not a core of arm64$"):
        read(bytes(data))


@pytest.mark.parametrize("build", [elf_core, kdump_core])
@settings(deadline=None, max_examples=EXAMPLES)
@given(seed=st.integers(0, 1 << 32), many=st.integers(1, 12))
def test_lying_bytes_are_no_internal_error(build: Build, seed: int, many: int) -> None:
    dice = random.Random(seed)
    data = bytearray(build(STOPPED))
    for _ in range(many):
        at = dice.randrange(min(len(data), 9200))
        data[at : at + 4] = dice.choice([b"\0\0\0\0", b"\xff\xff\xff\xff", dice.randbytes(4)])
    with contextlib.suppress(CoreError):
        validate("vmcore-1", vmcore_json(read(bytes(data))))


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "it is neither an ELF core nor a compressed one of makedumpfile"),
        (bytes(1 << 16), "it is neither an ELF core nor a compressed one of makedumpfile"),
        (b"\x7fELF", "its ELF header is damaged"),
        (b"KDUMP   ", "it is cut short"),
        (b"KDUMP   " + bytes(1 << 16), "its header is damaged (blocks of 0 bytes"),
        (b"makedumpfile\0\0\0\0", "it is flattened"),
        (elf_core(FakeKernel((UNSTOPPED,)), info=False), "it has no registers of a CPU and no VMCOREINFO"),
        (Path("/bin/true").read_bytes(), "not a core of arm64"),
    ],
    ids=["empty", "zeroes", "elf-only", "kdump-only", "kdump-zeroes", "flattened", "no-kernel", "a-program"],
)
def test_what_is_no_core_gets_a_sentence(data: bytes, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "vmcore"
    path.write_bytes(data)
    done = CliRunner().invoke(cli, ["vmcore", str(path)])
    assert done.exit_code != 0
    assert getattr(done.exception, "status", None) == 3
    assert sentence in str(done.exception)
