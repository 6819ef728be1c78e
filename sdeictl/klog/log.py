"""Kernel logs as records: /dev/kmsg, dmesg, syslog, the journal, pstore and serial consoles. No I/O.

Formats: Documentation/ABI/testing/dev-kmsg, print_prefix() in kernel/printk/printk.c (Linux 7.3). The content
decides about the format, never the name of a file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING

from sdeictl.klog.boots import Boots
from sdeictl.klog.kmsg import KmsgParser, is_kmsg
from sdeictl.klog.lines import LineBudget, LineReader, clean_lines
from sdeictl.klog.records import KernelLog, Line, Record, Run

if TYPE_CHECKING:
    from sdeictl.klog.journald import EntryReader
    from sdeictl.klog.text import TextParser
    from sdeictl.klog.unwrap import Wrapping

SAMPLE_CHARACTERS = 2 << 20
"""So much text at the beginning of a log, or less if the log is smaller, shows its format."""
SAMPLE_LINES = 50_000
"""Or so many lines, if they are short."""
_PART_LINES = 100
"""A run goes to the boot reader in parts of so many lines."""
MAX_BOOT_BYTES = 64 << 20
"""So much memory the records of a boot may take in read_last_boot()."""
_RECORD_BYTES = 300
CUT_LINE = "The last line has no line end and may be cut short, so it was left out."
LONG = (
    "The log is too long: lines {:,} to {:,} were left out. What follows them counts as another boot. A line"
    " that is missing proves nothing."
)
LONG_LINE = "A line is longer than 4 MiB; the rest of it was left out."


def parse_log(data: bytes) -> KernelLog:
    """Return the kernel's records in a log of any known format; never raises.

    Left out are records of other facilities, lines that are not kernel text, an unterminated last line (it
    may be cut short, so it is not evidence) and quotations: a console that shows dmesg or a pstore record
    repeats lines that were already read.
    """
    boots = Boots()
    file = LogFile([data])
    records = [*file.read(boots), *boots.read((), last=True)]
    return KernelLog(tuple(records), file.lost, file.relayed, file.notes() if records else ())


def read_last_boot(pieces: Iterable[bytes]) -> KernelLog:
    """Return the records of the latest boot in a log, as parse_log() does, in bounded memory; never raises.

    The log has no records if that boot is too large. In a log that is too long to be read whole, the boot
    begins where its end does at the latest.
    """
    boots = Boots()
    file = LogFile(pieces)
    records: list[Record] = []
    boot, left = 0, MAX_BOOT_BYTES
    for record in chain(file.read(boots), boots.read((), last=True)):
        if record.boot != boot:
            boot, left, records = record.boot, MAX_BOOT_BYTES, []
        left -= len(record.text) + _RECORD_BYTES
        if left >= 0:
            records.append(record)
    if left < 0:
        unread = f"its last boot needs more than {MAX_BOOT_BYTES >> 20} MiB of memory"
        return KernelLog((), file.lost, file.relayed, (), unread)
    return KernelLog(tuple(records), file.lost, file.relayed, file.notes() if records else ())


def read_boots(pieces: Iterable[bytes], most: int) -> list[KernelLog]:
    """Return the last `most` boots in a log, oldest first, in MAX_BOOT_BYTES of memory; never raises."""
    boots = Boots()
    file = LogFile(pieces)
    found: list[list[Record]] = []
    sizes: list[int] = []
    boot = None
    for record in chain(file.read(boots), boots.read((), last=True)):
        if record.boot != boot:
            boot = record.boot
            found.append([])
            sizes.append(0)
        found[-1].append(record)
        sizes[-1] += len(record.text) + _RECORD_BYTES
        while len(found) > 1 and (len(found) > most or sum(sizes) > MAX_BOOT_BYTES):
            del found[0], sizes[0]
        if sizes[-1] > MAX_BOOT_BYTES:  # of a boot that is too long, the end
            del found[-1][: len(found[-1]) // 2]
            sizes[-1] //= 2
    return [KernelLog(tuple(records), file.lost, file.relayed) for records in found]


class LogFile:
    """One file of a log. It is read once, in pieces, and little of it is in memory at a time."""

    def __init__(self, pieces: Iterable[bytes], budget: LineBudget | None = None) -> None:
        self._budget = budget or LineBudget()
        self._reader = LineReader(pieces, self._budget)
        self._outer: Wrapping | EntryReader | None = None
        self._parser: KmsgParser | TextParser | None = None
        self.relayed = False
        """The log came through syslog or the journal, which may have lost records without a trace."""

    @property
    def lost(self) -> int:
        """How many records are known to be missing: sequence gaps, and lines that a console dropped."""
        return self._parser.lost if self._parser else 0

    @property
    def has_gap(self) -> bool:
        """Tell whether lines in the middle of the file were left out, because the log is too long."""
        return self._reader.gap is not None

    def notes(self) -> tuple[str, ...]:
        """Return what limits the file, as sentences."""
        reader = self._reader
        long = [LONG.format(*reader.gap)] if reader.gap else []
        return (*(CUT_LINE,) * reader.ends_cut, *(LONG_LINE,) * reader.shortened, *long)

    def read(self, boots: Boots) -> Iterator[Record]:
        """Yield the kernel's records in the file."""
        sample: list[str] = []
        size = 0
        passed_gap = searching = False
        for text in self._reader:
            if self._reader.gap and not passed_gap:
                passed_gap = True
                yield from self._end_before_gap(sample, boots)
                sample, size = [], 0
            if searching and not sample and not self._parser and not self._hints_at_kernel(text):
                continue
            lines = clean_lines(text)
            if self._parser:
                yield from self._records(self._unwrapped(lines), boots)
                continue
            sample += lines
            size += len(text)
            if size >= SAMPLE_CHARACTERS or len(sample) >= SAMPLE_LINES:
                self._budget.take_sample(len(sample), size)
                yield from self._records(self._choose_format(sample), boots)
                sample, size, searching = [], 0, True
        if not self._parser:
            yield from self._records(self._choose_format(sample, last=True), boots)
        if self._outer:
            yield from self._records(self._outer.rest(), boots)

    def _unwrapped(self, lines: list[str]) -> list[str]:
        if self._outer is None:
            return lines
        found = self._outer.read(lines)
        self._budget.unwrap(max(len(lines), len(found)))
        return found

    def _hints_at_kernel(self, text: str) -> bool:
        """Tell whether kernel records may begin in a text, after text of other programs."""
        from sdeictl.klog.text import HINT  # noqa: PLC0415 - a probe rarely reads text

        self._budget.pass_foreign(len(text))
        return HINT.search(text) is not None

    def _end_before_gap(self, sample: list[str], boots: Boots) -> Iterator[Record]:
        """Yield the last records before lines that were left out. Another boot may have begun in these.

        So a request before them must not wait for its answer after them.
        """
        if not self._parser:
            yield from self._records(self._choose_format(sample, last=True), boots)
        if self._outer:
            yield from self._records(self._outer.rest(), boots)
        yield from boots.read([Line("", None, None, begins_boot=True)])

    def _records(self, lines: Sequence[str], boots: Boots) -> Iterator[Record]:
        if not self._parser or not lines:
            return
        run = self._parser.parse_run(lines)
        if run:
            yield from self._run_records(run, boots)
        else:
            parsed = list(self._parser.parse(lines))
            self._budget.take_again(len(lines))
            self._budget.unwrap(max(len(parsed) - len(lines), 0))  # a record of /dev/kmsg can be many lines
            yield from boots.read(parsed)

    def _run_records(self, run: Run, boots: Boots) -> Iterator[Record]:
        """Yield the records of a run. If it needs care, its parts may not: a boot begins in one of them."""
        records = boots.read_run(run)
        if records is not None:
            yield from records
            return
        for at in range(0, len(run.texts), _PART_LINES):
            part = run.part(at, at + _PART_LINES)
            records = boots.read_run(part)
            if records is None:
                self._budget.take_again(len(part.texts))
            yield from boots.read(part.lines()) if records is None else records

    def _choose_format(self, sample: list[str], *, last: bool = False) -> list[str]:
        """Choose the format by the first lines, and return these without what a mail or the like added.

        A kernel log may still begin after them.
        """
        if not sample:
            return []  # a drill that waits for records must not wait for the disk
        if is_kmsg(sample):
            self._parser = KmsgParser()
            return sample
        from sdeictl.klog.journald import EntryReader, is_journal  # noqa: PLC0415 - a probe rarely reads text
        from sdeictl.klog.text import TextParser, in_order, is_relayed  # noqa: PLC0415
        from sdeictl.klog.unwrap import Wrapping  # noqa: PLC0415

        journal = is_journal(sample)
        outer = EntryReader(sample) if journal else Wrapping(sample)
        found = None if isinstance(outer, Wrapping) and outer.is_plain else outer
        lines = [*outer.read(sample), *(outer.rest() if last else ())]
        if is_kmsg(lines):
            self._outer, self._parser = found, KmsgParser()
            return lines
        lines = in_order(lines)
        parser = TextParser(lines)
        if parser.knows_format:
            self._outer, self._parser = found, parser
            self.relayed = journal or is_relayed(lines)
        return lines
