"""The lines of a text: encodings, line ends, blanks, tabs and colours, piece by piece. No I/O."""

from __future__ import annotations

import codecs
import io
import re
from collections import deque
from collections.abc import Iterable, Iterator

PIECE_CHARACTERS = 1 << 17
"""About so much text is held at a time; about 2,000 lines."""
MAX_LINE_CHARACTERS = 4 << 20
"""The rest of a longer line is left out. A whole log on one line, its line ends lost, can be long."""
MAX_WORK = 20_000_000
"""So much work is done for all files together, before only their ends are read: 20 million usual lines, which
are 1 GiB. A unit is the work for one such line, about a microsecond."""
TAIL_LINES = 250_000
"""Of files that are not read whole, so many lines at the ends are read, together. A long line counts more."""
TAIL_BYTES = 16 << 20
"""Limit for the ends of the files together."""
_LINE_CHARACTERS = 100
_SKIPPED_CHARACTERS = 400
"""Blank lines, and characters that are left out, cost only their decoding."""
_LONG_LINE = 4000
_SLOW = 24
"""How many times as long a line takes that is very long, or in which the format of the log is looked for."""
_FOREIGN_CHARACTERS = 60
"""To look for a beginning of a kernel record in so many characters takes one unit."""
_UNWRAP_WORK = 6
_SEARCH_WORK = 6
"""The work to look for an episode in a record that begins like one of a known message."""
_CLEAN_WORK = 4
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"),
)  # fmt: skip
_SAMPLE_BYTES = 1000
_ESCAPES = r"\x1b\[[0-?]{0,30}[ -/]{0,5}[@-~]|\x1b[()][0-9A-Z]"
"""Colours, movements of the cursor, and character sets (ECMA-48, VT100)."""
_BLANKS = {"\u00a0": " ", "\u202f": " ", "\u200b": "", "\ufeff": ""}
"""clean() replaces them one by one: str.translate() looks up all characters, and takes 20 times as long."""
_UNCLEAN = ("\x1b", "#", "\\")
"""Without one of these, and without other characters than ASCII, clean() changes only the ends of lines. To
find one character takes a hundredth of the time of two."""


class LineBudget:
    """How much work may still be done. The files of a log share it."""

    def __init__(self, work: int = MAX_WORK, files: int = 1) -> None:
        self._left = work
        self.tail_lines = TAIL_LINES // files
        """So many lines at the end of each file are read in any case."""
        self.tail_bytes = TAIL_BYTES // files

    def is_spent(self) -> bool:
        """Tell whether nothing more may be read."""
        return self._left < 0

    def take(self, lines: int, characters: int) -> None:
        """Note that lines were read."""
        self._left -= work_of(lines, characters)

    def take_sample(self, lines: int, characters: int) -> None:
        """Note that lines were read which do not show the format of the log."""
        self._left -= max(lines, characters // _LINE_CHARACTERS) * (_SLOW - 1)

    def take_again(self, lines: int) -> None:
        """Note that lines needed care: one by one they take twice as long as in columns."""
        self._left -= lines

    def unwrap(self, lines: int) -> None:
        """Note that lines were taken out of a mail, the journal, a long record or the like."""
        self._left -= lines * _UNWRAP_WORK

    def pass_foreign(self, characters: int) -> None:
        """Note that text of other programs was searched for a beginning of a kernel record."""
        self._left -= characters // _FOREIGN_CHARACTERS

    def search(self) -> None:
        """Note that a record is searched for an episode."""
        self._left -= _SEARCH_WORK

    def clean(self) -> None:
        """Note that a record is searched for what may leave the host."""
        self._left -= _CLEAN_WORK

    def skip(self, characters: int) -> None:
        """Note that blank lines were read, or characters that are left out."""
        self._left -= characters // _SKIPPED_CHARACTERS


def work_of(lines: int, characters: int) -> int:
    """Return the work to read some lines of so many characters together."""
    work = max(lines, characters // _LINE_CHARACTERS)
    return work * _SLOW if characters > lines * _LONG_LINE else work


class _Tail:
    """The latest pieces of a text that is not read: as much as may be read at its end."""

    def __init__(self, budget: LineBudget, *, after_cr: bool, utf_16: bool) -> None:
        self._budget = budget
        self._utf_16 = utf_16
        self._pieces: deque[tuple[bytes, int, int]] = deque()
        """Each piece, its lines and its work."""
        self._new = bytearray()
        """The next piece: a pipe may deliver a few bytes at a time."""
        self._work = self._size = 0
        self._after_cr = after_cr
        self._dropped_lines = 0
        self._cut_after_cr = False
        """The last piece that was dropped ends in a CR without a line feed."""
        self.dropped_bytes = 0

    def add(self, data: bytes) -> None:
        """Take the next part of the text; drop the oldest pieces that are too much."""
        self._new += data
        if len(self._new) >= PIECE_CHARACTERS:
            self._add_piece()

    def _add_piece(self) -> None:
        piece, self._new = bytes(self._new), bytearray()
        lines = self._line_ends(piece)
        work = work_of(lines, len(piece))
        self._pieces.append((piece, lines, work))
        self._work += work
        self._size += len(piece)
        while len(self._pieces) > 1 and (
            self._work > self._budget.tail_lines or self._size > self._budget.tail_bytes
        ):
            dropped, lines, work = self._pieces.popleft()
            self._work -= work
            self._size -= len(dropped)
            self._dropped_lines += lines
            self.dropped_bytes += len(dropped)
            self._cut_after_cr = dropped.endswith(b"\r") and not self._pieces[0][0].startswith(b"\n")

    @property
    def dropped_lines(self) -> int:
        """How many line ends were dropped."""
        return self._dropped_lines + (self._cut_after_cr and not self._utf_16)

    def pieces(self) -> Iterator[bytes]:
        """Yield what is kept, and forget it."""
        while self._pieces:
            yield self._pieces.popleft()[0]
        rest, self._new = bytes(self._new), bytearray()
        yield rest

    def _line_ends(self, piece: bytes) -> int:
        """Return how many line feeds, CR and CRLF end in a piece; a CR at its end belongs to the next one."""
        count = piece.count(b"\n")
        if self._utf_16:
            return count
        if self._after_cr or b"\r" in piece:
            count += piece.count(b"\r") - piece.count(b"\r\n") - piece.endswith(b"\r")
            count += self._after_cr and not piece.startswith(b"\n")
        self._after_cr = piece.endswith(b"\r")
        return count


class LineReader:
    """Splits the bytes of a log into pieces of whole lines, with a line feed as the only line end."""

    def __init__(self, pieces: Iterable[bytes], budget: LineBudget) -> None:
        self._pieces = pieces
        self._budget = budget
        self._rest: list[str] = []
        """The beginning of a line that later pieces continue."""
        self._rest_length = 0
        self.ends_cut = False
        """At the end: the last line had no line end."""
        self.shortened = False
        """A line was longer than MAX_LINE_CHARACTERS."""
        self.gap: tuple[int, int] | None = None
        """The budget was spent: the first and the last line that were left out. Text after it is its end."""
        self._lines = 0
        """How many lines were read."""
        self._bytes = 0

    def __iter__(self) -> Iterator[str]:
        """Yield the text; leave out an unterminated last line."""
        encoding = ""
        decoder, tail = _decoder("utf-8"), None
        for data in self._pieces:
            for at in range(0, len(data), PIECE_CHARACTERS):
                piece = data[at : at + PIECE_CHARACTERS]
                if not encoding:
                    encoding, mark = _encoding_of(piece)
                    decoder = _decoder(encoding)
                    piece = piece[mark:]
                if tail is None and self._budget.is_spent():
                    tail = _Tail(self._budget, after_cr=_holds_cr(decoder), utf_16=encoding != "utf-8")
                if tail:
                    tail.add(piece)
                else:
                    self._bytes += len(piece)
                    yield from self._whole_lines(decoder.decode(piece))
        if tail and tail.dropped_bytes:
            self._pass_gap(tail)
            decoder = _decoder(encoding)
            yield from self._whole_lines(self._first_whole_lines(tail, decoder, encoding))
        for piece in tail.pieces() if tail else ():
            yield from self._whole_lines(decoder.decode(piece))
        yield from self._whole_lines(decoder.decode(b"", final=True))
        self.ends_cut = self._rest_length > 0

    def _pass_gap(self, tail: _Tail) -> None:
        """Note which lines were left out. The one at the beginning of what is kept is not whole."""
        first = self._lines + 1
        self._lines += tail.dropped_lines + 1
        self.gap = (first, self._lines)
        self._rest, self._rest_length = [], 0

    def _first_whole_lines(self, tail: _Tail, decoder: io.IncrementalNewlineDecoder, encoding: str) -> str:
        """Return the text after the first line end in what is kept."""
        odd = encoding != "utf-8" and (self._bytes + tail.dropped_bytes) % 2
        for piece in tail.pieces():
            text = decoder.decode(piece[1:] if odd else piece)
            odd = 0
            if "\n" in text:
                return text.partition("\n")[2]
        return ""

    def _whole_lines(self, text: str) -> Iterator[str]:
        end = text.rfind("\n") + 1
        if end:
            whole = "".join([*self._rest, text[:end]])
            self._rest, self._rest_length = [], 0
            lines = whole.count("\n")
            self._lines += lines
            if whole.isspace():
                self._budget.skip(len(whole))
                whole = "\n"
            else:
                self._budget.take(lines, len(whole))
            yield whole
        self._keep(text[end:])

    def _keep(self, text: str) -> None:
        room = MAX_LINE_CHARACTERS - self._rest_length
        self.shortened = self.shortened or len(text) > room
        self._budget.skip(max(len(text) - room, 0))
        if text and room:
            self._rest.append(text[:room])
            self._rest_length += len(self._rest[-1])


def _encoding_of(sample: bytes) -> tuple[str, int]:
    """Return the encoding of a text, and the length of its byte order mark."""
    for mark, encoding in _BOMS:
        if sample.startswith(mark):
            return encoding, len(mark)
    sample = sample[:_SAMPLE_BYTES]
    if len(sample) > 1 and not any(sample[1::2]) and all(sample[::2]):
        return "utf-16-le", 0
    if len(sample) > 1 and not any(sample[::2]) and all(sample[1::2]):
        return "utf-16-be", 0
    return "utf-8", 0


def _decoder(encoding: str) -> io.IncrementalNewlineDecoder:
    """Return a decoder that also makes each CR and CRLF a line feed. Other bytes become U+FFFD."""
    return io.IncrementalNewlineDecoder(codecs.getincrementaldecoder(encoding)("replace"), translate=True)


def _holds_cr(decoder: io.IncrementalNewlineDecoder) -> bool:
    """Tell whether the text so far ends in a CR that the decoder holds back: a line feed may follow."""
    return bool(decoder.getstate()[1] & 1)


def clean_lines(text: str) -> list[str]:
    """Return the lines of a text, clean."""
    lines = text.split("\n")
    if not lines[-1]:
        lines.pop()
    plain = text.isascii() and not any(mark in text for mark in _UNCLEAN)
    return list(map(str.rstrip if plain else clean, lines))


def clean(line: str) -> str:
    r"""Return a line without escape sequences and trailing blanks, and with real tabs.

    A tab is #011 in syslog and \x09 in dmesg.
    """
    if "\x1b" in line:
        line = re.sub(_ESCAPES, "", line)
    if "#011" in line or "\\x09" in line:
        line = line.replace("#011", "\t").replace("\\x09", "\t")
    if not line.isascii():
        for blank, text in _BLANKS.items():
            line = line.replace(blank, text)
    return line.rstrip()
