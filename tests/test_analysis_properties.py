"""A damaged log never causes an exception, makes a silent CPU answer, or mixes up registers of CPUs."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdeictl.klog.analysis import analyze
from sdeictl.klog.episodes import Analysis, Backtrace
from sdeictl.klog.log import parse_log
from tests.conftest import HOST_NAMES, CapturedHost, load_host

EXAMPLES = int(os.environ.get("SDEICTL_EXAMPLES", "100"))
"""How many examples are tried for each property; `make soak` tries more."""
HOSTS = {name: load_host(name) for name in HOST_NAMES}
SILENT_HOSTS = ("dt-none", "dt-advertised")
CONTROL_SEQUENCE = re.compile(rb"\x1b\[[=0-9;]*[A-Za-z]")
RECORD = re.compile(rb"\[ *(\d+)\.(\d{6})\] (.*)")


def read(log: bytes) -> Analysis:
    return analyze(parse_log(log))


def kernel_lines(console: bytes) -> list[bytes]:
    """Return the lines without control sequences, which UEFI prints before the first line of the kernel."""
    return CONTROL_SEQUENCE.sub(b"", console).splitlines()


def as_kmsg(console: bytes) -> bytes:
    """Return the same records in the format of /dev/kmsg."""
    out, sequence = [], 0
    for line in kernel_lines(console):
        if match := RECORD.match(line.rstrip(b"\r")):
            text = match[3].replace(b"\t", rb"\x09")
            out.append(b"6,%d,%d,-;%b\n" % (sequence, int(match[1] + match[2]), text))
            sequence += 1
    return b"".join(out)


def as_dmesg_r(console: bytes) -> bytes:
    stamped = (line.rstrip(b"\r") for line in kernel_lines(console) if RECORD.match(line))
    return b"".join(b"<6>" + line + b"\n" for line in stamped)


FORMS = {"console": lambda log: log, "kmsg": as_kmsg, "dmesg -r": as_dmesg_r}


def assert_true(host: CapturedHost, analysis: Analysis, *, damaged: bool = False) -> None:
    """Check the analysis against the story of the host; in a damaged log a pc may be wrong."""
    for episode in analysis.episodes:
        if not isinstance(episode, Backtrace):
            continue
        for cpu in episode.cpus:
            if host.wedged is None or cpu.cpu != host.wedged:
                assert cpu.pc is None or not cpu.pc.startswith("lkdtm_HARDLOCKUP")
                continue
            assert cpu.masked is not False
            if host.name in SILENT_HOSTS:
                assert cpu.state in ("silent", "pending"), cpu
            if cpu.pc is not None and not damaged:
                assert host.function is not None
                assert cpu.pc.startswith(host.function[: len(cpu.pc)])


@pytest.mark.parametrize("form", FORMS)
def test_formats_give_the_same_episodes(host: CapturedHost, form: str) -> None:
    assert read(FORMS[form](host.console)).episodes == read(host.console).episodes


def test_crlf_changes_nothing(host: CapturedHost) -> None:
    unix = host.console.replace(b"\r", b"")
    assert read(unix.replace(b"\n", b"\r\n")) == read(unix) == read(host.console)


@settings(max_examples=EXAMPLES)
@given(name=st.sampled_from(HOST_NAMES), form=st.sampled_from(sorted(FORMS)), where=st.floats(0, 1))
def test_cut_at_any_byte(name: str, form: str, where: float) -> None:
    log = FORMS[form](HOSTS[name].console)
    cut = round(where * len(log))
    assert_true(HOSTS[name], read(log[:cut]))
    assert_true(HOSTS[name], read(log[cut:]))


@pytest.mark.parametrize("name", ["dt-none", "dt-sdei", "dt-pnmi", "dt-both"])
def test_cut_inside_a_request(name: str) -> None:
    log = HOSTS[name].console
    start = log.index(b"sysrq: Show backtrace")
    body = log[log.rindex(b"\n", 0, start) + 1 :]
    for end in range(0, log.index(b"Watchdog detected") - start, 3):
        assert_true(HOSTS[name], read(body[:end]))


noise = st.binary(min_size=1, max_size=12).filter(lambda data: not re.search(rb"\d", data))


@settings(max_examples=EXAMPLES)
@given(
    name=st.sampled_from(HOST_NAMES),
    form=st.sampled_from(sorted(FORMS)),
    spots=st.lists(st.tuples(st.floats(0, 1), noise), min_size=1, max_size=40),
)
def test_serial_noise(name: str, form: str, spots: Sequence[tuple[float, bytes]]) -> None:
    log = FORMS[form](HOSTS[name].console)
    for where, junk in spots:
        at = round(where * len(log))
        log = log[:at] + junk + log[at:]
    assert_true(HOSTS[name], read(log), damaged=True)


@settings(max_examples=EXAMPLES)
@given(name=st.sampled_from(HOST_NAMES), where=st.floats(0, 1), damage=st.lists(st.floats(0, 1), max_size=3))
def test_dmesg_quoted_into_the_console(name: str, where: float, damage: Sequence[float]) -> None:
    lines = HOSTS[name].console.splitlines(keepends=True)
    at = round(where * len(lines))
    quote = [line.replace(b"\r", b"") for line in lines[:at] if RECORD.match(line)]
    for spot in damage:
        if quote:
            index = min(int(spot * len(quote)), len(quote) - 1)
            quote[index] = quote[index].replace(b"e", b"?e")
    quoted = b"".join([*lines[:at], b"# dmesg\r\n", *quote, *lines[at:]])
    if damage:
        assert_true(HOSTS[name], read(quoted), damaged=True)
    else:
        assert read(quoted).episodes == read(b"".join(lines)).episodes


@settings(max_examples=EXAMPLES)
@given(data=st.binary(max_size=2000))
def test_garbage_never_raises(data: bytes) -> None:
    read(data)


def test_huge_lines_and_lists() -> None:
    read(b"[    1.000000] " + b"NMI backtrace for cpu " * 50_000 + b"\n")
    read(b"[    1.000000] Sending NMI from CPU 0 to CPUs 0-99999999999:\n")
    read(b"[" + b" " * 1_000_000 + b"\n" + b"6,1,1,-;" + b"\\x0a" * 100_000 + b"\n")


# Interleaved records of several CPUs, built from lines of a real kernel


def answer(cpu: int) -> list[str]:
    return [
        f"NMI backtrace for cpu {cpu}",
        f"CPU: {cpu} UID: 0 PID: {80 + cpu} Comm: sh Not tainted 7.3.4-sdeictl-lab #3 PREEMPTLAZY  ",
        "Hardware name: linux,dummy-virt (DT)",
        f"pstate: 6000{cpu:02x}c5 (nZCv daIF -PAN -UAO -TCO -DIT -SSBS BTYPE=--)",
        f"pc : spin_on_{cpu}+0x8/0x24",
        "lr : lkdtm_do_action+0x1c/0x34",
        "sp : ffff800081fa3cf0",
        "x29: ffff800081fa3cf0 x28: ffff0000006bee00 x27: 0000000000000000",
        "Call trace:",
        f" spin_on_{cpu}+0x8/0x24 (P)",
        " direct_entry+0xa0/0x11c",
    ]


@st.composite
def interleaved(draw: st.DrawFn) -> list[tuple[int, str]]:
    """Return the answers of CPUs 1 to 3 to a request that also went to CPU 4, interleaved at random."""
    waiting = {cpu: answer(cpu) for cpu in (1, 2, 3)}
    out = []
    while waiting:
        cpu = draw(st.sampled_from(sorted(waiting)))
        out.append((cpu, waiting[cpu].pop(0)))
        if not waiting[cpu]:
            del waiting[cpu]
    return out


def render(records: Sequence[tuple[int, str]], callers: bool) -> bytes:
    asked = [(0, "Sending NMI from CPU 0 to CPUs 1-4:"), *records]
    lines = (
        f"[{10 + index / 1e4:12.6f}]{f'[    C{cpu}]' if callers else ''} {text}\n"
        for index, (cpu, text) in enumerate(asked)
    )
    return "".join(lines).encode()


@settings(max_examples=EXAMPLES)
@given(records=interleaved(), callers=st.booleans())
def test_interleaved_answers_stay_apart(records: list[tuple[int, str]], callers: bool) -> None:
    (episode,) = read(render(records, callers)).episodes
    assert isinstance(episode, Backtrace)
    for cpu in episode.cpus:
        if cpu.cpu in (0, 4):
            assert cpu.state in ("self", "pending")
            continue
        assert cpu.pc in (None, f"spin_on_{cpu.cpu}+0x8/0x24")
        assert cpu.pstate in (None, f"6000{cpu.cpu:02x}c5")
        if callers:
            assert (cpu.state, cpu.masked) == ("backtrace", True)
            assert cpu.pc is not None
