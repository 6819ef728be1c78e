"""What is on a page of HTML, and names that must not become markup there."""

from __future__ import annotations

from html.parser import HTMLParser

VOID = {"br", "hr", "img", "link", "meta"}
HOSTILE = {
    "markup": "</code><script>alert(1)</script><img src=x onerror=alert(1)>",
    "attribute": "\" onmouseover='alert(1)' x=\"",
    "entity": "&lt;b&gt; &#60; &amp",
    "comment": "<!-- --> ]]> <![CDATA[",
    "control": "\x00\x1b[2J\x7f\r\n\t",
    "direction": "\u202egnp.exe\u202c \u2066",
    "surrogate": "\udc80\ud800",
    "style": "</style><style>*{display:none}</style>",
    "long": "x" * 3_000,
    "wide": "\u4e2d&" * 1_500,
}  # fmt: skip
"""Names that a host, a server or a file can have."""


class Outline(HTMLParser):
    """What is on a page; it fails at an element that is not closed in its turn."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self._open: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[tuple[tuple[str, ...], str]] = []
        """Each text, and in which elements it is."""
        self.feed(page.decode())
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(attrs) == len(dict(attrs)), (tag, attrs)
        self.elements.append((tag, {name: text or "" for name, text in attrs}))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((tuple(self._open), data))

    def attributes(self, name: str) -> list[str]:
        """Return the values of an attribute, of whichever element."""
        return [attributes[name] for _tag, attributes in self.elements if name in attributes]

    def tags(self) -> list[str]:
        return [tag for tag, _attributes in self.elements]

    def text(self) -> str:
        """Return what a person reads."""
        return " ".join(" ".join(text for within, text in self.texts if "style" not in within).split())
