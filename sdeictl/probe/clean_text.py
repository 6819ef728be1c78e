"""What of the text files in /proc and /sys may leave the host. No I/O.

Each function returns a file that the probe reads as it reads the whole one.
"""

from __future__ import annotations

import gzip
import re

from sdeictl.formats.cmdline import public_part
from sdeictl.formats.interrupts import BACKTRACE_ROW, BROADCAST_ROW, STOP_ROW, counts_of_row
from sdeictl.formats.kconfig import gunzip
from sdeictl.klog.messages import boot
from sdeictl.klog.public import LEFT_OUT
from sdeictl.probe import names
from sdeictl.probe.kept import Kept
from sdeictl.probe.kernel import parse_config
from sdeictl.probe.settings import CONSOLE_LINE, GIC_ROW, is_cpu_header, rows_of
from sdeictl.text import lines_of

BROKEN = LEFT_OUT.encode()
"""A file that the probe cannot read, whatever it should be: no line, no list, no table, no JSON."""
OTHER = "other"
"""Stands for a name."""
_CPUINFO_LINE = re.compile(
    r"(?:processor|hart)[ \t]*: \d{1,5}|cpu family[ \t]*: \d{1,3}"
    r"|CPU (?:implementer|architecture|variant|part|revision)[ \t]*: (?:0x)?[0-9a-fA-F]{1,4}",
    re.ASCII,
)
_OTHER_CPUS = (
    (r"vendor_id[ \t]*: IBM/S390", "vendor_id\t: IBM/S390"),
    (r"vendor_id[ \t]*: ", f"vendor_id\t: {LEFT_OUT}"),
    (r"cpu[ \t]*: (?:POWER|PPC|Cell|e\d)", "cpu\t\t: POWER"),
    (r"(?:hart|isa)[ \t]*: ", f"isa\t\t: {LEFT_OUT}"),
    (r"CPU Family[ \t]*: Loongson", "CPU Family\t: Loongson"),
    (r"CPU implementer[ \t]*: ", f"CPU implementer\t: {LEFT_OUT}"),
)  # fmt: skip
"""Lines of /proc/cpuinfo that show the architecture by their beginning, and what stands for them."""


def clean_cpuinfo(text: str) -> str:
    """Return /proc/cpuinfo with the numbers that identify each core, and what shows the architecture."""
    return "".join(f"{line}\n" for line in map(_cpuinfo_line, text.split("\n")) if line)


def _cpuinfo_line(line: str) -> str:
    if match := _CPUINFO_LINE.match(line):
        return match[0]
    return next((shown for pattern, shown in _OTHER_CPUS if re.match(pattern, line)), "")


def clean_version(text: str) -> str:
    """Return /proc/version with the release only."""
    match = boot.VERSION.match(text)
    return f"{boot.VERSION.begins}{match[1]} {LEFT_OUT}\n" if match else f"{LEFT_OUT}\n"


def clean_command_line(text: str) -> str:
    """Return /proc/cmdline with the public parameters."""
    # read_command_line() refuses any other text.
    return f"{public_part(text)}\n" if text.endswith("\n") and text[:-1].isprintable() else LEFT_OUT


def clean_config(source: str, data: bytes) -> bytes:
    """Return a kernel configuration with the options that a check reads; `source` is its path."""
    values = parse_config(source, data, Kept()).values
    lines = (
        f"# CONFIG_{name} is not set" if value == "n" else f"CONFIG_{name}={value}" for name, value in values
    )
    return "".join(f"{line}\n" for line in (f"# {LEFT_OUT}", *lines)).encode() if data else b""


def clean_config_gz(source: str, data: bytes) -> bytes:
    """Return a packed kernel configuration as clean_config() does."""
    try:
        text = gunzip(data)
    except ValueError:
        return BROKEN
    return gzip.compress(clean_config(source, text), mtime=0)


def clean_hotplug_states(text: str) -> str:
    """Return the hotplug states with that of SDEI, and the last one, which shows that the list is whole."""
    named = [line.partition(":")[2].strip() for line in lines_of(text) if ":" in line]
    kept = [f"0: {name}" for name in named[:-1] if name == "SDEI"]
    last = [f"0: {name if name in ('SDEI', 'online') else LEFT_OUT}" for name in named[-1:]]
    return "\n".join([*kept, *last]) + ("\n" if text.endswith("\n") else "")


def clean_interrupts(data: bytes) -> bytes:
    """Return /proc/interrupts with a row for each interrupt controller and for three kinds of IPI."""
    header, _, rows = data.partition(b"\n")
    controllers = sorted({match[1] for match in GIC_ROW.finditer(data)})
    if not is_cpu_header(header):
        return BROKEN
    kept = [header]
    kept += [b"IRQ: 0 %b 0 Level %b" % (gic, BROKEN) for gic in controllers]
    kept += [b"IPI: %b" % row.encode() for row in (BACKTRACE_ROW, STOP_ROW) if row.encode() in data]
    for row in rows_of(rows, BROADCAST_ROW):
        kept.append(" ".join(["IPI:", *map(str, counts_of_row(row)), BROADCAST_ROW]).encode())
    if rows and len(kept) == 1:
        kept.append(BROKEN)
    return b"\n".join(kept) + (b"\n" if rows else b"")


def clean_consoles(text: str) -> str:
    """Return /proc/consoles with the known names."""
    lines = [CONSOLE_LINE.fullmatch(line) for line in lines_of(text)]
    if not text.endswith("\n") or None in lines:
        return LEFT_OUT
    shown = [names.console(line[1]) for line in lines if line]
    return "".join(f"{OTHER if name == names.OTHER else name} -W- {LEFT_OUT}\n" for name in shown)
