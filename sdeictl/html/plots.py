"""Plots as inline SVG: how values are distributed, and intervals on one scale. Each has its text."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree.ElementTree import Element

from sdeictl.html.element import Node, element
from sdeictl.html.kind import Kind
from sdeictl.text import NamedTuple

_ROW = 44
_BASE = 36
"""Where the ground of a row is, in pixels from its top."""
_LEFT, _WIDTH = 22.0, 76.0
"""Where a plot begins, and how wide it is, in percent of the page; the words stand before it."""


class Histogram(NamedTuple):
    """One row: how often values fall into each of some equal parts of the scale."""

    word: str
    counts: tuple[int, ...]
    mark: float | None
    """A place from 0 to 1 that a line marks."""
    kind: Kind


class Span(NamedTuple):
    """One row: an interval with its value, all on the scale of the plot."""

    word: str
    low: float
    value: float
    high: float
    kind: Kind


def histograms(rows: Sequence[Histogram], ends: tuple[str, str]) -> Element:
    """Return rows of columns on one scale, whose ends have these words."""
    drawn: list[Node] = []
    for place, row in enumerate(rows):
        drawn += _word(place, row.word)
        drawn += _columns(place * _ROW, row)
    drawn += _ends(len(rows) * _ROW, ends)
    sentence = ", ".join(f"{row.word}: {sum(row.counts)} samples" for row in rows)
    return _plot(len(rows), drawn, f"Distribution from {ends[0]} to {ends[1]}: {sentence}")


def spans(rows: Sequence[Span], noise: float | None, scale: float, ends: tuple[str, str]) -> Element:
    """Return intervals on a scale from -scale to +scale, with its zero, and with a band of +-noise."""
    height = len(rows) * _ROW
    drawn: list[Node] = []
    if noise is not None:
        left, right = _place(-min(noise, scale), scale), _place(min(noise, scale), scale)
        size = {"x": f"{left:.2f}%", "width": f"{right - left:.2f}%", "y": "0", "height": str(height)}
        drawn.append(element("rect", element("title", "noise"), class_="noise", **size))
    zero = f"{_place(0.0, scale):.2f}%"
    drawn.append(element("line", x1=zero, x2=zero, y1="0", y2=str(height), class_="zero"))
    for place, row in enumerate(rows):
        drawn += _word(place, row.word)
        drawn += _span(place * _ROW, row, scale)
    drawn += _ends(height, ends)
    said = ", ".join(f"{row.word}: {row.value:+.4f} ({row.low:+.4f} to {row.high:+.4f})" for row in rows)
    return _plot(len(rows), drawn, said)


def _plot(rows: int, drawn: Sequence[Node], sentence: str) -> Element:
    size = {"width": "100%", "height": str(rows * _ROW + 24), "class_": "plot"}
    return element("svg", *drawn, role="img", aria_label=sentence, **size)


def _word(place: int, word: str) -> list[Node]:
    return [element("text", word, x="0", y=str(place * _ROW + _BASE), aria_hidden="true")]


def _ends(top: int, ends: tuple[str, str]) -> list[Node]:
    y = str(top + 16)
    left = element("text", ends[0], x=f"{_LEFT}%", y=y, class_="end", aria_hidden="true")
    right = {"x": f"{_LEFT + _WIDTH}%", "y": y, "text_anchor": "end"}
    return [left, element("text", ends[1], class_="end", aria_hidden="true", **right)]


def _columns(top: int, row: Histogram) -> list[Node]:
    most = max(row.counts, default=0) or 1
    width = _WIDTH / max(len(row.counts), 1)
    drawn: list[Node] = []
    for place, count in enumerate(row.counts):
        if count:
            # One sample of thousands must be seen.
            height = max(round((_BASE - 4) * count / most, 1), 1.0)
            size = {
                "x": f"{_LEFT + place * width:.2f}%",
                "width": f"{width * 0.9:.2f}%",
                "height": f"{height:g}",
            }
            drawn.append(element("rect", y=f"{top + _BASE - height:g}", class_=str(row.kind), **size))
    if row.mark is not None:
        x = f"{_LEFT + _WIDTH * row.mark:.2f}%"
        drawn.append(element("line", x1=x, x2=x, y1=str(top + 2), y2=str(top + _BASE), class_="mark"))
    return drawn


def _place(value: float, scale: float) -> float:
    """Return where a value is, in percent; what is beyond the scale stands at its end."""
    return _LEFT + _WIDTH * (max(-scale, min(value, scale)) / scale + 1) / 2


def _span(top: int, row: Span, scale: float) -> list[Node]:
    y = str(top + _BASE - 6)
    low, value, high = (f"{_place(each, scale):.2f}%" for each in (row.low, row.value, row.high))
    return [
        element("line", x1=low, x2=high, y1=y, y2=y, class_=f"span {row.kind}"),
        element("circle", cx=value, cy=y, r="5", class_=str(row.kind)),
    ]
