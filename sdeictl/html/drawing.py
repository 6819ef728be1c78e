"""Small pictures as inline SVG, each with its text."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree.ElementTree import Element

from sdeictl.html.element import Node, element
from sdeictl.html.kind import SIGNS, Kind
from sdeictl.text import NamedTuple

_HEIGHT = 32
_RADIUS = 11
_MIN_SIGN = 3.0
"""A part of less percent has no room for its sign; the legend has it."""
_MIN_PART = 1.0
"""A part of less percent is drawn as wide as this: one host of 10,000 must be seen."""


class Part(NamedTuple):
    """One part of a whole."""

    word: str
    value: int
    kind: Kind


def stacked_bar(parts: Sequence[Part]) -> Element:
    """Return a bar of the width of the page, divided in proportion; a screen reader gets a sentence.

    Parts without a value are left out. Its lengths are in percent, so that signs keep their size.
    """
    shown = [part for part in parts if part.value > 0]
    widths = _widths(shown)
    drawn: list[Node] = []
    start = 0.0
    for part, width in zip(shown, widths):
        drawn.append(_rectangle(start, width, part))
        if width >= _MIN_SIGN:
            drawn.append(_sign(start + width / 2, part.kind))
        start += width
    size = {"width": "100%", "height": str(_HEIGHT), "class_": "bar"}
    return element("svg", *drawn, role="img", aria_label=_sentence(shown), **size)


def marked(kind: Kind | None, word: str) -> Element:
    """Return a word behind the sign of its kind, as the bar has it; None: behind an empty place."""
    if kind is None:
        return element("span", element("span", class_="sign"), word, class_="marked")
    shown = element("span", SIGNS[kind], class_=f"sign {kind}", aria_hidden="true")
    return element("span", shown, word, class_="marked")


def _widths(parts: Sequence[Part]) -> list[float]:
    """Return the width of each part in percent; together they are 100."""
    total = sum(part.value for part in parts)
    widths = [max(100 * part.value / total, _MIN_PART) for part in parts]
    return [100 * width / sum(widths) for width in widths]


def _sentence(parts: Sequence[Part]) -> str:
    return ", ".join(f"{part.value:,} {part.word}" for part in parts)


def _rectangle(start: float, width: float, part: Part) -> Element:
    size = {"x": f"{start:.3f}%", "width": f"{width:.3f}%", "height": str(_HEIGHT)}
    return element("rect", element("title", _sentence([part])), class_=str(part.kind), **size)


def _sign(middle: float, kind: Kind) -> Element:
    place = {"x": f"{middle:.3f}%", "y": "50%", "dy": "0.35em", "text_anchor": "middle"}
    return element("text", SIGNS[kind], class_=str(kind), aria_hidden="true", **place)


class Link(NamedTuple):
    """One link of a chain."""

    word: str
    kind: Kind
    state: str
    """What the kind says, such as `fail`."""


def chain(links: Sequence[Link]) -> Element:
    """Return links from top to bottom, each a disc with its sign and its word; a broken one breaks the line.

    A screen reader gets a sentence.
    """
    drawn: list[Node] = []
    holds = True
    for place, link in enumerate(links):
        top = place * _HEIGHT
        if place:
            # What comes behind a broken link is not reached.
            holds = holds and links[place - 1].kind is not Kind.BAD
            drawn.append(_joint(top, holds=holds))
        drawn += _disc(top + _HEIGHT / 2, link)
    sentence = ", ".join(f"{link.word}: {link.state}" for link in links)
    size = {"width": "100%", "height": str(_HEIGHT * len(links)), "class_": "chain"}
    return element("svg", *drawn, role="img", aria_label=sentence, **size)


def _joint(top: float, *, holds: bool) -> Element:
    ends = {"y1": f"{top - _HEIGHT / 2 + _RADIUS:g}", "y2": f"{top + _HEIGHT / 2 - _RADIUS:g}"}
    return element("line", x1="16", x2="16", class_="holds" if holds else "broken", **ends)


def _disc(middle: float, link: Link) -> list[Node]:
    y = f"{middle:g}"
    sign = {"x": "16", "y": y, "dy": "0.35em", "text_anchor": "middle"}
    return [
        element("circle", element("title", link.state), cx="16", cy=y, r=str(_RADIUS), class_=str(link.kind)),
        element("text", SIGNS[link.kind], class_="mark", aria_hidden="true", **sign),
        element("text", link.word, x="36", y=y, dy="0.35em", aria_hidden="true"),
    ]
