"""Values of sysctls, and the one line of a small file."""

from __future__ import annotations

from collections.abc import Iterator

from sdeictl.formats.sysctl import parse_number
from sdeictl.host.reader import MAX_VALUE_CHARACTERS, Reader, one_line
from sdeictl.probe.settings import read_number
from tests.fuzz.harness import Target
from tests.fuzz.hosts import MemoryRoot
from tests.fuzz.shapes import with_long_numbers


def seeds() -> Iterator[bytes]:
    yield from with_long_numbers((b"4\t4\t1\t7\n", b"0\n", b"-1\n", b"text of a file\n"))


def check(data: bytes) -> None:
    number = parse_number(data.decode("utf-8", "replace"))
    assert number is None or number >= 0
    line = one_line(data)
    assert line is None or (len(line) <= MAX_VALUE_CHARACTERS and "\n" not in line)
    root = MemoryRoot({"/value": data})
    reader = Reader(root)
    assert (reader.value("/value") is None) is bool(reader.gaps)
    found = read_number(root, "/value")
    assert found is None or found >= 0


TARGET = Target(check, seeds, (parse_number, read_number), (), 8192)
