"""Words, records and lines for people and scripts. Kernel text is never markup here."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Iterable, Iterator
from enum import Enum
from itertools import groupby
from typing import TYPE_CHECKING

Piece = tuple[str, str]
"""(text, style); the style is one of rich's names, "" for none."""
Line = tuple[Piece, ...]


class Word(str, Enum):
    """A word of the contract. A member compares, prints and serialises as its value."""

    # Without this an f-string prints `Class.MEMBER` from Python 3.12 on.
    __str__ = str.__str__


if TYPE_CHECKING:
    from typing import NamedTuple as NamedTuple  # noqa: PLC0414 - others import it from here
else:

    class _Maker(type):
        """Makes a named tuple of the fields, the defaults and the methods of a class."""

        def __new__(cls, name, bases, body):
            if not bases:
                return super().__new__(cls, name, bases, body)
            fields = list(body["__annotations__"])
            defaults = [body.pop(field) for field in fields if field in body]
            made = namedtuple(name, fields, defaults=defaults, module=body["__module__"])
            for attribute, value in body.items():
                setattr(made, attribute, value)
            return made

    class NamedTuple(metaclass=_Maker):
        """typing.NamedTuple, but made in a third of the time.

        That one compiles the text of each annotation, although no program reads it: 200 of them when a probe
        starts, which took 4 % of its time.
        """


MAX_LISTED_CPUS = 16
"""More CPUs than this are listed as ranges."""


def list_cpus(cpus: Iterable[int]) -> str:
    """Return CPU numbers in ascending order, as sentences list them: `1, 2, 3`; many of them as `1-143`."""
    numbers = sorted(cpus)
    if len(numbers) <= MAX_LISTED_CPUS:
        return ", ".join(map(str, numbers))
    # The difference between a number and its place is the same all through a range.
    ranges = [[cpu for _, cpu in run] for _, run in groupby(enumerate(numbers), lambda at: at[1] - at[0])]
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in ranges)


def name_cpus(cpus: Iterable[int]) -> str:
    """Return `CPU 1` or `CPUs 1, 2`."""
    numbers = list(cpus)
    return f"CPU{'s' if len(numbers) > 1 else ''} {list_cpus(numbers)}"


def show_ladder(rungs: Iterable[str]) -> str:
    """Return the rungs of a stop ladder in the order in which the kernel climbs them: `ipi > sdei`."""
    return " > ".join(rungs)


def to_plain(lines: Iterable[Line]) -> str:
    """Return lines as plain text, with control characters in kernel text made visible."""
    return "".join(f"{''.join(visible(text) for text, _ in line).rstrip()}\n" for line in lines)


def lines_of(text: str) -> Iterator[str]:
    """Yield the lines that a newline ends, one at a time; str.splitlines knows nine more ends."""
    start = 0
    while (end := text.find("\n", start)) >= 0:
        yield text[start:end]
        start = end + 1
    if start < len(text):
        yield text[start:]


def visible(text: str) -> str:
    """Return a text with its control characters made visible."""
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def visible_lines(text: str) -> str:
    """Return a text of several lines with all other control characters made visible."""
    return "\n".join(map(visible, text.split("\n")))


def wrapped(text: str, width: int, indent: str = "", style: str = "", head: Line = ()) -> Iterator[Line]:
    """Yield a text as lines of at most `width` columns; a longer word is never cut.

    The first line begins with `head`, if there is one, and the others with the indent.
    """
    # textwrap does the same, but to import it takes a probe as long as to judge a host.
    begin = head or ((indent, ""),)
    words: list[str] = []
    left = width - sum(len(piece) for piece, _ in begin)
    for word in visible(text).split():
        if left < len(word) and (words or begin is head):
            yield (*begin, (" ".join(words), style))
            begin, words, left = ((indent, ""),), [], width - len(indent)
        words.append(word)
        left -= len(word) + 1
    if words or head:
        yield (*begin, (" ".join(words), style))


def fitted(lines: Iterable[Line], width: int) -> Iterator[Line]:
    """Yield lines, with the last piece of each wrapped if the line is longer than `width` columns."""
    for line in lines:
        if sum(len(text) for text, _ in line) <= width:
            yield line
        else:
            *head, (text, style) = line
            if 3 * sum(len(piece) for piece, _ in head) > 2 * width:
                head, text, style = [], "".join(piece for piece, _ in line), line[0][1]
            blanks = text[: len(text) - len(text.lstrip(" "))]
            yield from wrapped(text, width, f"{blanks}    ", style, head=(*head, (blanks, "")))


def print_styled(lines: Iterable[Line]) -> None:
    """Print lines on the terminal, in colour where the terminal has it."""
    from rich.console import Console  # noqa: PLC0415 - only a terminal pays for it
    from rich.text import Text  # noqa: PLC0415

    console = Console(highlight=False, soft_wrap=True)
    for line in lines:
        console.print(Text.assemble(*((visible(text), style) for text, style in line)))
