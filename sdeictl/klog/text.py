"""Kernel logs in a text format: dmesg, dmesg -r, syslog, pstore and serial consoles. No I/O.

print_prefix() in kernel/printk/printk.c (Linux 7.3); sys-utils/dmesg.c of util-linux.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from sdeictl.klog.messages import backtrace, boot, lockups, rcu, request, stop
from sdeictl.klog.messages.printk import DROPPED, MISSED, dropped_records, is_drop_notice
from sdeictl.klog.prefix import FACILITIES, TIME, is_foreign, programs
from sdeictl.klog.records import Line, Run

# dmesg of util-linux prints a space before the caller; the kernel's console does not.
_STAMP = re.compile(
    r"(?:<(\d{1,10})>)?\[ *(\d{1,10}\.\d{3}(?:\d{3})?)(?: <[ \d.]{1,20}>)?\](?: ?\[ *([TC]\d{1,10})\])? ?",
    re.ASCII,
)
# A line that begins with its time, or with what syslog or dmesg prints before it; or else the whole line.
_RUN = re.compile(
    r"^(?:(?:<[0-7]>|kern {0,4}:\w{1,6} {0,2}: "
    r"|(?:\w{3} [ \d]\d [\d:]{8}|\d{4}-\d\d-\d\dT\S{8,24}) \S{1,255} kernel: )?"
    r"\[ *(\d{1,10}\.\d{6})\](?: ?\[ *([TC]\d{1,10})\])? ?(.*)|(.*))$",
    re.ASCII | re.MULTILINE,
)
# Syslog with the times of RFC 3339. The clock of dmesg, which is alike, has a comma.
_FOREIGN_CLOCK = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}[+-]\d\d:?\d\d \S{1,255} [^\s:\[\]]{1,64}(?:\[\d{1,10}\])?: ",
    re.ASCII,
)
_LEVEL = re.compile(r"<(\d{1,10})>", re.ASCII)
_DECODED = re.compile(r"(\w{0,10}) *:\w{0,10} *: *", re.ASCII)
_SAMPLE_LINES = 500
"""How many lines at the start of a text show whether it came through syslog."""
# The times of dmesg -T, -e and -H, -d and --time-format=iso: none of them is the time since the boot.
_CLOCK = re.compile(
    r"(?:\[\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}(?: < *\d{1,10}\.\d{6}>)?\] |\[\w{3}[ \d]\d \d\d:\d\d\] "
    r"|\[ *\+\d{1,10}\.\d{6}\] |\[< *\d{1,10}\.\d{6}>\] "
    r"|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[,.]\d{6}[+-]\d\d:?\d\d )",
    re.ASCII,
)
_CALLER = re.compile(r"\[ *([TC]\d{1,10})\] ", re.ASCII)
# Syslog of RFC 3164, also with two blanks after a pid, wall(1), which prints none, and RFC 5424.
_SYSLOG = re.compile(
    r"(?:(?:(?!: ).){0,120}? )?kernel(?:\[\d{1,10}\]: {0,2}|: ?| - - (?:-|\[[^\[\]]{0,200}\]) )"
)
# Such a line is a kernel record, even if no message in the text is known.
_SYSLOG_FORM = re.compile(rf"(?:<\d{{1,3}}>)?{TIME} \S{{1,255}} kernel(?:\[\d{{1,10}}\])?: ", re.ASCII)
_PROGRAM = re.compile(r"\b(?!kernel\b)[\w.-]{1,64}(?:\[\d{1,10}\])?: $", re.ASCII | re.IGNORECASE)
_WORDS = re.compile(r"[a-z]{2,} [a-z]{2,} ", re.IGNORECASE)
"""Prose."""
_BOUNDARY = re.compile(r"-- (?:Reboot|Boot [0-9a-f]{2,32}(?: -- .*)?) --$")
"""Between two boots in the output of journalctl."""
_REPEATED = re.compile(r"message repeated \d{1,9} times: \[ ?")
"""rsyslog leaves out repeated lines. The message follows, and a bracket ends it."""
# Some vendors' kernels print the CPU and the task after the time.
_VENDOR = re.compile(r"c\d{1,3} (?=\S)|\(\d{1,3}\)\[\d{1,10}:[^\]]{1,64}\]")
_NEED_CARE = (DROPPED, MISSED, "message repeated ")
"""A text with one of these is read line by line."""
_MAX_PREFIX, _MIN_PREFIXED = 100, 3
"""How long a prefix of each line can be, and how many lines must have it."""
_MONOTONIC = re.compile(r"(?P<host>\S{1,64}) (?P<tag>[^\s:\[]{1,64})(?P<pid>\[\d{1,10}\])?: ", re.ASCII)
"""After the time in `journalctl -o short-monotonic`: the host, and the program that logged the line."""
_PSTORE = re.compile(r"(?:Panic|Oops|Emergency|Shutdown|Unknown)#(\d{1,9}) Part(\d{1,9})$", re.ASCII)
# A text without times is a kernel log if one of these is in it.
KERNEL_TEXT = re.compile(
    rf"{boot.BOOTING}|{boot.VERSION.begins}\d|{backtrace.HEADER}\d|{request.FROM}\d|sysrq: "
    rf"|(?:NMI )?watchdog: |{lockups.HARD_LOCKUP_ON}|BUG: |INFO: (?:task|rcu)|{rcu.RCU}|{stop.PANIC.begins}"
    rf"|{stop.LADDER.begins}|sdei(?:_nmi)?: |{stop.OOPS}|(?:smp: )?csd: |{stop.CRASH_KERNEL.begins}"
    rf"|{stop.STALE_CPUS.begins}|{request.TIMEOUT.begins}|{backtrace.TASK_DUMP.begins}\d"
)


HINT = re.compile(
    rf"{KERNEL_TEXT.pattern}|\[ *\d{{1,10}}\.\d{{3}}|\[[<+ ]+\d|\[\w{{3}} (?:\w{{3}} )?[ \d]\d"
    r"|T\d\d:\d\d:\d\d,\d{6}[+-]|kernel(?:\[\d{1,10}\])?: | kernel - - |#\d{1,9} Part\d"
    r"|_TRANSPORT|^(?:\[?\{|\d{1,10},\d{1,20},\d{1,20},|<[0-7]>)",
    re.ASCII | re.MULTILINE,
)
"""A text without this holds no record of the kernel, in any format."""


def is_relayed(lines: Sequence[str]) -> bool:
    """Tell whether a text came through syslog, or from `journalctl -k`."""
    return any(_SYSLOG.match(line) for line in lines[:_SAMPLE_LINES])


class TextParser:
    """Turns lines of a text into the kernel's lines. The first lines of the text show its format."""

    def __init__(self, sample: Sequence[str]) -> None:
        self._parse = _choose_parser(sample)
        self.knows_format = self._parse is not None
        """The text is a kernel log."""
        self.lost = 0
        """How many records a console or the journal lost."""
        self._missing = 0
        self._before_boot = self._begins_with_firmware(sample)
        """The lines so far are not the kernel's."""

    def _begins_with_firmware(self, sample: Sequence[str]) -> bool:
        """Tell whether a log without times has other text before the first line of its boot."""
        if not self._parse or self._parse is _parse_timed:
            return False
        parsed = [line for line in map(self._parse, sample) if line]
        first = next((at for at, line in enumerate(parsed) if line.text.startswith(boot.BOOTING)), 0)
        return first > 0 and not any(map(_is_known, parsed[:first]))

    def parse(self, lines: Sequence[str]) -> Iterator[Line]:
        """Yield the kernel's lines among these lines; yield nothing if the text is not a kernel log."""
        for line in lines if self._parse else ():
            if dropped := dropped_records(line):
                self.lost += dropped
                self._missing += dropped
            if (parsed := self._parse_line(line)) and not (dropped and is_drop_notice(parsed.text)):
                yield parsed._replace(lost_before=self._missing) if self._missing else parsed
                self._missing = 0

    def _parse_line(self, line: str) -> Line | None:
        if _BOUNDARY.match(line):
            return Line("", None, None, begins_boot=True)
        if line.endswith("]") and (repeated := _REPEATED.search(line)):
            line = line[: repeated.start()] + line[repeated.end() : -1]
        parsed = self._parse(line) if self._parse else None
        if parsed and self._before_boot:
            self._before_boot = not parsed.text.startswith(boot.BOOTING)
        if not parsed or self._before_boot:
            return None
        vendor = _VENDOR.match(parsed.text)
        return parsed._replace(text=parsed.text[vendor.end() :]) if vendor else parsed

    def parse_run(self, lines: Sequence[str]) -> Run | None:
        """Return the kernel's lines among these as columns; None if they need care or have no times."""
        text = "\n".join(lines)
        if self._parse is not _parse_timed or self._missing or any(mark in text for mark in _NEED_CARE):
            return None
        rows = _RUN.findall(text)
        stamps, callers, texts, others = zip(*rows)
        if any(map(_BOUNDARY.match, filter(None, others))):
            return None
        if "" in stamps:
            rows = [columns for row in rows if (columns := _columns(row))]
            if not rows:
                return None
            stamps, callers, texts = zip(*rows)
        if any(map(_VENDOR.match, texts)):
            texts = tuple(_VENDOR.sub("", text, count=1) for text in texts)
        return Run(stamps, list(map(float, stamps)), texts, callers)


_Parser = Callable[[str], "Line | None"]


def _columns(row: Sequence[str]) -> tuple[str, str, str] | None:
    """Return the columns of a Run for a match of _RUN; None if the kernel did not print the line."""
    stamp, caller, text, other = row
    if stamp:
        return stamp, caller, text
    line = _parse_timed(other)
    return (line.stamp or "", line.caller or "", line.text) if line else None


def _choose_parser(lines: Sequence[str]) -> _Parser | None:
    """Return the parser that suits the text; None if the text is not a kernel log."""
    host = _monotonic_host(lines)
    timed: _Parser = partial(_parse_monotonic, host) if host else _parse_timed
    parsers: tuple[_Parser, ...] = (timed, _parse_syslog, partial(_parse_untimed, _common_prefix(lines)))
    known = [sum(map(_is_known, filter(None, map(parse, lines)))) for parse in parsers]
    if any(known):
        return parsers[known.index(max(known))]
    filled = sum(map(bool, lines))
    stamped = [match for line in lines if (match := _STAMP.search(line)) and _is_exact(match[2])]
    if host or len(stamped) * 2 > filled or any(match.start() == 0 for match in stamped):
        return timed
    if any(_SYSLOG_FORM.match(line) for line in lines):
        return _parse_syslog
    clocks = sum(bool(_CLOCK.match(line)) and not _FOREIGN_CLOCK.match(line) for line in lines)
    return parsers[2] if clocks * 2 > filled else None


def _is_exact(stamp: str) -> bool:
    """Tell whether a time has microseconds, as the kernel prints it."""
    return len(stamp.partition(".")[2]) == 6


def _common_prefix(lines: Sequence[str]) -> re.Pattern[str]:
    """Return a pattern for what stands before most records without a time: blanks, a number, a bullet.

    The name of a program before its own messages does not count.
    """
    found = [line[: match.start()] for line in lines if (match := KERNEL_TEXT.search(line))]
    shapes = Counter(_shape(prefix) for prefix in found if _can_precede(prefix))
    for shape, _count in shapes.most_common(1):
        pattern = re.compile(shape)
        matching = sum(bool(pattern.match(line)) for line in lines)
        if matching * 3 >= 2 * sum(map(bool, lines)) and matching >= _MIN_PREFIXED:
            return pattern
    indents = [prefix for prefix in found if not prefix.strip(" ")]
    return re.compile(min(indents, key=len, default=""))


def _can_precede(prefix: str) -> bool:
    if not prefix or len(prefix) > _MAX_PREFIX or _CLOCK.match(prefix) or _STAMP.search(prefix):
        return False
    if is_foreign(prefix) or programs(prefix) or _PROGRAM.search(prefix):
        return False
    return not _WORDS.search(re.sub(TIME, "", prefix))


def _shape(prefix: str) -> str:
    """Return a pattern for a prefix with any other numbers and any number of blanks."""
    return re.sub(r"(?:\\? )+", " +", re.sub(r"\d+", r"\\d+", re.escape(prefix)))


def _is_known(line: Line) -> bool:
    return KERNEL_TEXT.match(line.text) is not None


def _monotonic_host(lines: Sequence[str]) -> str | None:
    """Return the host that most lines name after their time (`journalctl -o short-monotonic`), or None."""
    texts = [line[match.end() :] for line in lines[:_SAMPLE_LINES] if (match := _STAMP.match(line))]
    tags = [match for text in texts if (match := _MONOTONIC.match(text))]
    hosts = Counter(match["host"] for match in tags)
    host, count = hosts.most_common(1)[0] if hosts else ("", 0)
    from_kernel = any((match["host"], match["tag"]) == (host, "kernel") for match in tags)
    from_programs = len(tags) == len(texts) and all(match["pid"] for match in tags)
    return host if (from_kernel or from_programs) and count * 2 > len(texts) else None


def in_order(lines: list[str]) -> list[str]:
    """Return the lines with the parts of each pstore record in the order of the log.

    Each part begins with its own header, and part 1 has the latest lines (pstore_dump() in
    fs/pstore/platform.c). The records of several crashes may stand one after the other.
    """
    heads = [at for at, line in enumerate(lines) if _PSTORE.match(line)]
    if len(heads) < 2:
        return lines
    ordered = lines[: heads[0]]
    record: dict[tuple[str, str], list[str]] = {}
    for start, end in zip(heads, [*heads[1:], len(lines)]):
        match = _PSTORE.match(lines[start])
        name = (match[1], match[2]) if match else ("", "")
        if name in record:  # another crash begins
            ordered += _sorted_parts(record)
            record = {}
        record[name] = lines[start:end]
    return ordered + _sorted_parts(record)


def _sorted_parts(parts: dict[tuple[str, str], list[str]]) -> list[str]:
    """Return the lines of the parts, by the time of their first line; without times, the last part first."""

    def place(name: tuple[str, str]) -> tuple[float, int, int]:
        stamps = (_STAMP.search(line) for line in parts[name])
        first = next((float(stamp[2]) for stamp in stamps if stamp), 0.0)
        return first, int(name[0]), -int(name[1])

    return [line for name in sorted(parts, key=place) for line in parts[name]]


def _parse_timed(line: str) -> Line | None:
    # The time may not be at the start: firmware or a shell prompt may have printed before it in this line.
    match = _STAMP.search(line)
    if not match or (match[1] and int(match[1]) >> 3) or is_foreign(line[: match.start()]):
        return None
    return Line(line[match.end() :], match[2], float(match[2]), match[3])


def _parse_monotonic(host: str, line: str) -> Line | None:
    parsed = _parse_timed(line)
    tag = _MONOTONIC.match(parsed.text) if parsed else None
    if not parsed or not tag or (tag["host"], tag["tag"]) != (host, "kernel"):
        return None
    return parsed._replace(text=parsed.text[tag.end() :])


def _parse_syslog(line: str) -> Line | None:
    prefix = _SYSLOG.match(line)
    if not prefix:
        return None
    return _without_level(line[prefix.end() :].removeprefix("kernel: "))


def _parse_untimed(prefix: re.Pattern[str], line: str) -> Line | None:
    before = prefix.match(line)
    if not before:
        return None  # text around the log
    line = line[before.end() :]
    facility = _DECODED.match(line)
    if facility and facility[1] in FACILITIES:
        line = line[facility.end() :]
    if facility and facility[1] in FACILITIES - {"kern"}:
        return None
    return _without_level(line)


def _without_level(text: str) -> Line | None:
    """Return a line without its level; None if its facility is not the kernel's."""
    level = _LEVEL.match(text)
    if level and int(level[1]) >> 3:
        return None
    return _without_clock(text[level.end() :] if level else text)


def _without_clock(text: str) -> Line:
    """Return a line without the time of day, which does not show the time since the boot."""
    clock = _CLOCK.match(text)
    text = text[clock.end() :] if clock else text
    caller = _CALLER.match(text)
    return Line(text[caller.end() :] if caller else text, None, None, caller[1] if caller else None)
