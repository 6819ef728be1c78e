"""A page that needs nothing else: one file without scripts, pictures, fonts or addresses."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256
from xml.etree.ElementTree import Element

from sdeictl.html.element import Node, element, serialise
from sdeictl.html.style import STYLE
from sdeictl.text import NamedTuple


class Section(NamedTuple):
    """A part of a page with a heading of its own, to which the list of contents leads."""

    title: str
    body: Sequence[Node]


class Page(NamedTuple):
    """What a page says."""

    title: str
    """In the title of the window, and in bookmarks."""
    origin: Sequence[Node]
    """Above everything: what the page is, of what, and when."""
    lead: Sequence[Node]
    """The first part, with the one heading of the page, `h1`."""
    sections: Sequence[Section]
    footer: Sequence[Node]


def render_page(page: Page) -> bytes:
    """Return a page as UTF-8."""
    sections = [_section(section) for section in page.sections]
    body = element(
        "body",
        element("a", "Skip to the result", href="#result", class_="skip"),
        element("header", element("p", *page.origin)),
        element(
            "main",
            element("div", *page.lead, id="result", tabindex="-1"),
            _contents(page.sections) if sections else None,
            *sections,
        ),
        element("footer", element("p", *page.footer)),
    )
    root = element("html", _head(page.title), body, lang="en")
    # What UTF-8 cannot have, such as half of a surrogate pair, is visible as \\udc80 by now.
    return serialise(root, STYLE).encode()


def place_of(title: str) -> str:
    """Return the anchor of a section."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def _head(title: str) -> Element:
    return element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_policy()),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="referrer", content="no-referrer"),
        element("title", title),
    )


def _policy() -> str:
    """Return a policy that allows this one style sheet, and nothing that fetches, runs or sends."""
    digest = b64encode(sha256(STYLE.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def _contents(sections: Sequence[Section]) -> Element:
    links = (element("li", element("a", each.title, href=f"#{place_of(each.title)}")) for each in sections)
    return element("nav", element("ul", *links), aria_label="Contents")


def _section(section: Section) -> Element:
    place = place_of(section.title)
    return element("section", element("h2", section.title, id=place), *section.body, aria_labelledby=place)
