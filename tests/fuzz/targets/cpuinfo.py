"""/proc/cpuinfo: the lines that a capture keeps say the same."""

from __future__ import annotations

from collections.abc import Iterator

from sdeictl.formats.cpuinfo import parse_architecture, parse_cpuinfo
from sdeictl.probe.clean_text import clean_cpuinfo
from tests.fuzz.harness import Target
from tests.fuzz.hosts import file_of
from tests.fuzz.shapes import with_long_numbers

WORDS = (
    "processor\t: 0\n", "CPU implementer\t: 0x41\n", "CPU architecture: 8\n", "CPU variant\t: 0x0\n",
    "CPU part\t: 0xd4f\n", "CPU revision\t: 0\n", "vendor_id\t: ", "cpu family\t: 6\n", "hart\t: 0\n",
    "isa\t: rv64",
)  # fmt: skip


def seeds() -> Iterator[bytes]:
    yield from with_long_numbers(file[:700] for file in file_of("/proc/cpuinfo"))
    yield "".join(WORDS).encode()


def check(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    cpus = parse_cpuinfo(text)
    assert sum(count for _core, count in cpus.kinds) <= cpus.online
    assert (cpus.midr is None) is (not cpus.kinds)
    assert cpus.midr is None or 0 <= cpus.midr < 1 << 40
    cleaned = clean_cpuinfo(text)
    assert parse_architecture(cleaned) == parse_architecture(text)
    assert parse_cpuinfo(cleaned) == cpus
    assert clean_cpuinfo(cleaned) == cleaned


TARGET = Target(check, seeds, (parse_architecture, parse_cpuinfo), WORDS, 8192)
