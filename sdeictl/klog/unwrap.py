"""Removes what a mail, a web page, an indentation or a lost line end added to a kernel log. No I/O.

What a wrapper adds is a property of the whole text: a line that begins with ">" is quoted only
if other lines are. So a Wrapping looks at many lines before it changes one.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence

from sdeictl.klog.lines import clean
from sdeictl.klog.prefix import is_dated, record_starts

_TAG = re.compile(
    r"</?(?:a|b|br|code|div|font|i|li|p|pre|span|td|tr|tt|u)(?: [^<>]{0,200})?/?>", re.IGNORECASE
)
_CODE = re.compile(r"<(?:code|tt)>", re.IGNORECASE)
_INLINE_CODE = re.compile(rf"(\w[^\w<>]{{0,200}}){_CODE.pattern}", re.IGNORECASE)
"""Code inside a sentence is a quotation, as if it stood in Markdown's marks."""
_ENTITY = re.compile(r"&(?:lt|gt|amp|quot|apos|nbsp|#\d{1,7}|#x[0-9a-f]{1,6});", re.IGNORECASE)
_QUOTE = re.compile(r" {0,8}[>|](?: |$)")
_BARE_QUOTE = re.compile(r"[>|] ?")
_FENCE = re.compile(r"\s*(?:```|~~~)\w{0,20}")
_MAX_LAYERS = 8
"""How often a text may have been quoted."""
_MAX_HELD = 100
"""So many lines can hold one record."""
_MAX_CONTINUED = 1000
"""No mailer leaves a longer line."""
_STAMP = re.compile(r"\[ *\d{1,10}\.\d{6}\]")
_TIME = re.compile(r"\[ *(\d{1,10}\.\d{6})\]")
_MIN_CONTINUED = 2
"""The longest line may be followed by a line of another program, which then looks like a continuation."""
_LINE_END = re.compile(r"\r\n?|\n")
_SOFT_BREAK = re.compile(r"=(?:3D|20|0[9AD])", re.IGNORECASE)
_MIN_WIDTH, _MAX_WIDTH = 60, 100
"""The columns at which mailers wrap lines."""


class Wrapping:
    """What the place where a log was pasted added to its lines. The first lines of the text show it."""

    def __init__(self, sample: Sequence[str]) -> None:
        found = _without_fences(sample)
        self._soft_breaks = _has_soft_breaks(found)
        found = _join_soft_breaks(found) if self._soft_breaks else found
        self._layers: list[_Layer] = []
        while len(self._layers) < _MAX_LAYERS:
            bare = _without_html(found)
            layer = _Layer(bare)
            inner = layer.remove_marks(bare)
            if inner == found:
                break
            self._layers.append(layer)
            found = inner
        self._collapsed = _is_collapsed(found)
        found = _split_collapsed(found) if self._collapsed else found
        self._wrapped = _is_wrapped(found)
        self._width = _width(found)
        self.is_plain = not self._wrapped and found == list(sample)
        """Nothing was added."""
        self._held: list[str] = []
        """The last lines, which the next ones may continue."""

    def read(self, lines: Sequence[str]) -> list[str]:
        """Return the lines as they were before; hold back those that later lines may continue."""
        if self.is_plain:
            return list(lines)
        held = [*self._held, *lines]
        at = self._last_start(held) if self._soft_breaks or self._wrapped else len(held)
        self._held = held[at:]
        return self._without_layers(held[:at])

    def rest(self) -> list[str]:
        """Return the lines that were held back."""
        held, self._held = self._held, []
        return self._without_layers(held)

    def _last_start(self, lines: Sequence[str]) -> int:
        """Return the place of the last line that continues no other one."""
        at = len(lines) - 1
        while at > 0 and (_ends_soft(lines[at - 1]) or (self._wrapped and _has_no_time(lines[at]))):
            at -= 1
        return max(at, len(lines) - _MAX_HELD, 0)

    def _without_layers(self, lines: Sequence[str]) -> list[str]:
        found = _without_fences(lines)
        found = _join_soft_breaks(found) if self._soft_breaks else found
        for layer in self._layers:
            found = layer.remove(found)
        found = _split_collapsed(found) if self._collapsed else found
        return _join_wrapped(found, self._width) if self._wrapped else found


class _Layer:
    """One layer of HTML, of quotation marks and of indentation."""

    def __init__(self, sample: Sequence[str]) -> None:
        """Take lines that have lost their HTML."""
        filled = [line for line in sample if line]
        bare = sum(bool(_BARE_QUOTE.match(line)) for line in filled) * 2 > len(filled)
        self._mark = _BARE_QUOTE if bare else _QUOTE  # a mark without a blank counts if most lines have one
        unmarked = [self._without_mark(line) for line in filled]
        self._bars = sum(line.endswith(" |") for line in filled) * 2 > len(filled)
        self._indent = min((len(line) - len(line.lstrip(" ")) for line in unmarked if line), default=0)

    def remove(self, lines: Sequence[str]) -> list[str]:
        """Return the lines without the layer."""
        return self.remove_marks(_without_html(lines))

    def remove_marks(self, lines: Sequence[str]) -> list[str]:
        """Return lines that have lost their HTML without the rest of the layer."""
        blanks = " " * self._indent
        found = list(map(self._without_mark, lines))
        if self._bars:  # the end of a table's row
            found = [line.removesuffix("|").rstrip() for line in found]
        return [line.removeprefix(blanks) for line in found]

    def _without_mark(self, line: str) -> str:
        return self._mark.sub("", line, count=1) if self._mark.match(line) else line


def _without_fences(lines: Sequence[str]) -> list[str]:
    return [line for line in lines if not _FENCE.fullmatch(line)]


def _ends_soft(line: str) -> bool:
    """Tell whether a line of quoted-printable goes on in the next one."""
    return line.endswith("=") and len(line) <= _MAX_CONTINUED


def _has_soft_breaks(lines: Sequence[str]) -> bool:
    """Tell whether a text is quoted-printable: many lines end with "=" and go on in the next one."""
    broken = [line for line in lines if line.endswith("=")]
    if not broken or len(broken) * 50 < len(lines):
        return False
    # RFC 2045 allows 76 characters in a line.
    return any(map(_SOFT_BREAK.search, lines)) or all(60 < len(line) <= 76 for line in broken)


def _join_soft_breaks(lines: list[str]) -> list[str]:
    """Undo quoted-printable."""
    joined = "".join(line[:-1] if _ends_soft(line) else f"{line}\n" for line in lines).removesuffix("\n")
    return _split_lines(map(_unescape, joined.split("\n"))) if lines else []


def _unescape(line: str) -> str:
    raw = re.sub(r"=([0-9A-F]{2})", lambda match: chr(int(match[1], 16)), line)
    try:
        return raw.encode("latin-1").decode("utf-8")
    except ValueError:
        return raw


def _without_html(lines: Sequence[str]) -> list[str]:
    return list(map(clean, _split_lines(map(_without_tags, lines))))


def _without_tags(line: str) -> str:
    if "<" in line:
        if _CODE.search(line):
            line = _INLINE_CODE.sub(r"\1`", line)
        line = _TAG.sub("", line)
    return html.unescape(line) if _ENTITY.search(line) else line


def _split_lines(texts: Iterable[str]) -> list[str]:
    """Return texts as lines: an escape may stand for the end of a line."""
    return [line for text in texts for line in _LINE_END.split(text)]


def _is_collapsed(lines: Sequence[str]) -> bool:
    """Tell whether most line ends of a text became blanks.

    One line with two times does not count: a program may have logged the second one.
    """
    starts = [record_starts(line) for line in lines]
    count, filled = sum(map(len, starts)), sum(map(bool, starts))
    if not filled or count < 2 * filled:
        return False
    # A message may print the time of another clock; the times of a log do not fall back all the time.
    times = [float(stamp) for line in lines for stamp in _TIME.findall(line)]
    falls = sum(later < earlier for earlier, later in zip(times, times[1:]))
    return falls * 4 <= len(times)


def _split_collapsed(lines: Sequence[str]) -> list[str]:
    return [part for line in lines for part in _split_line(line) if part]


def _split_line(line: str) -> list[str]:
    places = [0, *record_starts(line)[1:], len(line)]
    return [line[start:end].rstrip() for start, end in zip(places, places[1:])]


def _is_wrapped(lines: Sequence[str]) -> bool:
    """Tell whether a mailer wrapped the lines: each next word would have gone past the longest line."""
    width = _width(lines)
    continued = _continued(lines)
    fitting = sum(_goes_past(lines, index, width) for index in continued)
    if fitting < _MIN_CONTINUED or not _MIN_WIDTH <= width <= _MAX_WIDTH:
        return False
    return fitting * 3 >= 2 * len(continued)


def _width(lines: Sequence[str]) -> int:
    """Return the length of the longest line with a time."""
    return max((len(line) for line in lines if _STAMP.search(line)), default=0)


def _continued(lines: Sequence[str]) -> list[int]:
    """Return the places of lines that have no time but follow one, with no empty line between."""
    found = []
    start = None
    for index, line in enumerate(lines):
        if not _has_no_time(line):
            start = index if _STAMP.search(line) else None
        elif start is not None and index - start <= _MAX_HELD:
            found.append(index)
    return found


def _has_no_time(line: str) -> bool:
    return 0 < len(line) <= _MAX_CONTINUED and not _STAMP.search(line) and not is_dated(line)


def _goes_past(lines: Sequence[str], index: int, width: int) -> bool:
    return len(lines[index - 1]) + 1 + len(lines[index].split()[0]) > width


def _join_wrapped(lines: Sequence[str], width: int) -> list[str]:
    joined: list[str] = []
    continued = set(_continued(lines))
    for index, line in enumerate(lines):
        if index in continued and _goes_past(lines, index, width):
            joined[-1] += f" {line}"
        else:
            joined.append(line)
    return joined
