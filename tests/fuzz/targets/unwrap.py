"""What a mail or a web page added to a log: removing it adds nothing that was not there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from sdeictl.klog.lines import clean_lines
from sdeictl.klog.prefix import is_foreign, record_starts
from sdeictl.klog.unwrap import Wrapping
from tests.fuzz import logs
from tests.fuzz.harness import Target


def seeds() -> Iterator[bytes]:
    yield from logs.logs()
    yield (
        b"[    1.000000] a long line that a mailer wrapped because it was longer than seventy two\ncolumns\n"
        * 3
    )


def check(data: bytes) -> None:
    lines = clean_lines(data.decode("utf-8", "replace"))
    wrapping = Wrapping(lines)
    found = [*wrapping.read(lines), *wrapping.rest()]
    assert wrapping.rest() == []
    if wrapping.is_plain:
        assert found == lines
    assert all("\n" not in line for line in found)
    if not any(
        mark in line for line in lines for mark in "&="
    ):  # entities and quoted-printable stand for others
        assert not count(found) - count(lines), "a character that was not there"
    for line in lines:
        starts = record_starts(line)
        assert starts == sorted(set(starts))
        assert all(0 <= start < len(line) for start in starts)
        assert isinstance(is_foreign(line), bool)


def count(lines: list[str]) -> Counter[str]:
    """Return how often each character occurs, without blanks."""
    return Counter("".join(lines).replace(" ", ""))


TARGET = Target(check, seeds, (Wrapping.read,), logs.WORDS)
