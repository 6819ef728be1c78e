"""Lists of CPUs: ascending numbers within the bounds of the kernel, which give the same list again."""

from __future__ import annotations

from collections.abc import Iterator

from sdeictl.formats.cpulist import MAX_CPU, parse_cpulist
from sdeictl.text import list_cpus
from tests.fuzz.harness import Target
from tests.fuzz.shapes import with_long_numbers


def seeds() -> Iterator[bytes]:
    yield from with_long_numbers((b"0-1,3\n", b"4095", b"0,2,4-4,9-100"))


def check(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    cpus = parse_cpulist(text)
    assert all(0 <= cpu <= MAX_CPU for cpu in cpus)
    assert all(one < other for one, other in zip(cpus, cpus[1:]))
    assert parse_cpulist(list_cpus(cpus).replace(" ", "")) == cpus
    assert bool(cpus) is (text.strip() != "" and parse_cpulist(text.strip()) != ())


TARGET = Target(check, seeds, (parse_cpulist,), (), 8192)
