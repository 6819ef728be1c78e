"""Finds the evidence that survived a reset: a ramoops console, a log that the operator names, a dump."""

from __future__ import annotations

import os
from collections.abc import Iterator

from sdeictl.host.files import open_large, read_stream
from sdeictl.host.paths import CRASH_DUMPS, PSTORE
from sdeictl.interlock.journal import Aftermath
from sdeictl.probe.drills import MARK
from sdeictl.text import NamedTuple
from sdeictl.vmcore.core import Core, read_core
from sdeictl.vmcore.corefile import CoreError
from sdeictl.vmcore.open import open_core

_RAMOOPS_CONSOLE = "console-ramoops"
_DUMPS = ("vmcore", "dump.", "kdump.")
_NO_DUMPS = ("incomplete", ".new", ".tmp", "-dmesg", ".txt", ".log")
MAX_DUMPS = 20
"""So many of the newest dumps are opened."""


class FoundLog(NamedTuple):
    """A log that has the drill in it, from its marker on."""

    path: str
    data: bytes


class FoundDump(NamedTuple):
    """A dump of the crash that the drill made."""

    path: str
    core: Core


def find_drill(log: bytes, identifier: str) -> bytes | None:
    """Return a log from the marker of a drill on; None if it does not have the marker."""
    at = log.rfind(f"{MARK}{identifier}".encode())
    return None if at < 0 else log[log.rfind(b"\n", 0, at) + 1 :]


def find_log(identifier: str, aftermath: Aftermath, evidence: str | None) -> FoundLog | None:
    """Return the log that has the drill; None if no file has it. Raises OSError for a file that is named."""
    stated = evidence or aftermath.path
    for path in [stated] if stated else _files(PSTORE, (_RAMOOPS_CONSOLE,), ()):
        found = find_drill(read_stream(path), identifier)
        if found is not None:
            return FoundLog(path, found)
    return None


def find_dump(identifier: str, aftermath: Aftermath, evidence: str | None) -> FoundDump | None:
    """Return the dump of the crash; None if no file is one. Raises OSError for a file that is named."""
    places = {int(cpu): address for cpu, address in aftermath.places.items()}
    for path in [evidence] if evidence else _newest(_files(CRASH_DUMPS, _DUMPS, _NO_DUMPS)):
        try:
            with open_large(path) as file:
                core = read_core(open_core(file), places)
        except CoreError:
            continue
        if core.log and find_drill(core.log, identifier) is not None:
            return FoundDump(path, core)
    return None


def _files(directories: tuple[str, ...], starts: tuple[str, ...], ends: tuple[str, ...]) -> Iterator[str]:
    for directory in directories:
        for base, _directories, names in os.walk(directory):
            for name in sorted(names):
                if name.startswith(starts) and not name.endswith(ends or "/"):
                    yield os.path.join(base, name)


def _newest(paths: Iterator[str]) -> list[str]:
    return sorted(paths, key=os.path.getmtime, reverse=True)[:MAX_DUMPS]
