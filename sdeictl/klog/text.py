"""Kernel logs in a text format: dmesg, dmesg -r, syslog, pstore and serial consoles. No I/O.

print_prefix() in kernel/printk/printk.c (Linux 7.3); sys-utils/dmesg.c of util-linux.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from sdeictl.klog.messages import backtrace, boot, rcu, stop
from sdeictl.klog.messages.printk import dropped_records
from sdeictl.klog.records import Line

# dmesg of util-linux prints a space before the caller; the kernel's console does not.
_STAMP = re.compile(r"(?:<(\d{1,10})>)?\[ *(\d{1,10}\.\d{6})\](?: ?\[ *([TC]\d{1,10})\])? ?", re.ASCII)
_LEVEL = re.compile(r"<(\d{1,10})>", re.ASCII)
_DECODED = re.compile(r"(\w{0,10}) *:\w{0,10} *: *", re.ASCII)
_DECODED_AT_END = re.compile(r"(?:^|\s)(\w{0,10}) *:\w{0,10} *: *$", re.ASCII)
_PREFIX_CHARACTERS = 200
"""How much of the text before a time is searched for a facility or a syslog tag."""
_SAMPLE_LINES = 500
"""How many lines at the start of a text show whether it came through syslog."""
# A level that has lost its first characters.
_CUT_LEVEL = re.compile(r"^\d{0,10}>$", re.ASCII)
_WALL_CLOCK = re.compile(r"\[\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}\] ", re.ASCII)
_SYSLOG = re.compile(r"(?:(?!: ).){0,120}? kernel: ")
_SYSLOG_TAG = re.compile(r"\d\d:\d\d:\d\d\S* \S+ ([^\s:\[]+)(?:\[\d+\])?: $", re.ASCII)
_PSTORE = re.compile(r"(?:Panic|Oops|Emergency|Shutdown|Unknown)#(\d{1,9}) Part(\d{1,9})$", re.ASCII)
# The names that dmesg -x prints.
_FACILITIES = frozenset(
    (
        "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
        *(f"local{number}" for number in range(8)),
    )
)  # fmt: skip
# A text without times is a kernel log only if one of these is in it.
_KERNEL_TEXT = re.compile(
    rf"{boot.BOOTING}|{boot.VERSION.begins}\d|{backtrace.HEADER}\d|{backtrace.REQUEST_FROM}\d|sysrq: "
    rf"|watchdog: |{rcu.RCU}|{stop.PANIC.begins}|{stop.LADDER.begins}|sdei(?:_nmi)?: |Internal error: "
)


def is_relayed(lines: Sequence[str]) -> bool:
    """Tell whether a text came through syslog, or from `journalctl -k`."""
    return any(_SYSLOG.match(line) for line in lines[:_SAMPLE_LINES])


def parse_text(lines: Sequence[str]) -> Iterator[Line]:
    """Yield the kernel's lines among these lines; yield nothing if the text is not a kernel log."""
    lines = _in_order(lines)
    if any(_STAMP.search(line) for line in lines):
        parse = _parse_timed
    elif any(_KERNEL_TEXT.search(line) for line in lines):
        parse = _parse_syslog if any(_SYSLOG.match(line) for line in lines) else _parse_untimed
    else:
        return
    missing = 0
    for line in lines:
        missing += dropped_records(line)
        parsed = parse(line)
        if parsed:
            yield parsed._replace(lost_before=missing)
            missing = 0


def _in_order(lines: Sequence[str]) -> Sequence[str]:
    """Return the lines with the parts of pstore records in the order of the log: part 1 has the latest lines.

    Each part begins with its own header (pstore_dump() in fs/pstore/platform.c).
    """
    heads = [(at, match) for at, line in enumerate(lines) if (match := _PSTORE.match(line))]
    if len(heads) < 2:
        return lines
    ends = [*(at for at, _ in heads[1:]), len(lines)]
    parts = [(int(match[1]), -int(match[2]), at, end) for (at, match), end in zip(heads, ends)]
    ordered = [line for _count, _part, at, end in sorted(parts) for line in lines[at:end]]
    return [*lines[: heads[0][0]], *ordered]


def _parse_timed(line: str) -> Line | None:
    # The time may not be at the start: firmware or a shell prompt may have printed before it in this line.
    match = _STAMP.search(line)
    if not match or (match[1] and int(match[1]) >> 3) or _is_foreign(line[: match.start()]):
        return None
    return Line(line[match.end() :], match[2], float(match[2]), match[3])


def _is_foreign(prefix: str) -> bool:
    """Tell whether the text before the time shows that another program logged the record."""
    if not prefix:
        return False
    prefix = prefix[-_PREFIX_CHARACTERS:]
    facility, tag = _DECODED_AT_END.search(prefix), _SYSLOG_TAG.search(prefix)
    return bool(
        (facility and facility[1] != "kern") or (tag and tag[1] != "kernel") or _CUT_LEVEL.match(prefix)
    )


def _parse_syslog(line: str) -> Line | None:
    prefix = _SYSLOG.match(line)
    return Line(line[prefix.end() :], None, None) if prefix else None


def _parse_untimed(line: str) -> Line | None:
    if level := _LEVEL.match(line):
        return None if int(level[1]) >> 3 else Line(line[level.end() :], None, None)
    facility = _DECODED.match(line)
    if facility and facility[1] in _FACILITIES:
        line = line[facility.end() :]
    if facility and facility[1] in _FACILITIES - {"kern"}:
        return None
    clock = _WALL_CLOCK.match(line)
    return Line(line[clock.end() :] if clock else line, None, None)
