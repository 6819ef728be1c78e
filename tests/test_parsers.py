"""The small parsers: they read their formats, and hostile bytes do no harm."""

from __future__ import annotations

import contextlib
import gzip
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdeictl.formats.acpi import AcpiError, parse_length
from sdeictl.formats.cmdline import parse_bool, parse_parameters, public_part, wants_pseudo_nmi
from sdeictl.formats.cpuinfo import parse_architecture, parse_cpuinfo
from sdeictl.formats.cpulist import parse_cpulist
from sdeictl.formats.interrupts import parse_interrupts
from sdeictl.formats.kconfig import gunzip, parse_kconfig
from sdeictl.formats.sysctl import parse_number
from sdeictl.host.files import find_words
from sdeictl.interlock.bpf import COPIED_BYTES, COPIES_PER_SECOND, assemble, assemble_with_counter


def sdei_table(**changes: int) -> bytes:
    table = bytearray(struct.pack("<4sIBB6s8sI4sI", b"SDEI", 36, 1, 0, b"LAB", b"LABTABLE", 1, b"TEST", 1))
    table[9] = -sum(table) & 0xFF
    for offset, value in changes.items():
        table[int(offset.removeprefix("at"))] = value
    return bytes(table)


def test_acpi_table_length() -> None:
    assert parse_length(sdei_table(), "SDEI") == 36
    assert parse_length(sdei_table() + b"more", "SDEI") == 36


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "fewer than an ACPI header"),
        (sdei_table()[:35], "fewer than an ACPI header"),
        (sdei_table(at0=0x58), "signature"),
        (sdei_table(at4=0), "length at byte 4 is 0"),
        (sdei_table(at7=0xFF), "at byte 4"),
        (sdei_table(at9=0), "checksum 0x00 at byte 9"),
        (sdei_table(at20=0xFF), "checksum"),
    ],
)
def test_damaged_table_names_the_byte(data: bytes, problem: str) -> None:
    with pytest.raises(AcpiError, match=problem):
        parse_length(data, "SDEI")


@given(st.binary(max_size=80))
def test_random_bytes_raise_only_acpierror(data: bytes) -> None:
    with contextlib.suppress(AcpiError):
        assert parse_length(data, "SDEI") >= 36


def test_kconfig() -> None:
    text = (
        b'CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_AB=m\nCONFIG_C="x"\nCONFIG_A_LONGER=y\nCONFIG_D=0x1\r\n'
        b"# CONFIG_OFF=y\nCONFIG_NOT is not set\n"
    )
    wanted = ("A", "B", "AB", "C", "D", "OFF", "NOT", "MISSING")
    assert parse_kconfig(text, wanted) == (("A", "y"), ("B", "n"), ("AB", "m"), ("C", '"x"'), ("D", "0x1"))


def test_gunzip_refuses_damaged_data() -> None:
    data = gzip.compress(b"CONFIG_A=y\n")
    assert gunzip(data) == b"CONFIG_A=y\n"
    for bad in (
        data[:-9],
        b"",
        b"CONFIG_A=y\n",
        gzip.compress(bytes(17 << 20)),
        data[:-5] + b"\0" + data[-4:],
    ):
        with pytest.raises(ValueError, match="gzip"):
            gunzip(bad)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", False),
        ("irqchip.gicv3_pseudo_nmi", False),
        ("irqchip.gicv3_pseudo_nmi=1", True),
        ("quiet irqchip.gicv3-pseudo-nmi=yes ro", True),
        ("irqchip.gicv3_pseudo_nmi=on irqchip.gicv3_pseudo_nmi=0", False),
        ("irqchip.gicv3_pseudo_nmi=1 irqchip.gicv3_pseudo_nmi=maybe", True),
        ('irqchip.gicv3_pseudo_nmi="1"', True),
        ('"irqchip.gicv3_pseudo_nmi=1"', True),
        ("irqchip.gicv3_pseudo_nmi=enable", None),
        ("irqchip.gicv3_pseudo_nmi=1 irqchip.gicv3_pseudo_nmi=disable", None),
        ("irqchip.gicv3_pseudo_nmi=disable irqchip.gicv3_pseudo_nmi=1", True),
        ("-- irqchip.gicv3_pseudo_nmi=1", False),
        ("xirqchip.gicv3_pseudo_nmi=1", False),
    ],
)
def test_command_line_wants_pseudo_nmi(text: str, wanted: bool | None) -> None:
    assert wants_pseudo_nmi(text) is wanted


def test_parameters() -> None:
    assert parse_parameters('a b=1 c="x y" d="') == (("a", None), ("b", "1"), ("c", "x y"), ("d", ""))
    assert [parse_bool(text) for text in ("Y", "off", "o", "", None, "2")] == [
        True,
        False,
        None,
        None,
        None,
        None,
    ]
    assert public_part("root=/dev/sda crashkernel=512M password=x quiet") == "crashkernel=512M quiet"
    assert public_part('"quiet" "password=x"') == '"quiet"'


@given(st.text(max_size=200))
def test_random_command_line_never_raises(text: str) -> None:
    wants_pseudo_nmi(text)
    public_part(text)


def test_cpulist() -> None:
    assert parse_cpulist("0-1,3\n") == (0, 1, 3)
    assert parse_cpulist("7") == (7,)
    for bad in ("", "x", "1,", "0-99999999", "4096", "3-", "3-1", "1,1", "٣"):
        assert parse_cpulist(bad) == ()


def test_cpuinfo() -> None:
    grace = (
        "processor\t: 0\nCPU implementer\t: 0x41\nCPU variant\t: 0x0\nCPU part\t: 0xd4f\nCPU revision\t: 0\n"
    )
    assert parse_architecture(grace) == "arm64"
    cpus = parse_cpuinfo(grace + "\n" + grace.replace(": 0\n", ": 1\n", 1))
    assert (cpus.online, cpus.midr, cpus.name) == (2, 0x410FD4F0, "Neoverse V2")
    assert cpus.kinds == (("Neoverse V2", 2),)
    unknown = parse_cpuinfo("processor\t: 0\nCPU implementer\t: 0x99\nCPU part\t: 0x001\n")
    assert (unknown.midr, unknown.name, unknown.kinds) == (0x990F0010, None, (("0x990f0010", 1),))
    assert parse_cpuinfo("") == (0, None, None, ())


def test_field_begins_its_line() -> None:
    assert parse_cpuinfo("processor\t: 0CPU implementer\t: 0x41\nCPU part\t: 0xd4f\n").midr is None
    assert parse_cpuinfo("processor\t: 0\nCPU implementer\n: 0x41\nCPU part\t: 0xd4f\n").midr is None


@pytest.mark.parametrize(
    ("cpuinfo", "architecture"),
    [
        ("processor\t: 0\nvendor_id\t: GenuineIntel\ncpu family\t: 6\n", "x86"),
        ("vendor_id       : IBM/S390\n", "s390"),
        ("processor\t: 0\ncpu\t\t: POWER9, altivec supported\n", "powerpc"),
        ("processor\t: 0\nhart\t\t: 0\nisa\t\t: rv64imafdc\n", "riscv"),
        ("model name\t: ARMv7 Processor\nCPU implementer\t: 0x41\nCPU architecture: 7\n", "arm"),
        ("CPU implementer\t: 0x41\nCPU architecture: 8\n", "arm64"),
        ("", None),
        ("processor\t: 0\n", None),
    ],
)
def test_architecture_needs_positive_evidence(cpuinfo: str, architecture: str | None) -> None:
    assert parse_architecture(cpuinfo) == architecture


@given(st.text(max_size=300))
def test_random_cpuinfo_never_raises(text: str) -> None:
    parse_cpuinfo(text)
    parse_architecture(text)


INTERRUPTS = """            CPU0       CPU2       CPU3
  11:        701        136        110  GICv3                       27 Level     arch_timer
  12:          1          2          3  GICv3                       26 Level     arch_timer
IPI1:        136        302         49  Function call interrupts
IPI6:          0          5          0  CPU backtrace interrupts
 Err:          0
"""


def test_interrupt_rows_by_their_text() -> None:
    assert parse_interrupts(INTERRUPTS, "CPU backtrace interrupts") == {0: 0, 2: 5, 3: 0}
    assert parse_interrupts(INTERRUPTS, "arch_timer") == {0: 702, 2: 138, 3: 113}
    assert parse_interrupts(INTERRUPTS, "no such row") is None
    assert parse_interrupts("", "arch_timer") is None


def test_count_of_thousands_of_digits() -> None:
    """Python does not convert them: such a row is damaged, as is a value of a sysctl."""
    assert parse_interrupts(INTERRUPTS.replace(" 5 ", f" {'9' * 5000} "), "CPU backtrace interrupts") is None
    assert parse_number(f"{2**64 - 1}\n") == 2**64 - 1
    assert parse_number("9" * 5000) is None
    assert parse_number("4\t4\t1\t" + "7" * 400) is None


@given(cut=st.integers(0, len(INTERRUPTS)), noise=st.text(max_size=30))
def test_damaged_interrupts_give_no_count(cut: int, noise: str) -> None:
    counts = parse_interrupts(INTERRUPTS[:cut] + "\n" + noise, "CPU backtrace interrupts")
    assert counts in (None, {0: 0, 2: 5, 3: 0})


@given(seconds=st.floats(0.2, 30))
def test_bpf_program_spins_in_short_calls(seconds: float) -> None:
    program = assemble(7, seconds)
    assert len(program) % 8 == 0
    instructions = [struct.unpack("<BBhi", program[at : at + 8]) for at in range(0, len(program), 8)]
    calls = [
        at for at, (code, registers, _o, _i) in enumerate(instructions) if (code, registers) == (0x85, 0x10)
    ]
    targets = {at + 1 + instructions[at][3] for at in calls}
    assert len(targets) == 1
    each = next(immediate for code, _r, _o, immediate in instructions if code == 0x07)
    assert each <= 0.25e9
    assert abs(each * len(calls) - seconds * 1e9) < len(calls)
    assert instructions[targets.pop() - 1][0] == 0x95  # the instruction before the function is an exit


@given(seconds=st.floats(0.2, 13))
def test_bpf_program_with_counter_ends(seconds: float) -> None:
    """Its loop has a counter that outlasts the time, and jumps back only while the time is not over."""
    program = assemble_with_counter(7, 8, seconds)
    instructions = [struct.unpack("<BBhi", program[at : at + 8]) for at in range(0, len(program), 8)]
    (counter,) = (at for at, one in enumerate(instructions) if one[0] == 0x35)
    assert instructions[counter][3] >= seconds * COPIES_PER_SECOND
    (back,) = (at for at, one in enumerate(instructions) if one[0] == 0xAD)
    assert back + 1 + instructions[back][2] == counter
    assert counter + 1 + instructions[counter][2] == back + 1
    assert (0xB7, 2, 0, COPIED_BYTES) in instructions[counter:back]
    low, high = next(
        (one[3], instructions[at + 1][3]) for at, one in enumerate(instructions) if one[:2] == (0x18, 1)
    )
    assert abs(high * 2**32 + low % 2**32 - seconds * 1e9) < 1
    assert instructions[-1][0] == 0x95
    assert not any(one[0] == 0xE5 for one in instructions)


@given(st.sets(st.text("ab_$", min_size=1, max_size=5), max_size=6), st.text("ab_$. \n", max_size=60))
def test_words_that_begin_alike(names: set[str], text: str) -> None:
    """Each word is found at each of its places, however many others begin like it."""
    words = {f" {name}" for name in names}
    expected = {word for word in words if f"{word}\n" in text or f"{word}." in text}
    found = find_words(text.encode(), (word.encode() for word in words), b"\n.")
    assert found == {word.encode() for word in expected}
