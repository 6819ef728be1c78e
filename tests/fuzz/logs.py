"""Pieces of the kernel logs of captured hosts, in each format in which a log reaches sdeictl."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from functools import cache

from sdeictl.klog.analysis import Source, analyze_files
from sdeictl.klog.episodes import Analysis
from sdeictl.klog.public import MESSAGES
from tests.conftest import load_host
from tests.fuzz.hosts import NAMES
from tests.test_analysis_properties import as_dmesg_r, as_kmsg
from tests.test_canaries import as_journal, as_syslog

WORDS = (
    *(message.begins for message, _render in MESSAGES),
    "] ", "[    1.000000] ", "[T1] ", "<6>", "6,1,1000000,-;", "caller=C1;", "CPU: 1 PID: 1 Comm: ",
    "pstate: 600000c5 (nZCv daIF", "pmr: 000000e0", "pmr_save: 000000c0", "pc : spin+0x1/0x2",
    "Call trace:\n", "NMI backtrace for cpu 1", " to CPUs 0-1,3:\n", "kernel: ", "-- Reboot --\n", "\n> ",
    "=\n", "=20", "&lt;", "<pre>", "```\n", '{"', '"MESSAGE":', "_TRANSPORT=kernel\n", "Panic#1 Part1\n",
    "\r\n", "\x1b[0m", "\\x0a", "** 7 printk messages dropped **\n", "message repeated 2 times: [ ",
    " haven't responded to the NMI: 1-3",
)  # fmt: skip
MARKS = (b"Sending NMI", b"sysrq: Show", b"panic", b"hard LOCKUP", b"self-detected", b"SMP: stopping")
"""Where a log has episodes."""
_BYTES = 1800


def _mail(text: bytes) -> bytes:
    return b"".join(b"> " + line for line in text.splitlines(keepends=True))


def _quoted_printable(text: bytes) -> bytes:
    return text.replace(b"=", b"=3D").replace(b"NMI", b"NM=\nI")


def _page(text: bytes) -> bytes:
    return b"<pre>" + text.replace(b"<", b"&lt;") + b"</pre>\n"


def _untimed(text: bytes) -> bytes:
    return "".join(f"{line}\n" for line in _lines(text)).encode()


def _with_clock(text: bytes) -> bytes:
    return "".join(f"[Fri Nov 27 10:00:00 2026] {line}\n" for line in _lines(text)).encode()


def _syslog(text: bytes) -> bytes:
    return as_syslog(_lines(text)).encode()


def _journal(text: bytes) -> bytes:
    return as_journal(_lines(text)[:8]).encode()


def _fields(text: bytes) -> bytes:
    head = "_TRANSPORT=kernel\nSYSLOG_FACILITY=0\nPRIORITY=6\n"
    entries = (
        f"{head}_SOURCE_MONOTONIC_TIMESTAMP={at}000\nMESSAGE={line}\n\n"
        for at, line in enumerate(_lines(text)[:8])
    )
    return "".join(entries).encode()


def _dmesg_json(text: bytes) -> bytes:
    entries = [{"pri": 6, "time": at / 8, "msg": line} for at, line in enumerate(_lines(text)[:12])]
    return json.dumps({"dmesg": entries}, indent=3).encode()


FORMS: tuple[Callable[[bytes], bytes], ...] = (
    lambda text: text, as_kmsg, as_dmesg_r, _syslog, _journal, _fields, _dmesg_json, _mail, _quoted_printable,
    _page, _untimed, _with_clock,
    lambda text: text.replace(b"\r", b"").replace(b"\n", b"\r\n"),
    lambda text: text.replace(b"\n", b" "),
    lambda text: b"Panic#1 Part2\n" + text + b"Panic#1 Part1\n" + text,
    lambda text: text + b"-- Reboot --\n" + text,
    lambda text: text.decode("utf-8", "replace").encode("utf-16"),
)  # fmt: skip


@cache
def logs() -> tuple[bytes, ...]:
    """Return pieces of logs, each in some of the formats."""
    pieces = list(dict.fromkeys(piece for name in NAMES for piece in _pieces(load_host(name).console)))
    return tuple(
        form(pieces[(5 * number + turn) % len(pieces)])
        for number, form in enumerate(FORMS)
        for turn in range(3)
    )


def _pieces(console: bytes) -> Iterator[bytes]:
    """Yield the beginning of a console, and what follows each mark."""
    console = console[max(console.find(b"Booting Linux") - 40, 0) :]
    for start in (0, *(console.rfind(b"\n", 0, at) + 1 for at in map(console.find, MARKS) if at > 0)):
        piece = console[start : start + _BYTES]
        yield piece[: piece.rfind(b"\n") + 1]


def _lines(text: bytes) -> list[str]:
    """Return the messages without their times."""
    return [line.partition("] ")[2] for line in text.decode("utf-8", "replace").splitlines() if "] " in line]


def analyze_pieces(*logs: Iterable[bytes]) -> Analysis:
    """Return the analysis of files that arrive in pieces."""
    return analyze_files([Source(f"log {number}", pieces, tuple) for number, pieces in enumerate(logs)])


def pieces_of(data: bytes) -> Iterator[bytes]:
    """Yield an input in pieces, whose size depends on the input."""
    size = 1 + sum(data[:16]) % 199
    for at in range(0, len(data), size):
        yield data[at : at + size]
