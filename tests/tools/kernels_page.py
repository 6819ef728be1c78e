"""Which message was seen on which booted kernel: the last section of docs/kernels.md, from tests/hosts."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from sdeictl.klog import messages
from sdeictl.klog.log import parse_log
from sdeictl.klog.messages.message import Message
from tests.conftest import HOST_NAMES, PROJECT, TESTS

PAGE = PROJECT / "docs" / "kernels.md"
HEADING = "## Seen on booted kernels\n"
INTRODUCTION = """
The tests write this table from the logs of the emulated hosts in `tests/hosts`: boot logs, consoles, and what
drills stored. A row is a message that sdeictl reads, with a line of the oldest kernel that printed it.
No line: no booted kernel has printed it, and it comes from a source or from a published log.
"""
REGISTERS = {
    "registers, with pmr_save": Message("", r"pmr_save: [0-9a-f]{8}$"),
    "registers, with pmr": Message("", r"pmr: [0-9a-f]{8}$"),
    "registers, the process": Message("CPU: ", r"CPU: \d+ (?:UID: \d+ )?PID: \d+ Comm: "),
    "registers, pstate": Message("pstate: ", r"pstate: [0-9a-f]{8} \("),
    "a warning": Message("WARNING: ", r"WARNING: "),
}
"""Lines that are read as parts of a message."""
_SAMPLE_LENGTH = 90


class Row(NamedTuple):
    """One message: its first line, and the series of the kernels that printed it."""

    name: str
    sample: str
    seen: frozenset[str]


def known_messages() -> Iterator[tuple[str, Message]]:
    """Yield each message that sdeictl reads, with its name in the source."""
    for module in pkgutil.iter_modules(messages.__path__):
        for name, value in vars(importlib.import_module(f"{messages.__name__}.{module.name}")).items():
            if isinstance(value, Message):
                yield f"{module.name}: {_words(name)}", value
            elif isinstance(value, tuple) and value and all(isinstance(each, Message) for each in value):
                for number, each in enumerate(value, 1):
                    yield f"{module.name}: {_words(name)}, form {number}", each
    yield from REGISTERS.items()


def _words(name: str) -> str:
    return name.lower().replace("_", " ")


def series_of(host: str) -> str:
    """Return the series of a host's kernel: 6.12."""
    version = (TESTS / "hosts" / host / "root/proc/version").read_text()
    match = re.match(r"Linux version (\d+\.\d+)", version)
    assert match, version
    return match[1]


def logs_of(host: str) -> Iterator[Path]:
    """Yield every log of a host."""
    base = TESTS / "hosts" / host
    yield from (
        path for path in (base / "console.log", base / "stalls.log", base / "root/kmsg.txt") if path.exists()
    )
    yield from (base / "drills").glob("*.log")


def lines_by_series() -> dict[str, list[str]]:
    """Return the lines that the kernels of each series have printed, the oldest series first."""
    lines: dict[str, dict[str, None]] = {}
    for host in HOST_NAMES:
        known = lines.setdefault(series_of(host), {})
        for path in logs_of(host):
            known.update((record.text, None) for record in parse_log(path.read_bytes()).records)
    return {series: list(lines[series]) for series in sorted(lines, key=_in_order)}


def _in_order(series: str) -> tuple[int, ...]:
    return tuple(map(int, series.split(".")))


def rows(lines: dict[str, list[str]]) -> list[Row]:
    """Return a row for each message, in the order of the source."""
    found = []
    for name, message in known_messages():
        first = {
            series: line
            for series, of_series in lines.items()
            if (line := next((line for line in of_series if message.match(line)), ""))
        }
        sample = next(iter(first.values()), "")[:_SAMPLE_LENGTH]
        found.append(Row(name, sample, frozenset(first)))
    return found


def render() -> str:
    """Return the section."""
    lines = lines_by_series()
    table = [("message", "first line", *lines), ("---",) * (len(lines) + 2)]
    for row in rows(lines):
        sample = f"`{row.sample}`".replace("|", "\\|") if row.sample else ""
        table.append((row.name, sample, *("x" if series in row.seen else "" for series in lines)))
    return f"{HEADING}{INTRODUCTION}\n" + "".join(f"| {' | '.join(line)} |\n" for line in table)


def page() -> str:
    """Return docs/kernels.md with the section renewed; what stands before it is written by hand."""
    by_hand, _, _ = PAGE.read_text().partition(HEADING)
    return by_hand.rstrip("\n") + "\n\n" + render()
