"""An element of a page. Text is never markup here, whoever wrote it.

The tree and its serialiser are xml.etree of the standard library, which escapes every text and every
attribute. Libraries that build HTML (htpy, dominate) or escape it (markupsafe) would be one more dependency
on each host, for what is one function here.
"""

from __future__ import annotations

from typing import Union
from xml.etree.ElementTree import Element, SubElement, tostring

from sdeictl.text import visible

Node = Union[Element, str]
"""What an element has in it: other elements, and text."""
MAX_TEXT = 500
"""A text of more characters is cut, and ends in three dots: what a host calls itself cannot fill a page."""
_CODE = frozenset({"script", "style"})
"""The serialiser does not escape what is in them."""
_ADDRESSES = frozenset({"action", "data", "formaction", "href", "poster", "src", "srcset", "style"})
"""Attributes that could fetch something, or carry code."""


def element(tag: str, *children: Node | None, **attributes: str) -> Element:
    """Return a new element; None among its children is nothing.

    An underscore at the end of an attribute's name goes, any other becomes a dash: `class_`, `aria_label`.
    Control characters become visible, and a text has at most MAX_TEXT characters.
    Raises ValueError for what would run code or reach out of the page: a link leads to a place on the page.
    """
    if tag in _CODE:
        raise ValueError(f"a page has no {tag} from outside")
    made = Element(tag, {_name(key): _shown(text) for key, text in attributes.items()})
    for name, text in made.items():
        if name.startswith("on") or (name in _ADDRESSES and not (name == "href" and text.startswith("#"))):
            raise ValueError(f"a page has no {name}={text!r}")
    for child in children:
        _append(made, child)
    return made


def serialise(root: Element, style: str) -> str:
    """Return a whole page: its root element, with the style sheet at the end of its first child, the head."""
    if "<" in style:
        raise ValueError("a style sheet has no markup")
    SubElement(root[0], "style").text = style
    return f"<!DOCTYPE html>\n{tostring(root, encoding='unicode', method='html')}\n"


def _name(key: str) -> str:
    return key.rstrip("_").replace("_", "-")


def _append(parent: Element, child: Node | None) -> None:
    if child is None:
        return
    if isinstance(child, Element):
        parent.append(child)
    elif len(parent):
        parent[-1].tail = (parent[-1].tail or "") + _shown(child)
    else:
        parent.text = (parent.text or "") + _shown(child)


def _shown(text: str) -> str:
    shown = visible(text[: MAX_TEXT + 1])
    return shown if len(shown) <= MAX_TEXT else f"{shown[: MAX_TEXT - 3]}..."
