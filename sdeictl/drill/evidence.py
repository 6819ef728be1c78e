"""Finds what outlasted a reset: a ramoops console, a log that the operator names, a crash dump."""

import os
from collections.abc import Iterator
from typing import NamedTuple

from sdeictl.drill.after_reset import find_drill
from sdeictl.host.root import open_large, read_stream
from sdeictl.interlock.journal import Entry
from sdeictl.vmcore.core import Core, read_core
from sdeictl.vmcore.corefile import CoreError
from sdeictl.vmcore.open import open_core

PSTORE = ("/sys/fs/pstore", "/var/lib/systemd/pstore")
"""systemd-pstore.service moves what it finds in the first into the second, at each boot."""
_RAMOOPS_CONSOLE = "console-ramoops"
CRASHES = ("/var/crash", "/var/lib/kdump", "/var/lib/systemd/coredump")
_CORES = ("vmcore", "dump.", "kdump.")
_INCOMPLETE = ("incomplete", ".new", ".tmp", "-dmesg", ".txt", ".log")
MAX_CORES = 20


class FoundLog(NamedTuple):
    """A log that has the drill in it, from its marker on."""

    path: str
    data: bytes


class FoundCore(NamedTuple):
    """A dump of the crash that the drill made."""

    path: str
    core: Core


def find_log(entry: Entry, evidence: str | None) -> FoundLog | None:
    """Return the log in which the drill is; None if no file has it. Raises OSError for a named file."""
    assert entry.aftermath is not None  # noqa: S101 - only asked of drills that end in a reset
    stated = evidence or entry.aftermath.path
    for path in [stated] if stated else _files(PSTORE, (_RAMOOPS_CONSOLE,), ()):
        data = read_stream(path)
        found = find_drill(data, entry.id)
        if found is not None:
            return FoundLog(path, found)
    return None


def find_core(entry: Entry, evidence: str | None) -> FoundCore | None:
    """Return the dump of the crash; None if no file is one. Raises OSError for a file that is named."""
    assert entry.aftermath is not None  # noqa: S101 - as above
    places = {int(cpu): address for cpu, address in entry.aftermath.places.items()}
    for path in [evidence] if evidence else _newest(_files(CRASHES, _CORES, _INCOMPLETE)):
        try:
            with open_large(path) as file:
                core = read_core(open_core(file), places)
        except CoreError:
            continue
        if core.log and find_drill(core.log, entry.id) is not None:
            return FoundCore(path, core)
    return None


def _files(directories: tuple[str, ...], starts: tuple[str, ...], ends: tuple[str, ...]) -> Iterator[str]:
    for directory in directories:
        for base, _directories, names in os.walk(directory):
            for name in sorted(names):
                if name.startswith(starts) and not name.endswith(ends or "/"):
                    yield os.path.join(base, name)


def _newest(paths: Iterator[str]) -> list[str]:
    return sorted(paths, key=os.path.getmtime, reverse=True)[:MAX_CORES]
