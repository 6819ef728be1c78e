"""The kernel command line: its public part asks for pseudo-NMI as the whole line does."""

from __future__ import annotations

from collections.abc import Iterator

from sdeictl.bench.conditions import costly_part
from sdeictl.bench.experiment import is_experiment_boot
from sdeictl.formats.cmdline import (
    PUBLIC_PARAMETERS,
    parse_bool,
    parse_parameters,
    public_part,
    split_words,
    wants_pseudo_nmi,
)
from sdeictl.probe.clean_text import clean_command_line
from tests.fuzz.harness import Target
from tests.fuzz.hosts import file_of
from tests.fuzz.shapes import with_long_numbers


def seeds() -> Iterator[bytes]:
    yield from with_long_numbers(file_of("/proc/cmdline"))
    yield b'a="b c" irqchip.gicv3_pseudo_nmi="1" "quiet" crashkernel=512M,high isolcpus=domain,1-3 -- x=y\n'


def check(data: bytes) -> None:
    line = data.decode("utf-8", "replace")
    public = public_part(line)
    assert public_part(public) == public
    assert wants_pseudo_nmi(public) is wants_pseudo_nmi(line)
    for name, value in parse_parameters(line):
        assert parse_bool(value) in (True, False, None)
        assert value is None or name is not None
    names = {name.replace("-", "_") for name, _value in parse_parameters(public)}
    assert names <= {name.replace("-", "_") for name in PUBLIC_PARAMETERS}
    assert all(word in line for word in split_words(line))
    costly_part(line)
    is_experiment_boot(line)
    if line.endswith("\n") and line[:-1].isprintable():
        assert clean_command_line(line) == f"{public}\n"


TARGET = Target(
    check,
    seeds,
    (parse_bool, parse_parameters, split_words),
    (*PUBLIC_PARAMETERS, "=1", "=enable", " -- ", '="'),
    8192,
)
