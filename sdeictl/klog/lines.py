"""The lines of a text: encodings, line ends, blanks, tabs and colours, piece by piece. No I/O."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Iterable, Iterator

PIECE_CHARACTERS = 1 << 17
"""About so much text is held at a time; about 2,000 lines."""
MAX_LINE_CHARACTERS = 4 << 20
"""The rest of a longer line is left out. A whole log on one line, its line ends lost, can be long."""
MAX_LINES = 10_000_000
"""So many lines of all files together are read, 700 MiB of a usual log. A long line counts as several."""
_LINE_CHARACTERS = 100
_SKIPPED_CHARACTERS = 400
"""Blank lines, and characters that are left out, cost only their decoding."""
_LONG_LINE = 4000
_SLOW = 24
"""How many times as long a line takes that is very long, or in which the format of the log is looked for."""
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"),
)  # fmt: skip
_SAMPLE_BYTES = 1000
_ESCAPES = r"\x1b\[[0-?]{0,30}[ -/]{0,5}[@-~]|\x1b[()][0-9A-Z]"
"""Colours, movements of the cursor, and character sets (ECMA-48, VT100)."""
_BLANKS = str.maketrans({"\u00a0": " ", "\u202f": " ", "\u200b": None, "\ufeff": None})
_UNCLEAN = ("\x1b", "#", "\\")
"""Without one of these, and without other characters than ASCII, clean() changes only the ends of lines. To
find one character takes a hundredth of the time of two."""


class LineBudget:
    """How many lines may still be read. The files of a log share it."""

    def __init__(self, lines: int = MAX_LINES) -> None:
        self._left = lines

    def is_spent(self) -> bool:
        """Tell whether nothing more may be read."""
        return self._left < 0

    def take(self, lines: int, characters: int) -> None:
        """Note that lines were read."""
        cost = max(lines, characters // _LINE_CHARACTERS)
        self._left -= cost * _SLOW if characters > lines * _LONG_LINE else cost

    def take_sample(self, lines: int, characters: int) -> None:
        """Note that lines were read which do not show the format of the log."""
        self._left -= max(lines, characters // _LINE_CHARACTERS) * (_SLOW - 1)

    def take_again(self, lines: int) -> None:
        """Note that lines needed care: one by one they take twice as long as in columns."""
        self._left -= lines

    def skip(self, characters: int) -> None:
        """Note that blank lines were read, or characters that are left out."""
        self._left -= characters // _SKIPPED_CHARACTERS


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
        self.ended_early = False
        """The budget was spent: the rest of the text was left out."""

    def __iter__(self) -> Iterator[str]:
        """Yield the text; leave out an unterminated last line."""
        decoder = None
        for data in self._pieces:
            for at in range(0, len(data), PIECE_CHARACTERS):
                if self._budget.is_spent():
                    self.ended_early = True
                    return
                piece = data[at : at + PIECE_CHARACTERS]
                if decoder is None:
                    encoding, mark = _encoding_of(piece)
                    decoder = _decoder(encoding)
                    piece = piece[mark:]
                yield from self._whole_lines(decoder.decode(piece))
        if decoder:
            yield from self._whole_lines(decoder.decode(b"", final=True))
        self.ends_cut = self._rest_length > 0

    def _whole_lines(self, text: str) -> Iterator[str]:
        end = text.rfind("\n") + 1
        if end:
            whole = "".join([*self._rest, text[:end]])
            self._rest, self._rest_length = [], 0
            if whole.isspace():
                self._budget.skip(len(whole))
                whole = "\n"
            else:
                self._budget.take(whole.count("\n"), len(whole))
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
    return "utf-8", 0


def _decoder(encoding: str) -> io.IncrementalNewlineDecoder:
    """Return a decoder that also makes each CR and CRLF a line feed. Other bytes become U+FFFD."""
    return io.IncrementalNewlineDecoder(codecs.getincrementaldecoder(encoding)("replace"), translate=True)


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
    return (line if line.isascii() else line.translate(_BLANKS)).rstrip()
