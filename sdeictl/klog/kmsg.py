"""The records of /dev/kmsg, `<prio>,<seq>,<usec>,<flag>[,caller=...];<text>`. No I/O.

Documentation/ABI/testing/dev-kmsg. host/kmsg.py reads the device.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from sdeictl.klog.records import Line, Run
from sdeictl.text import NamedTuple

# `grep -n` adds a number, and netconsole the release.
_BEFORE = r"(?:\d{1,9}:)?(?:\d{1,3}\.\d{1,3}[^,;\s]{0,60},)?"
_CALLER = r"[^;\n]{0,80}?,caller=([TC]\d{1,10})(?:,[^;\n]{0,99})?"
# The priority, the sequence number, the time, the caller, and the text.
_RECORD = re.compile(
    rf"^{_BEFORE}" + r"(0|[1-9]\d{0,9}),(\d{1,20}),(\d{1,20}),(?:" + _CALLER + r"|[^;\n]{0,200});(.*)$",
    re.ASCII | re.MULTILINE,
)
_ESCAPED = re.compile(r"[\x00-\x1f\\\x7f-\xff]")
_MIN_FIELDS = 4
_MAX_DIGITS = 20
"""Of a number of 64 bits; Python does not convert thousands of digits."""
_SAMPLE_LINES = 500
"""How many lines at the start of a text decide about its format."""


class RecordHead(NamedTuple):
    """The numbers before the text of a record."""

    priority: int
    """Facility * 8 + level."""
    sequence: int
    micros: int
    """Microseconds since the boot."""

    @property
    def is_kernel(self) -> bool:
        """Tell whether the kernel itself logged the record: its facility is 0."""
        return self.priority < 8


def parse_head(record: bytes) -> RecordHead | None:
    """Return the head of a record; None if the bytes are a continuation line or not a record."""
    fields = record.split(b",", _MIN_FIELDS - 1)
    numbers = fields[:3]
    if len(fields) < _MIN_FIELDS or not all(map(bytes.isdigit, numbers)):
        return None
    if max(map(len, numbers)) > _MAX_DIGITS:
        return None
    return RecordHead(*map(int, numbers))


def split_record(line: str) -> tuple[str, str, str] | None:
    """Return the numbers `<prio>,<seq>,<usec>`, the caller and the escaped text; None if it is no record.

    The caller is "" if the record names none.
    """
    match = _RECORD.match(line)
    return (",".join(match.group(1, 2, 3)), match[4] or "", match[5]) if match else None


def is_kmsg(lines: Sequence[str]) -> bool:
    """Tell whether most lines are records; lines that begin with a space continue a record."""
    heads = [line for line in lines[:_SAMPLE_LINES] if line and not line.startswith(" ")]
    return sum(bool(_RECORD.match(line)) for line in heads) * 2 > len(heads)


class KmsgParser:
    """Turns records of /dev/kmsg into lines. Each number missing in the sequence is one lost record."""

    def __init__(self) -> None:
        self.lost = 0
        """How many records are missing."""
        self._previous: int | None = None
        self._missing = 0
        """How many are missing before the next line."""

    def parse_run(self, lines: Sequence[str]) -> Run | None:
        """Return the kernel's lines as columns; None if they need care: one is missing, or has escapes."""
        text = "\n".join(lines)
        rows = _RECORD.findall(text)
        if not rows or self._missing or "\\x" in text:
            return None
        first, last = int(rows[0][1]), int(rows[-1][1])
        if self._previous not in (None, first - 1) or last - first != len(rows) - 1:
            return None
        numbers = [int(row[1]) for row in rows]
        if numbers != list(range(first, last + 1)):
            return None
        rows = [row for row in rows if len(row[0]) == 1 and row[0] < "8"]
        if not rows:
            return None
        self._previous = last
        _priorities, sequences, times, callers, texts = zip(*rows)
        micros = list(map(int, times))
        seconds = [at / 1e6 for at in micros]
        return Run(list(map(_stamp, micros)), seconds, texts, callers, list(map(int, sequences)))

    def parse(self, lines: Iterable[str]) -> Iterator[Line]:
        """Yield the kernel's lines."""
        for line in lines:
            match = _RECORD.match(line)
            if not match:
                continue
            head = RecordHead(int(match[1]), int(match[2]), int(match[3]))
            self._count_missing(head.sequence)
            if not head.is_kernel:
                continue
            stamp = _stamp(head.micros)
            for text in unescape(match[5]).split("\n"):
                yield Line(text, stamp, head.micros / 1e6, match[4], self._missing, head.sequence)
                self._missing = 0

    def _count_missing(self, sequence: int) -> None:
        if self._previous is not None and sequence > self._previous + 1:
            missing = sequence - self._previous - 1
            self._missing += missing
            self.lost += missing
        self._previous = sequence


def _stamp(micros: int) -> str:
    """Return a time as the text formats print it: the same record in two files counts once."""
    return f"{micros // 1_000_000}.{micros % 1_000_000:06d}"


def unescape(text: str) -> str:
    """Return the text of a record without the escapes that the kernel adds, such as that of a tab."""
    if "\\x" not in text:
        return text
    return re.sub(r"\\x([0-9a-f]{2})", lambda match: chr(int(match[1], 16)), text)


def escape(text: str) -> str:
    """Return a text with the escapes that the kernel adds (msg_add_ext_text() in printk.c)."""
    return _ESCAPED.sub(lambda match: f"\\x{ord(match[0]):02x}", text)
