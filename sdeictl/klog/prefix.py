"""What stands before a record in its line: times, hosts, and the program that logged it. No I/O."""

from __future__ import annotations

import re

# The times of RFC 3164, ctime, ISO 8601, and of `journalctl -o short-full` and `-o short-unix`.
TIME = (
    r"(?:\w{3} [ \d]\d \d\d:\d\d:\d\d(?:\.\d{1,9})?(?: \d{4})?"
    r"|(?:\w{3} )?\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[^\s\]]{0,20}(?: [A-Z]{3,4})?|\b\d{10}\.\d{1,6})"
)
_KERNEL = "kernel"
_PREFIX_CHARACTERS = 300
"""How much of the text before a record is searched."""
_PRIORITY = re.compile(r"<(\d{1,3})>", re.ASCII)
_TAGGED = (
    # RFC 3164 and journalctl: the time, the host, and a program, perhaps with its pid.
    re.compile(rf"{TIME} (?:[^\s\[\]]{{1,255}} )?([^\s:\[\]]{{1,64}})(?:\[\d{{1,10}}\])?:(?: |$)", re.ASCII),
    # RFC 5424: the time, the host, the program, its pid, the kind of message, and its data.
    re.compile(
        r"\dT\d\d:\d\d:\S{2,24} \S{1,255} (\S{1,48}) \S{1,128} \S{1,32} (?:-|\[[^\[\]]{0,200}\])(?: |$)"
    ),
    # Android's logcat: the time, the pid, the thread and the level.
    re.compile(r"\d\d-\d\d [\d:.]{8,15} +\d{1,7} +\d{1,7} [VDIWEFA] (\S{1,64}) *:"),
    re.compile(r"^[VDIWEFA]/(\S{1,64}?) *\( *\d{1,7}\):"),
)
"""Ways to name the program that logged a line. Group: the program."""
FACILITIES = frozenset(
    (
        "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
        *(f"local{number}" for number in range(8)),
    )
)  # fmt: skip
"""The names that dmesg -x and OpenWrt's logread print."""
_LEVELS = "emerg|alert|crit|err|warn|warning|notice|info|debug"
_FACILITY = re.compile(rf"\b(\w{{1,10}})\.(?:{_LEVELS}) ", re.ASCII)
_DECODED_AT_END = re.compile(r"(?:^|\s)(\w{0,10}) *:\w{0,10} *: *$", re.ASCII)
# A level that has lost its first characters.
_CUT_LEVEL = re.compile(r"^\d{0,10}>$", re.ASCII)
OPENING = ('"', "'", "`", "(", "\u201c", "\u2018", "\u00ab", "\u2039")
"""A record after one of these is a quotation in prose."""
_STAMP = re.compile(r"\[ *\d{1,10}\.\d{6}\]", re.ASCII)
# What syslog or the kernel's console puts before a record.
_HEAD = re.compile(
    rf"(?:<\d{{1,3}}>|(?:<\d{{1,3}}>)?{TIME} [^\s\[\]]{{1,255}} [^\s:\[\]]{{1,64}}(?:\[\d{{1,10}}\])?: )$",
    re.ASCII,
)


_DATED = re.compile(rf"(?:<\d{{1,3}}>)?(?:1 )?(?:{TIME}|\d\d-\d\d \d\d:\d\d:\d\d)", re.ASCII)
_HYPERVISOR = re.compile(r"\((?:XEN|d\d{1,5})\) *$")
"""Xen and its guests share the console of the first domain."""
_PROMPTS = ("login", "password")
"""What a console may show right before a record."""


def is_foreign(prefix: str) -> bool:
    """Tell whether the text before a record shows that the kernel did not log it here."""
    if not prefix:
        return False
    if prefix.rstrip().endswith(OPENING):
        return True
    prefix = prefix[-_PREFIX_CHARACTERS:]
    if _HYPERVISOR.search(prefix):
        return True
    priority = _PRIORITY.match(prefix)
    if (priority and int(priority[1]) >> 3) or _CUT_LEVEL.match(prefix):
        return True
    if any(tag != _KERNEL for tag in programs(prefix)):
        return True
    facilities = {match[1] for match in (_DECODED_AT_END.search(prefix), _FACILITY.search(prefix)) if match}
    return bool(facilities & (FACILITIES - {"kern"})) or "" in facilities


def is_dated(line: str) -> bool:
    """Tell whether a line begins with a date, as each line of syslog, of the journal and of logcat does."""
    return _DATED.match(line) is not None


def programs(prefix: str) -> list[str]:
    """Return the programs that a prefix names, in lower case."""
    found = [match[1].lower() for pattern in _TAGGED for match in pattern.finditer(prefix)]
    return [program for program in found if program not in _PROMPTS]


def record_starts(line: str) -> list[int]:
    """Return the places in a line where records with a time begin."""
    starts: list[int] = []
    foreign = False
    end = 0
    for stamp in _STAMP.finditer(line):
        before = line[max(end, stamp.start() - _PREFIX_CHARACTERS) : stamp.start()]
        end = stamp.end()
        if before.rstrip().endswith(OPENING):
            continue
        head = _HEAD.search(before) if starts else None
        if starts and foreign and not head:
            continue  # the program that logged the last record goes on
        foreign = is_foreign(head[0] if head else "" if starts else before)
        starts.append(stamp.start() - (len(head[0]) if head else 0))
    return starts
