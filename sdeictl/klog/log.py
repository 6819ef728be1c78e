"""Kernel logs as records: /dev/kmsg, dmesg, dmesg -r, the journal, pstore and serial consoles. No I/O.

Formats: Documentation/ABI/testing/dev-kmsg, print_prefix() in kernel/printk/printk.c (Linux 7.3). The content
decides about the format, never the name of a file.
"""

from __future__ import annotations

import re

from sdeictl.klog.boots import Boots
from sdeictl.klog.kmsg import is_kmsg, parse_kmsg
from sdeictl.klog.records import KernelLog

_COLOUR = re.compile(r"\x1b\[[0-9;]{0,20}[mK]")
_JOURNAL_STARTS = (b'{"', b'{ "')
"""How the output of `journalctl -o json` begins; no kernel log begins like this."""


def parse_log(data: bytes) -> KernelLog:
    """Return the kernel's records in a log of any known format; never raises.

    Left out are records of other facilities, lines that are not kernel text, an unterminated last line (it
    may be cut short, so it is not evidence) and quotations: a console that shows dmesg or a pstore record
    repeats lines that were already read.
    """
    relayed = data.startswith(_JOURNAL_STARTS)
    if relayed:
        from sdeictl.klog.journald import parse_journal  # noqa: PLC0415 - a probe rarely reads a journal

        data = parse_journal(data)
    lines = [_clean(line) for line in data.decode("utf-8", "replace").split("\n")[:-1]]
    if is_kmsg(lines):
        parsed = list(parse_kmsg(lines))
        lost = sum(line.lost_before for line in parsed)
    else:
        from sdeictl.klog.messages.printk import dropped_records  # noqa: PLC0415 - a probe rarely reads text
        from sdeictl.klog.text import is_relayed, parse_text  # noqa: PLC0415 - a probe rarely reads text

        parsed = list(parse_text(lines))
        lost = sum(map(dropped_records, lines))
        relayed = relayed or is_relayed(lines)
    return KernelLog(tuple(Boots(parsed).records()), lost, relayed)


def _clean(line: str) -> str:
    r"""Return a line without colours and trailing blanks, and with real tabs (syslog: #011, dmesg: \x09)."""
    if "\x1b" in line:
        line = _COLOUR.sub("", line)
    if "#011" in line or "\\x09" in line:
        line = line.replace("#011", "\t").replace("\\x09", "\t")
    return line.rstrip()
