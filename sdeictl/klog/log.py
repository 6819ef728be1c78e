"""Kernel logs as records: /dev/kmsg, dmesg, dmesg -r and serial consoles.

Formats: Documentation/ABI/testing/dev-kmsg and print_prefix() in
kernel/printk/printk.c (Linux 7.3). The text decides the format, never a name.
No I/O here.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

BOOT_FALLBACK_SECONDS = 0.010
"""CPU clocks jitter below this; a larger step back of a new line starts a boot."""
DAMAGED_LINES = 8
"""How many damaged lines in a row still count as part of a quotation around them."""


class Record(NamedTuple):
    """One line of kernel text."""

    text: str
    at: float | None
    """Seconds since that boot; None where the log has no time."""
    boot: int = 0
    """0 for the first boot in the log, then 1, ..."""
    caller: str | None = None
    """`T<pid>` or `C<cpu>` with CONFIG_PRINTK_CALLER."""
    lost_before: int = 0
    """Records known to be missing right before this one."""


class KernelLog(NamedTuple):
    """Every kernel record of a log, in its order, quotations left out."""

    records: tuple[Record, ...]
    lost: int
    """Records known to be missing: sequence gaps and the kernel's own count of dropped lines."""
    relayed: bool = False
    """It came through syslog or the journal, which may have dropped records without a trace."""

    def last_boot(self) -> tuple[Record, ...]:
        """Return the records of the latest boot in the log."""
        if not self.records:
            return ()
        latest = self.records[-1].boot
        return tuple(record for record in self.records if record.boot == latest)


class Line(NamedTuple):
    """One line of kernel text before quotations are left out."""

    text: str
    stamp: str | None
    """The time as it was printed: two lines are the same record only if this agrees too."""
    at: float | None
    caller: str | None = None
    sequence: int | None = None
    lost_before: int = 0


_KMSG = re.compile(r"(\d{1,10}),(\d{1,20}),(\d{1,20}),([^;]{0,200});(.*)", re.DOTALL | re.ASCII)
_COLOUR = re.compile(r"\x1b\[[0-9;]{0,20}[mK]")
_ESCAPE = re.compile(r"\\x([0-9a-f]{2})")
_JOURNAL_STARTS = (b'{"', b'{ "')
"""How the lines of `journalctl -o json` begin: no kernel log does."""
_BOOT_START = re.compile(r"Booting Linux on physical CPU ")


def parse_log(data: bytes) -> KernelLog:
    """Return the kernel's records in a log of any of the known formats; never raises.

    Also of what `journalctl -o json` prints, and of pstore records.

    Left out: records of other facilities, lines that are no kernel text, an
    unterminated last line (no evidence), and quotations (a console that shows
    dmesg or a pstore record repeats lines that were already read).
    """
    relayed = data.startswith(_JOURNAL_STARTS)
    if relayed:
        from sdeictl.klog.journald import parse_journal  # noqa: PLC0415 - a probe rarely meets one

        data = parse_journal(data)
    lines = [_COLOUR.sub("", line).rstrip("\r") for line in data.decode("utf-8", "replace").split("\n")[:-1]]
    if _is_kmsg(lines):
        parsed = list(_parse_kmsg(lines))
        lost = sum(line.lost_before for line in parsed)
    else:
        from sdeictl.klog.text import dropped, is_relayed, parse_text  # noqa: PLC0415 - a probe rarely meets text

        parsed = list(parse_text(lines))
        lost = sum(map(dropped, lines))
        relayed = relayed or is_relayed(lines)
    return KernelLog(tuple(_Boots(parsed).records()), lost, relayed)


def _is_kmsg(lines: Sequence[str]) -> bool:
    """Tell by the lines that are a record; a record's further lines begin with a blank."""
    heads = [line for line in lines[:500] if line and not line.startswith(" ")]
    return sum(bool(_KMSG.match(line)) for line in heads) * 2 > len(heads)


def _parse_kmsg(lines: Iterable[str]) -> Iterator[Line]:
    previous = None
    missing = 0
    for line in lines:
        match = _KMSG.match(line)
        if not match:
            continue
        priority, sequence, micros = (int(match[group]) for group in (1, 2, 3))
        if previous is not None and sequence > previous + 1:
            missing += sequence - previous - 1
        previous = sequence
        if priority >> 3:
            continue
        at = micros / 1e6
        caller = next((part[7:] for part in match[4].split(",") if part.startswith("caller=")), None)
        for text in _unescape(match[5]).split("\n"):
            yield Line(text, match[3], at, caller, sequence, missing)
            missing = 0


def _unescape(text: str) -> str:
    if "\\x" not in text:
        return text
    return _ESCAPE.sub(lambda match: chr(int(match[1], 16)), text)


class _Boots:
    """Numbers the boots and leaves out the quotations.

    A line is a quotation if the same text at the same time was read in this
    boot or the one before. Lines of the first 10 ms (most carry 0.000000, and
    the next few can repeat to the microsecond) share the fate of the next later one.
    """

    def __init__(self, lines: Sequence[Line]) -> None:
        self.lines = lines
        self.boot = 0
        self.latest = 0.0
        self.seen: set[_Key] = set()
        self.seen_before: set[_Key] = set()
        self.quoting = False
        self.lost = 0
        """Records lost before a line that was left out."""

    def records(self) -> Iterator[Record]:
        """Yield the records, each with its boot."""
        early: list[Line] = []
        for index, line in enumerate(self.lines):
            if line.at is not None and line.at < BOOT_FALLBACK_SECONDS:
                if _BOOT_START.match(line.text):
                    # What stands before the first line of a boot is no part of it.
                    early = self._unseen(early)
                early.append(line)
                continue
            boot = self.boot
            if line.at is None and self.seen and _BOOT_START.match(line.text):
                self._begin_boot()
            if line.at is None or self._is_new(index, line, line.at):
                yield from map(self._keep, early if self.boot > boot else self._unseen(early))
                yield self._keep(line)
            else:
                self.lost += line.lost_before
            early = []
        yield from map(self._keep, self._unseen(early))

    def _unseen(self, lines: Sequence[Line]) -> list[Line]:
        return [line for line in lines if not self._is_quoted(line)]

    def _is_quoted(self, line: Line) -> bool:
        return _key(line) in self.seen or _key(line) in self.seen_before

    def _is_new(self, index: int, line: Line, at: float) -> bool:
        """Tell whether a line is no quotation; begin a boot where it shows one."""
        if self._is_quoted(line):
            self.quoting = True
            return False
        if at < self.latest and self.quoting:
            following = self.lines[index + 1 : index + 1 + DAMAGED_LINES]
            if any(map(self._is_quoted, following)):
                return False
        if at < self.latest - BOOT_FALLBACK_SECONDS:
            self._begin_boot()
        self.quoting = False
        self.latest = max(self.latest, at)
        return True

    def _begin_boot(self) -> None:
        self.boot += 1
        self.latest = 0.0
        self.seen_before, self.seen = self.seen, set()

    def _keep(self, line: Line) -> Record:
        self.seen.add(_key(line))
        lost, self.lost = self.lost + line.lost_before, 0
        return Record(line.text, line.at, self.boot, line.caller, lost)


_Key = tuple[str | None, str, int | None]


def _key(line: Line) -> _Key:
    return (line.stamp, line.text, line.sequence)
