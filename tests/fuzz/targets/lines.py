"""The lines of a log: the same whole lines, in whatever pieces the bytes arrive."""

from __future__ import annotations

from collections.abc import Iterator

from sdeictl.klog.lines import LineBudget, LineReader, clean, clean_lines
from tests.fuzz import logs
from tests.fuzz.harness import Target


def seeds() -> Iterator[bytes]:
    yield from (log[:600] for log in logs.logs())
    yield b"\x1b[31mred\x1b[0m\ttab#011\\x09\xc2\xa0blank \r\nnext\rlast without end"
    yield "\ufefftext\n".encode("utf-16-le")
    yield "text\n".encode("utf-16-be")


def check(data: bytes) -> None:
    whole = LineReader([data], LineBudget())
    pieces = LineReader(logs.pieces_of(data), LineBudget())
    texts = list(whole)
    assert all(text.endswith("\n") for text in texts)
    one_encoding = len(data) < 2 or len(next(logs.pieces_of(data))) > 1  # the first piece shows the encoding
    if one_encoding and b"\0" not in data:
        assert squeezed(texts) == squeezed(list(pieces))
        assert whole.ends_cut is pieces.ends_cut
    for line in clean_lines("".join(texts)):
        assert line == line.rstrip()
        assert "\n" not in line
        assert clean(line) is not None


def squeezed(texts: list[str]) -> list[str]:
    """Return the lines that are not blank: a piece of nothing but blanks becomes one empty line."""
    return [line.rstrip() for line in "".join(texts).split("\n") if line.strip()]


TARGET = Target(check, seeds, (), logs.WORDS)
