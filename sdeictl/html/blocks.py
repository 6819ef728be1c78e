"""Blocks of a page: tables, lists, and what a reader unfolds."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree.ElementTree import Element

from sdeictl.html.element import Node, element
from sdeictl.text import NamedTuple


class Column(NamedTuple):
    """A column of a table."""

    heading: str
    number: bool = False
    """Its cells stand to the right."""


def table(caption: str, columns: Sequence[Column], rows: Sequence[Sequence[Node]]) -> Element:
    """Return a table; the first cell of a row is its heading."""
    heading = [element("th", each.heading, scope="col", **_class(each)) for each in columns]
    body = [
        element("tr", *(_cell(place, each, node) for place, (each, node) in enumerate(zip(columns, row))))
        for row in rows
    ]
    return element(
        "table",
        element("caption", caption),
        element("thead", element("tr", *heading)),
        element("tbody", *body),
    )


def items(nodes: Sequence[Node]) -> Element:
    """Return a list."""
    return element("ul", *(element("li", node) for node in nodes))


def folded(summary: str, *children: Node | None) -> Element:
    """Return what a reader unfolds, by mouse or keyboard."""
    return element("details", element("summary", summary), *children)


def paragraph(*children: Node | None, class_: str = "") -> Element:
    """Return a paragraph."""
    return element("p", *children, **({"class_": class_} if class_ else {}))


def prose(text: str) -> list[Node]:
    """Return a text in which what stands between backquotes is code, as on a terminal."""
    return [element("code", piece) if place % 2 else piece for place, piece in enumerate(text.split("`"))]


def _class(column: Column) -> dict[str, str]:
    return {"class_": "number"} if column.number else {}


def _cell(place: int, column: Column, node: Node) -> Element:
    if place == 0:
        return element("th", node, scope="row")
    return element("td", node, **_class(column))
