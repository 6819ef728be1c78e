"""Takes a kernel log out of what it was pasted into: mail, HTML, indentation, one long line. No I/O.

What a wrapper adds is a property of the whole text: a line that begins with ">" is quoted only
if other lines are. So each function here looks at all lines before it changes one.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Sequence

from sdeictl.klog.lines import clean

_TAG = re.compile(
    r"</?(?:a|b|br|code|div|font|i|li|p|pre|span|td|tr|tt|u)(?: [^<>]{0,200})?/?>", re.IGNORECASE
)
_ENTITY = re.compile(r"&(?:lt|gt|amp|quot|apos|nbsp|#\d{1,7}|#x[0-9a-f]{1,6});", re.IGNORECASE)
_QUOTE = re.compile(r" {0,8}[>|](?: |$)")
_BARE_QUOTE = re.compile(r"[>|] ?")
_FENCE = re.compile(r"\s*(?:```|~~~)\w{0,20}")
_MAX_LAYERS = 8
"""How often a text may have been quoted."""
_STAMP = re.compile(r"\[ *\d{1,10}\.\d{6}\]")
_NEXT_RECORD = re.compile(r" ?(?=(?:<\d{1,3}>)?\[ *\d{1,10}\.\d{6}\])")
_SOFT_BREAK = re.compile(r"=(?:3D|20|0D|09)", re.IGNORECASE)
_MIN_WIDTH, _MAX_WIDTH = 60, 100
"""The columns at which mailers wrap lines."""


def unwrap(lines: Sequence[str]) -> list[str]:
    """Return the lines of a text that was pasted somewhere, without what that place added."""
    found = _join_soft_breaks([line for line in lines if not _FENCE.fullmatch(line)])
    for _layer in range(_MAX_LAYERS):
        outer, found = found, _without_layer(found)
        if found == outer:
            break
    return _join_wrapped(_split_collapsed(found))


def _without_layer(lines: list[str]) -> list[str]:
    """Remove one layer of HTML, of quotation marks and of indentation."""
    found = [clean(_without_html(line)) for line in lines]
    filled = [line for line in found if line]
    bare = sum(bool(_BARE_QUOTE.match(line)) for line in filled) * 2 > len(filled)
    mark = _BARE_QUOTE if bare else _QUOTE  # a mark without a blank counts if most lines have one
    found = [mark.sub("", line, count=1) if mark.match(line) else line for line in found]
    indent = min((len(line) - len(line.lstrip(" ")) for line in found if line), default=0)
    return [line[indent:] for line in found] if indent else found


def _join_soft_breaks(lines: list[str]) -> list[str]:
    """Undo quoted-printable: a line that ends with "=" goes on in the next one."""
    if sum(line.endswith("=") for line in lines) * 50 < len(lines) or not any(map(_SOFT_BREAK.search, lines)):
        return lines
    joined = "\n".join(lines).replace("=\n", "")
    return [_unescape(line) for line in joined.split("\n")]


def _unescape(line: str) -> str:
    raw = re.sub(r"=([0-9A-F]{2})", lambda match: chr(int(match[1], 16)), line)
    try:
        return raw.encode("latin-1").decode("utf-8")
    except ValueError:
        return raw


def _without_html(line: str) -> str:
    if "<" in line:
        line = _TAG.sub("", line)
    return html.unescape(line) if _ENTITY.search(line) else line


def _split_collapsed(lines: list[str]) -> list[str]:
    """Split the lines of a text in which most line ends became blanks.

    One line with two times is no such text: a program may have logged the second one.
    """
    stamps = [len(_STAMP.findall(line)) for line in lines]
    if sum(stamps) < 2 * sum(map(bool, stamps)) or not any(stamps):
        return lines
    return [part for line in lines for part in _NEXT_RECORD.sub("\n", line).split("\n") if part]


def _join_wrapped(lines: list[str]) -> list[str]:
    """Join the lines that a mailer wrapped: each next word would have gone past the longest line."""
    width = max(map(len, lines), default=0)
    starts: Callable[[str], object] = _STAMP.search
    cut = [index for index, line in enumerate(lines) if index and line and not starts(line)]
    if not cut or not _MIN_WIDTH <= width <= _MAX_WIDTH or not starts(lines[0]):
        return lines
    if any(len(lines[index - 1]) + 1 + len(lines[index].split()[0]) <= width for index in cut):
        return lines
    joined: list[str] = []
    for index, line in enumerate(lines):
        if line and index and not starts(line):
            joined[-1] += f" {line}"
        else:
            joined.append(line)
    return joined
