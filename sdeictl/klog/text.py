"""Kernel logs as text: dmesg, dmesg -r, syslog and serial consoles. No I/O here."""

import re
from collections.abc import Iterator, Sequence

from sdeictl.klog.log import Line

# dmesg of util-linux puts a space before the caller, the kernel's console does not.
_STAMP = re.compile(r"(?:<(\d{1,10})>)?\[ *(\d{1,10}\.\d{6})\](?: ?\[ *([TC]\d{1,10})\])? ?", re.ASCII)
_LEVEL = re.compile(r"<(\d{1,10})>", re.ASCII)
_DECODED = re.compile(r"(\w{0,10}) *:\w{0,10} *: *", re.ASCII)
_DECODED_AT_END = re.compile(r"(?:^|\s)(\w{0,10}) *:\w{0,10} *: *$", re.ASCII)
_PREFIX_CHARACTERS = 200
_HEAD_LINES = 500
_CUT_LEVEL = re.compile(r"^\d{0,10}>$", re.ASCII)
_WALL_CLOCK = re.compile(r"\[\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}\] ", re.ASCII)
_SYSLOG = re.compile(r"(?:(?!: ).){0,120}? kernel: ")
_SYSLOG_TAG = re.compile(r"\d\d:\d\d:\d\d\S* \S+ ([^\s:\[]+)(?:\[\d+\])?: $", re.ASCII)
_PSTORE = re.compile(r"(?:Panic|Oops|Emergency|Shutdown|Unknown)#(\d{1,9}) Part(\d{1,9})$", re.ASCII)
_DROPPED = re.compile(r"\*\* (\d{1,9}) printk messages dropped \*\*", re.ASCII)
# As dmesg -x prints them, sys-utils/dmesg.c of util-linux.
_FACILITIES = frozenset(
    (
        *(
            "kern",
            "user",
            "mail",
            "daemon",
            "auth",
            "syslog",
            "lpr",
            "news",
            "uucp",
            "cron",
            "authpriv",
            "ftp",
        ),
        *(f"local{number}" for number in range(8)),
    )
)
# A text without any time is a kernel log only if one of its lines says so.
_KERNEL_TEXT = re.compile(
    r"Booting Linux on physical CPU|Linux version \d|NMI backtrace for cpu \d|Sending NMI from CPU \d"
    r"|sysrq: |watchdog: |rcu: |Kernel panic - not syncing: |SMP: |sdei(?:_nmi)?: |Internal error: "
)


def dropped(line: str) -> int:
    """Return how many records the kernel says here that it has not printed."""
    match = _DROPPED.search(line)
    return int(match[1]) if match else 0


def is_relayed(lines: Sequence[str]) -> bool:
    """Tell whether a text went through syslog, or is what `journalctl -k` prints."""
    return any(_SYSLOG.match(line) for line in lines[:_HEAD_LINES])


def parse_text(lines: Sequence[str]) -> Iterator[Line]:
    """Yield the kernel's lines among these; none if none of them looks like the kernel's."""
    lines = _in_order(lines)
    if any(_STAMP.search(line) for line in lines):
        parse = _parse_timed
    elif any(_KERNEL_TEXT.search(line) for line in lines):
        parse = _parse_syslog if any(_SYSLOG.match(line) for line in lines) else _parse_untimed
    else:
        return
    missing = 0
    for line in lines:
        missing += dropped(line)
        parsed = parse(line)
        if parsed:
            yield parsed._replace(lost_before=missing)
            missing = 0


def _in_order(lines: Sequence[str]) -> Sequence[str]:
    """Return the parts of pstore records in the order they were logged: part 1 holds the last lines.

    Each part begins with its own header (fs/pstore/platform.c, pstore_dump()).
    """
    heads = [(at, match) for at, line in enumerate(lines) if (match := _PSTORE.match(line))]
    if len(heads) < 2:
        return lines
    ends = [*(at for at, _ in heads[1:]), len(lines)]
    parts = [(int(match[1]), -int(match[2]), at, end) for (at, match), end in zip(heads, ends, strict=True)]
    ordered = [line for _count, _part, at, end in sorted(parts) for line in lines[at:end]]
    return [*lines[: heads[0][0]], *ordered]


def _parse_timed(line: str) -> Line | None:
    # Not only at the start: firmware or a shell prompt may have left the cursor in the line.
    match = _STAMP.search(line)
    if not match or (match[1] and int(match[1]) >> 3) or _is_foreign(line[: match.start()]):
        return None
    return Line(line[match.end() :], match[2], float(match[2]), match[3])


def _is_foreign(prefix: str) -> bool:
    """Tell whether what stands before the time says that the record is not the kernel's."""
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
