"""The files in which a crash leaves something: pstore, crash dumps, and any file that the user names.

Each directory of a crash, as kdump-tools, kdumpctl and the kdump of SUSE write them, is one find. So are the
records of one crash in pstore.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import BinaryIO

from sdeictl.host.gap import GapKind
from sdeictl.host.paths import CRASH_DUMPS, PSTORE
from sdeictl.host.reader import Reader
from sdeictl.klog.log import read_boots
from sdeictl.klog.records import KernelLog
from sdeictl.postmortem.account import Dump
from sdeictl.postmortem.words import DumpState
from sdeictl.probe.drills import MARK
from sdeictl.probe.stored_drills import RESULT_ID
from sdeictl.text import NamedTuple
from sdeictl.vmcore.core import Core, read_core
from sdeictl.vmcore.corefile import CoreError
from sdeictl.vmcore.open import open_core

DUMP_NAMES = ("vmcore", "dump.", "kdump.", "dump-incomplete")
NO_DUMPS = (".txt", ".log", ".new", ".tmp")
LOG_NAMES = re.compile(r"(?:vmcore-)?dmesg(?:[.-][\w.-]*)?(?:\.txt)?$", re.ASCII)
PSTORE_NAMES = re.compile(r"(?:dmesg|console)(?:[.-][\w.-]*)?$", re.ASCII)
INCOMPLETE = "incomplete"
_STAMP = re.compile(r"(20\d\d)\D?(\d\d)\D?(\d\d)\D?(\d\d)\D?(\d\d)")
"""The time in the name of a crash directory, in all distributions."""
_PART = re.compile(rb"(\w{1,20}#\d{1,9}) Part(\d{1,9})\n")
"""The first line of a record of kmsg_dump (fs/pstore/platform.c). Part 1 is the end of the log."""
MAX_TIMES = 300_000
"""So many records of a journal show to which boot it belongs."""
MAX_LOG_BYTES = 4 << 20
"""So much of the end of a log beside a dump is read."""
MAX_PSTORE_BYTES = 4 << 20
"""So much of pstore is read: a backend has a few records of some 10 KiB, and a console."""
MAX_LOG_BOOTS = 10
"""So many of the last boots in a log are read."""
MAX_CRASH_FILES = 8
"""So many files of one crash directory are read; each kdump service leaves two or three."""
MAX_PSTORE_LOGS = 50
"""So many crashes and consoles of pstore are read."""
MAX_RECORDS = 150_000
"""So many kernel records of all these files are kept; a boot has some 5,000."""
NO_RECORD = "it has no kernel record"
MANY_FILES = f"a crash left more than {MAX_CRASH_FILES} files: this and what follows was not read"
MANY_LOGS = f"pstore has more than {MAX_PSTORE_LOGS} logs: this and what follows was not read"
NO_ROOM = f"the logs of crashes have more than {MAX_RECORDS:,} kernel records: this one was left out"
MAX_ENTRIES = 10_000
MAX_DEPTH = 4
_MARK_BYTES = 200

_JOURNAL_TIME = re.compile(rb'"_SOURCE_MONOTONIC_TIMESTAMP" ?: ?"(\d{6,18})"')
_DRILL = re.compile(f"{MARK}({RESULT_ID})".encode())

OpenLarge = Callable[[str], BinaryIO]


class Find(NamedTuple):
    """What one crash left in one place."""

    logs: tuple[KernelLog, ...]
    sources: tuple[str, ...]
    dump: Dump = Dump()
    core: Core | None = None
    at: float | None = None
    """When the kernel crashed, by its own clock, in seconds since 1970; only a dump tells."""
    drill: str | None = None
    """The id of the last drill that left its mark in the logs."""
    went_on: bool = False
    """Another boot follows in the same log, so that this one has ended."""
    follows: bool = False
    """Another boot is before it in the same log."""
    named: bool = False
    """The user named it."""
    damage: str | None = None
    """Why a dump cannot be read, a clause."""


class Marks:
    """Looks in a log for the lines that drills write before they begin, and for the times in a journal."""

    def __init__(self) -> None:
        self.last: str | None = None
        """The id of the latest drill; it begins with the time."""
        self.times: set[int] = set()
        """Of all records in a journal, in microseconds since the boot: also of those that systemd wrote."""

    def watch(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """Yield the pieces of a log."""
        end = b""
        for piece in pieces:
            self.search(end + piece)
            end = piece[-_MARK_BYTES:]
            yield piece

    def search(self, text: bytes) -> None:
        """Note the latest drill in a text."""
        for found in _DRILL.findall(text):
            self.last = max(self.last or "", found.decode())
        if len(self.times) < MAX_TIMES:
            self.times.update(map(int, _JOURNAL_TIME.findall(text)))


class Room:
    """Counts how many more kernel records fit in memory, over the files of all crashes."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._left = MAX_RECORDS

    def fitting(self, finds: Iterable[Find]) -> Iterator[Find]:
        """Yield the finds that fit; note a gap for each other one, of which a dump stays without its log."""
        for find in finds:
            records = sum(len(log.records) for log in find.logs)
            if records <= self._left:
                self._left -= records
                yield find
            else:
                self._reader.gap(find.sources[0], GapKind.BROKEN, NO_ROOM)
                if find.dump.path:
                    yield find._replace(logs=())


def find_crashes(reader: Reader, open_large: OpenLarge, most: int, room: Room) -> tuple[list[Find], int]:
    """Return what the newest `most` crash directories hold, newest first, and how many others there are."""
    directories = [found for place in CRASH_DUMPS for found in _crash_directories(reader, place)]
    directories.sort(key=lambda found: _stamp(found[0]), reverse=True)
    finds = [_read_crash(reader, open_large, paths, room) for _name, paths in directories[:most]]
    return [find for find in finds if find], max(0, len(directories) - most)


def find_pstore(reader: Reader, room: Room) -> list[Find]:
    """Return what pstore holds: each record of a crash, and each console, is a find."""
    paths = [path for place in PSTORE for path in _walk(reader, place) if PSTORE_NAMES.match(_name(path))]
    parts = []
    left = MAX_PSTORE_BYTES
    for path in paths:
        data = reader.optional(path, reader.root.read)
        left -= len(data or b"")
        if left < 0:
            limit = f"pstore has more than {MAX_PSTORE_BYTES >> 20} MiB: what follows was not read"
            reader.gap(path, GapKind.BROKEN, limit)
            break
        if data is not None:
            parts.append((*_part_of(path, data), path, data))
    parts.sort(key=lambda part: part[:2])
    finds: list[Find] = []
    for number, (_crash, group) in enumerate(groupby(parts, key=lambda part: part[0])):
        members = list(group)
        if number == MAX_PSTORE_LOGS:
            reader.gap(members[0][2], GapKind.BROKEN, MANY_LOGS)
            break
        text = b"".join(data for _key, _part, _path, data in members)
        sources = tuple(path for _key, _part, path, _data in members)
        logs = read_log(sources, [text])
        if not logs:
            reader.gap(sources[0], GapKind.BROKEN, NO_RECORD)
        finds += room.fitting(logs)
    return finds


def read_log(paths: tuple[str, ...], pieces: Iterable[bytes], boots: int = MAX_LOG_BOOTS) -> list[Find]:
    """Return what each of the last boots in a log left, oldest first; nothing without a kernel record."""
    marks = Marks()
    logs = read_boots(marks.watch(pieces), boots)
    return [
        Find(
            (log,), paths, drill=marks.last if place == len(logs) - 1 else None,
            went_on=place < len(logs) - 1, follows=place > 0,
        )
        for place, log in enumerate(logs)
    ]  # fmt: skip


def read_dump(path: str, file: BinaryIO) -> Find:
    """Return what a dump holds, also one that cannot be read."""
    try:
        opened = open_core(file)
        core = read_core(opened)
    except CoreError as error:
        # If makedumpfile fails, kdump-tools of Debian leaves an empty file, named as a complete dump.
        cut = INCOMPLETE in _name(path) or not file.seek(0, os.SEEK_END)
        state = DumpState.INCOMPLETE if cut else DumpState.UNKNOWN
        return Find((), (path,), Dump(path, state), damage=str(error))
    cut = opened.is_truncated or INCOMPLETE in _name(path)
    state = DumpState.INCOMPLETE if cut else DumpState.COMPLETE
    logs = read_boots([core.log or b""], 1)
    at = None if core.crash_time is None else float(core.crash_time)
    marks = Marks()
    marks.search(core.log or b"")
    return Find(tuple(logs), (path,), Dump(path, state), core._replace(log=None), at, marks.last)


def _read_crash(reader: Reader, open_large: OpenLarge, paths: Sequence[str], room: Room) -> Find | None:
    """Return what the files of one crash hold together; None if none of them can be read."""
    found: list[Find] = []
    if len(paths) > MAX_CRASH_FILES:
        reader.gap(paths[MAX_CRASH_FILES], GapKind.BROKEN, MANY_FILES)
    for path in paths[:MAX_CRASH_FILES]:
        if is_dump(_name(path)):
            find = reader.attempt(path, lambda path: _open_dump(open_large, path))
        else:
            data = reader.attempt(path, reader.root.read)
            logs = [] if data is None else read_log((path,), [data[-MAX_LOG_BYTES:]], boots=1)
            if data is not None and not logs:
                reader.gap(path, GapKind.BROKEN, NO_RECORD)
            find = logs[-1] if logs else None
        if find and find.damage:
            reader.gap(path, GapKind.BROKEN, f"it cannot be read as a crash dump: {find.damage}")
        found += room.fitting([find] if find else [])
    if not found:
        return None
    with_dump = max(found, key=lambda find: (find.core is not None, find.dump.path is not None))
    return with_dump._replace(
        logs=tuple(log for find in found for log in find.logs),
        sources=tuple(source for find in found for source in find.sources),
        drill=max((find.drill for find in found if find.drill), default=None),
    )


def _open_dump(open_large: OpenLarge, path: str) -> Find:
    with open_large(path) as file:
        return read_dump(path, file)


def is_dump(name: str) -> bool:
    """Tell whether a file has a name that a dump has."""
    return name.startswith(DUMP_NAMES) and not name.endswith(NO_DUMPS) and not LOG_NAMES.match(name)


def _crash_directories(reader: Reader, place: str) -> Iterator[tuple[str, list[str]]]:
    """Yield each directory below a place that holds a dump or its log, and each dump in the place itself."""
    paths = [path for path in _walk(reader, place) if is_dump(_name(path)) or LOG_NAMES.match(_name(path))]
    for directory, group in groupby(sorted(paths), key=lambda path: path.rpartition("/")[0]):
        members = list(group)
        if directory == place:
            yield from ((_name(path), [path]) for path in members)
        else:
            yield _name(directory), members


def _walk(reader: Reader, directory: str) -> Iterator[str]:
    """Yield the files below a directory, at most MAX_ENTRIES; a directory that is missing has none."""
    left = MAX_ENTRIES
    waiting = [(directory, 0)]
    while waiting and left > 0:
        path, depth = waiting.pop()
        names = _names(reader, path) if depth < MAX_DEPTH else None
        if names is None:
            if depth:
                yield path
            continue
        left -= len(names)
        waiting += [(f"{path}/{name}", depth + 1) for name in reversed(names)]


def _names(reader: Reader, path: str) -> tuple[str, ...] | None:
    """Return the names in a directory; None if the path is none."""
    try:
        return reader.root.names(path)
    except (NotADirectoryError, FileNotFoundError):
        return None
    except OSError as error:
        reader.refused(path, error)
    return ()


def _part_of(path: str, data: bytes) -> tuple[tuple[str, str], int]:
    """Return which crash a record of pstore belongs to, and its place: the last part comes first."""
    match = _PART.match(data)
    directory, _, name = path.rpartition("/")
    if not match:
        return (path, ""), 0
    backend = name.rstrip("0123456789-")
    # A record of ramoops is whole. Records of EFI and ERST are parts.
    whole = name if "ramoops" in backend else backend
    return (f"{directory}/{whole}", match[1].decode()), -int(match[2])


def _stamp(name: str) -> str:
    """Return what sorts crash directories by their times; those without a time are the oldest."""
    match = _STAMP.search(name)
    return "".join(match.groups()) if match else ""


def _name(path: str) -> str:
    return path.rpartition("/")[2]
