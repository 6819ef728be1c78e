"""Bytes that no healthy host has: they cause no exception and no hang, and need little memory."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdeictl.formats.acpi import HEADER
from sdeictl.host import directory, files
from sdeictl.host.files import open_large, open_named, read_file
from sdeictl.host.open import open_root
from sdeictl.probe.capture import make_capture, pack
from sdeictl.probe.collect import collect
from sdeictl.probe.report import build_report
from sdeictl.probe.text import render_report
from sdeictl.text import to_plain
from tests.conftest import HOST_NAMES, NMI_PATHS, load_host
from tests.support.limited import run
from tests.test_analysis_properties import EXAMPLES
from tests.test_idle import device, length, package
from tests.test_monotone import ROOTS, Damaged
from tests.tools.bench_probe import add_symbols

MEMORY_LIMIT_MIB = 64
SECONDS = 60
CORPUS = {
    (name, f"/{path.relative_to(load_host(name).root)}"): path.read_bytes()
    for name in HOST_NAMES
    for path in sorted(load_host(name).root.rglob("*"))
    if path.is_file() and not path.is_symlink() and path.name != "sdeictl-capture.json"
}
# Texts that broke other parsers: signs, bases, digits of other scripts, separators, control characters.
TOKENS = st.sampled_from(
    [b"-1", b"010", b"0x", b"1e9", b"\xd9\xa3", b"\0", b"\xff\xfe", b"\r", b"\x1b[2J", b"%s", b"../", b"=",
     b":", b"\n", b'"', b"9" * 5000, b"\xe2\x80\xa8", b"CPU", b"[", b"sdei: "]
)  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn) -> tuple[str, str, bytes]:
    name, path = draw(st.sampled_from(sorted(CORPUS)))
    data = bytearray(CORPUS[name, path])
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(data)))
        length = draw(st.integers(0, 40))
        piece = draw(TOKENS | st.binary(max_size=20) | st.just(bytes(data[at : at + length]) * 2))
        data[at : at + length] = piece
    return name, path, bytes(data)


@settings(max_examples=EXAMPLES)
@given(mutated())
def test_mutated_file_gives_a_report(sample: tuple[str, str, bytes]) -> None:
    name, path, data = sample
    report = build_report(collect(Damaged(ROOTS[name], {path: data})))
    assert "\x1b" not in to_plain(render_report(report))
    json.dumps(report).encode()


def huge_table(signature: bytes) -> bytes:
    return signature + (0xFFFFFFFF).to_bytes(4, "little") + bytes(200)


def overlapping(tree: Path) -> None:
    """Write a table APIC with a first subtable that overlaps the second."""
    path = tree / "sys/firmware/acpi/tables/APIC"
    data = bytearray(path.read_bytes())
    data[45] = 255
    data[9] = (data[9] - sum(data)) & 0xFF
    path.write_bytes(data)


def deep_directories(tree: Path) -> None:
    node = tree / "sys/firmware/devicetree/base/firmware"
    for _ in range(300):
        node /= "sdei"
    node.mkdir(parents=True)


def many_states(tree: Path) -> None:
    for cpu in range(1024):
        for state in range(4):
            directory = tree / f"sys/devices/system/cpu/cpu{cpu}/cpuidle/state{state}"
            directory.mkdir(parents=True, exist_ok=True)
            (directory / "usage").write_text("9" * 5000 + "\n")


def link_loop(tree: Path) -> None:
    shutil.rmtree(tree / "sys/firmware/acpi/tables")
    (tree / "sys/firmware/acpi/tables").symlink_to("/sys/firmware/acpi/tables")


def fifo(tree: Path) -> None:
    (tree / "proc/cpuinfo").unlink()
    os.mkfifo(tree / "proc/cpuinfo")


def socket_file(tree: Path) -> None:
    (tree / "proc/version").unlink()
    before = os.getcwd()
    os.chdir(tree / "proc")  # the path of a socket has at most 107 characters
    with socket.socket(socket.AF_UNIX) as end:
        end.bind("version")
    os.chdir(before)


def aml(code: bytes) -> Callable[[Path], None]:
    """Return a change that adds a DSDT, and an idle state of ACPI in use, so that it is read."""

    def change(tree: Path) -> None:
        for path, text in (
            ("cpuidle/current_driver", "acpi_idle"), ("cpu0/cpuidle/state1/usage", "7"),
            ("cpu0/cpuidle/state1/name", "LPI-1"), ("cpu0/cpuidle/state1/latency", "1"),
        ):  # fmt: skip
            write(f"sys/devices/system/cpu/{path}", f"{text}\n".encode())(tree)
        write("sys/firmware/acpi/tables/DSDT", bytes(HEADER.size) + code)(tree)

    return change


def below_a_long_path(code: bytes) -> bytes:
    for _ in range(20):
        code = b"\x10" + length(b"\x2f\xff" + b"ABCD" * 255 + code)
    return code


def many_names() -> bytes:
    letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    names = (bytes(letters[at // 26**place % 26] for place in range(4)) for at in range(1000, 21_000))
    return b"".join(b"\x08" + name + b"\0" for name in names)


def bomb() -> bytes:
    """Return packages that name the next one 20 times each, 12 deep."""
    chain = b"".join(b"\x08P%03d" % at + package(*[b"P%03d" % (at + 1)] * 20) for at in range(12))
    lpi = b"\x08_LPI" + package(b"\0", b"\0", b"\1", *[b"P000"] * 20)
    return chain + b"\x08P012\x01" + device("CPU0", lpi)


def write(path: str, data: bytes) -> Callable[[Path], None]:
    def change(tree: Path) -> None:
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_bytes(data)

    return change


MIB = 1 << 20
TREES: dict[str, Callable[[Path], None]] = {
    "a table of length 0": write("sys/firmware/acpi/tables/SDEI", b""),
    "a table of 4 GiB": write("sys/firmware/acpi/tables/HEST", huge_table(b"HEST")),
    "a table of 40 MiB": write("sys/firmware/acpi/tables/APIC", bytes(40 * MIB)),
    "overlapping subtables": overlapping,
    "a line of 1 MB in the config": write(
        "proc/config.gz", gzip.compress(b'CONFIG_CMDLINE="' + b"x" * MIB + b'"\nCONFIG_ARM64=y\n' * 9)
    ),
    "a config that unpacks to 1 GiB": write("proc/config.gz", gzip.compress(bytes(64 * MIB), 1) * 16),
    "300,000 symbols": lambda tree: add_symbols(tree / "proc/kallsyms", 300_000),
    "symbols in one line": write("proc/kallsyms", b"x" * 40 * MIB),
    "a command line of 1 MB": write("proc/cmdline", b"a=" + b'"' * MIB + b"\n"),
    "a cpuinfo of 40 MiB": write("proc/cpuinfo", b"processor\t: 0\n" * (40 * MIB // 14)),
    "a cpuinfo of empty lines": write("proc/cpuinfo", b"\n" * (4 * MIB)),
    "interrupts of 20 MiB": write("proc/interrupts", b"CPU0 " * (4 * MIB)),
    "hotplug states without end": write("sys/devices/system/cpu/hotplug/states", b"1: a\n" * 500_000),
    "a log of one line": write("kmsg.txt", b"6,0,0,-;" + b"x" * 20 * MIB),
    "a log of zeros": write("kmsg.txt", bytes(20 * MIB)),
    "a sysctl of 30 MiB": write("proc/sys/kernel/sysrq", b"1" * 30 * MIB),
    "consoles without end": write("proc/consoles", b"ttyS0 -W- (E)\n" * 250_000),
    "a drill that is a bomb": write(
        "var/lib/sdeictl/drills/20261123T182448.804820Z-backtrace.json", b"[" * 3 * MIB
    ),
    "1,024 CPUs with four idle states": many_states,
    "deep directories": deep_directories,
    "a loop of links": link_loop,
    "a pipe": fifo,
    "a socket": socket_file,
    "a row of interrupts of 20 MiB": write(
        "proc/interrupts", b" CPU0\n9: " + b"1 " * (10 * MIB) + b"\nIPI5: 3 Timer broadcast interrupts\n"
    ),
    "a row without end": write("proc/interrupts", b" CPU0\nIPI5: " + b"Timer broadcast interrupts " * 99_999),
    "a count of 5,000 digits": write(
        "proc/interrupts", b"       CPU0\nIPI5: " + b"9" * 5000 + b" Timer broadcast interrupts\n"
    ),
    "a header of interrupts of 20 MiB": write("proc/interrupts", b" CPU0" * (4 * MIB) + b"\nIPI5: 3 x\n"),
    "an option of 13 MiB": write("proc/config.gz", gzip.compress(b"CONFIG_ARM64=y CONFIG_X86" * (MIB // 2))),
    "requests to all CPUs": write(
        "kmsg.txt",
        b"".join(b"6,%d,%d,-;Sending NMI from CPU 0 to CPUs 1-4095:\n" % (at, at) for at in range(5000)),
    ),
    "code without end": aml(b"\x08AAAA\x0d" * 100_000),
    "a scope far outside": aml(b"\x08" + b"^" * MIB),
    "packages of packages": aml(bomb()),
    "buffers over each other": aml(b"\x08AAAA\x12\x4f\xff\x01\x11\xcf\xff\x0f\0\x0a\1" * 9999 + bytes(MIB)),
    "code of 8 MiB": aml(bytes(8 * MIB)),
    "objects below a long path": aml(below_a_long_path(many_names())),
    "references below a long path": aml(
        below_a_long_path(device("CPU0", b"\x08_LPI\x12" + length(b"\3\0\0\1" + b"ZZZZ" * 3000)))
    ),
    "rows of one interrupt": write(
        "proc/interrupts", b"       CPU0\n" + b"Timer broadcast interrupts\n" * (MIB // 2)
    ),
}


@pytest.mark.parametrize("name", TREES)
def test_hostile_tree_costs_little(name: str, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    shutil.copytree(load_host("acpi-sdei").root, tree, symlinks=True)
    (tree / "sdeictl-capture.json").unlink()
    TREES[name](tree)
    outcome = run("probe", "--root", tree, "--format", "json")
    assert outcome.stderr == ""
    path = json.loads(outcome.stdout)["verdict"]["nmi_path"]
    assert path in (NMI_PATHS["acpi-sdei"], "unknown")
    assert outcome.status == {"sdei": 0, "unknown": 3}[path]
    assert outcome.peak_mib <= MEMORY_LIMIT_MIB


def test_capture_bomb_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bomb.tar.gz").write_bytes(gzip.compress(bytes(64 * MIB)))
    outcome = run("probe", "--root", tmp_path / "bomb.tar.gz")
    assert outcome.status == 3
    assert "cannot be read as a capture" in outcome.stderr
    assert outcome.peak_mib <= MEMORY_LIMIT_MIB


def test_tree_before_the_damage(tmp_path: Path) -> None:
    """The trees above lose their verdict only because of their damage."""
    shutil.copytree(load_host("acpi-sdei").root, tmp_path / "tree", symlinks=True)
    (tmp_path / "tree/sdeictl-capture.json").unlink()
    assert build_report(collect(open_root(str(tmp_path / "tree"))))["verdict"]["nmi_path"] == "sdei"


def test_device_is_not_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    """To open a watchdog starts it."""

    def refuse(*_arguments: object) -> int:
        raise AssertionError("it was opened")

    monkeypatch.setattr(os, "open", refuse)
    for path in ("/dev/null", "/dev/zero", "/"):
        for read in (read_file, open_large, partial(open_large, device=True)):
            with pytest.raises(OSError, match="not a regular file"):
                read(path)


def test_idle_fifo_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "WRITER_SECONDS", 0.01)
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("fifo")
    for name in ("fifo", "link"):
        with pytest.raises(OSError, match="nobody wrote to it"):
            open_named(str(tmp_path / name))


@pytest.mark.parametrize("command", ["analyze", "probe --root . --kernel-log", "bench compare"])
def test_pipe_of_the_shell_is_read(tmp_path: Path, command: str) -> None:
    """`<(...)` has a writer, which may need time."""
    (tmp_path / "kmsg.txt").write_bytes(b"6,0,1000000,-;Booting Linux\n")
    script = f"{sys.executable} -m sdeictl {command} <(sleep 0.3; cat kmsg.txt) <(cat kmsg.txt)"
    script = script.replace(" <(cat kmsg.txt)", "") if "probe" in command else script
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, capture_output=True, check=False, timeout=SECONDS,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )  # fmt: skip
    assert done.returncode in (0, 3)
    assert b"FIFO" not in done.stderr
    assert b"1 kernel record" in done.stdout or "analyze" not in command


def test_tree_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that are small enough each are too much together."""
    (tmp_path / "a").write_bytes(b"1" * 100)
    for limit, value in (("MAX_READ_BYTES", 350), ("MAX_CALLS", 3)):
        monkeypatch.setattr(directory, limit, value)
        root = directory.DirectoryRoot(str(tmp_path))
        with pytest.raises(OSError, match="more files or data than a host has"):
            b"".join(root.read("/a") for _ in range(5))


def test_limit_for_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_NAMES", 3)
    for name in "abcd":
        assert files.list_directory(str(tmp_path)) == tuple("abcd"[: ord(name) - ord("a")])
        (tmp_path / name).touch()
    with pytest.raises(OSError, match="more than 3 names"):
        files.list_directory(str(tmp_path))


@pytest.mark.parametrize(
    "code", [bomb(), b"\x08AAAA\x0d" * 100_000, b"\x08AAAA\x0a\1" * 120_000, bytes(8 * MIB)]
)
def test_capture_keeps_why_code_is_unknown(tmp_path: Path, code: bytes) -> None:
    """The capture has no code: only its manifest can say why the idle states are unknown."""
    shutil.copytree(load_host("acpi-sdei").root, tmp_path / "tree", symlinks=True)
    (tmp_path / "tree/sdeictl-capture.json").unlink()
    aml(code)(tmp_path / "tree")
    made = make_capture(open_root(str(tmp_path / "tree")))
    (tmp_path / "c.tar.gz").write_bytes(pack(made))
    assert made.facts.lpi_unknown
    assert collect(open_root(str(tmp_path / "c.tar.gz"))).lpi_unknown == made.facts.lpi_unknown
