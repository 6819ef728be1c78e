"""Kernel logs as records: /dev/kmsg, dmesg, syslog, the journal, pstore and serial consoles. No I/O.

Formats: Documentation/ABI/testing/dev-kmsg, print_prefix() in kernel/printk/printk.c (Linux 7.3). The content
decides about the format, never the name of a file.
"""

from __future__ import annotations

from sdeictl.klog.boots import Boots
from sdeictl.klog.kmsg import is_kmsg, parse_kmsg
from sdeictl.klog.lines import clean, decode, split_lines
from sdeictl.klog.records import KernelLog, Line

CUT_LINE = "The last line has no line end and may be cut short, so it was left out."


def parse_log(data: bytes) -> KernelLog:
    """Return the kernel's records in a log of any known format; never raises.

    Left out are records of other facilities, lines that are not kernel text, an unterminated last line (it
    may be cut short, so it is not evidence) and quotations: a console that shows dmesg or a pstore record
    repeats lines that were already read.
    """
    raw, whole = split_lines(decode(data))
    lines = list(map(clean, raw))
    if is_kmsg(lines):
        parsed, lost, relayed = _read_kmsg(lines)
    else:
        parsed, lost, relayed = _read_text(lines)
    notes = () if whole or not parsed else (CUT_LINE,)
    return KernelLog(tuple(Boots(parsed).records()), lost, relayed, notes)


def _read_kmsg(lines: list[str]) -> tuple[list[Line], int, bool]:
    parsed = list(parse_kmsg(lines))
    return parsed, sum(line.lost_before for line in parsed), False


def _read_text(lines: list[str]) -> tuple[list[Line], int, bool]:
    """Return the lines of a log in another format, how many are lost, and whether it was relayed."""
    from sdeictl.klog.journald import is_journal, parse_entries  # noqa: PLC0415 - a probe rarely reads text
    from sdeictl.klog.messages.printk import dropped_records  # noqa: PLC0415
    from sdeictl.klog.text import is_relayed, parse_text  # noqa: PLC0415
    from sdeictl.klog.unwrap import unwrap  # noqa: PLC0415

    journal = is_journal(lines)
    lines = list(parse_entries(lines)) if journal else unwrap(lines)
    if is_kmsg(lines):
        return _read_kmsg(lines)
    parsed = list(parse_text(lines))
    return parsed, sum(map(dropped_records, lines)), journal or is_relayed(lines)
