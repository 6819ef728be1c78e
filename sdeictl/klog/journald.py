"""The kernel's records in the systemd journal (`journalctl -o json`, `verbose`, ...) and `dmesg -J`. No I/O.

systemd.journal-fields(7); src/journal/journald-kmsg.c; sys-utils/dmesg.c of util-linux.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

_KERNEL_FACILITY = "0"
_SAMPLE_LINES = 500
_MAX_ENTRY_CHARACTERS = 1 << 20
"""Limit for an object in several lines; an entry of the journal has a few dozen fields."""
_LINE_CHARACTERS = 64
"""What each of its lines costs besides its text."""
_FIELD = re.compile(r"\s*([A-Z_][A-Z0-9_]{0,63})=(.*)")
_ENTRY_OF_VERBOSE = re.compile(r"\w{3} \d{4}-\d\d-\d\d ")
"""How an entry begins; its cursor follows, `[s=...]`."""
_READ = frozenset({
    "_TRANSPORT", "SYSLOG_FACILITY", "_SOURCE_MONOTONIC_TIMESTAMP", "PRIORITY", "MESSAGE", "_BOOT_ID",
})  # fmt: skip
"""The fields that make a record."""
BOUNDARY = "-- Reboot --"
"""What `journalctl` prints between two boots."""
_TEXTS = ("log", "msg")
"""The line of a console in the JSON of Docker and of LAVA."""
_EVENT = "data: "
"""How a line of `journalctl -o json-sse` begins."""


def is_journal(lines: Sequence[str]) -> bool:
    """Tell whether a text is output of `journalctl` with all fields of each entry, or of `dmesg -J`."""
    filled = [line.strip() for line in lines[:_SAMPLE_LINES] if line.strip()]
    if not filled:
        return False
    first = filled[0].removeprefix("- ")
    if first in ("{", "[", "[{") or first.startswith(('{"', '{ "', '[{"', _EVENT + "{")):
        return True
    return any(line.startswith("_TRANSPORT=") for line in filled)


def parse_journal(output: bytes) -> bytes:
    """Return the records that the kernel itself logged, in the format of `dmesg -r`.

    The journal does not show which records it lost, so a missing line proves nothing.
    """
    lines = output.decode("utf-8", "replace").split("\n")[:-1]
    entries = EntryReader(lines)
    return "".join(f"{line}\n" for line in [*entries.read(lines), *entries.rest()]).encode()


class EntryReader:
    """Turns entries of the journal into lines of `dmesg -r`, for the records that the kernel itself logged.

    An entry may have lines in several pieces of a text.
    """

    def __init__(self, sample: Sequence[str]) -> None:
        self._as_fields = any(line.strip().startswith("_TRANSPORT=") for line in sample[:_SAMPLE_LINES])
        self._entry: dict[str, object] = {}
        self._block: list[str] = []
        """The lines of an object in indented JSON."""
        self._room = 0
        """How many characters they may still have."""
        self._boot_id: object = None

    def read(self, lines: Sequence[str]) -> list[str]:
        """Return the records of the entries that end in these lines."""
        entries = self._field_entries(lines) if self._as_fields else self._json_entries(lines)
        return [line for entry in entries for line in self._lines_of(entry)]

    def rest(self) -> list[str]:
        """Return the record of the last entry, if nothing ended it."""
        return self._lines_of(self._entry)

    def _lines_of(self, entry: Mapping[str, object]) -> list[str]:
        """Return the line of an entry, after one that says so if it is of another boot than the last one."""
        line = _dmesg_line(entry)
        before, self._boot_id = self._boot_id, entry.get("_BOOT_ID", self._boot_id) if line else self._boot_id
        return [*([BOUNDARY] if before not in (None, self._boot_id) else []), *([line] if line else [])]

    def _field_entries(self, lines: Iterable[str]) -> Iterator[dict[str, object]]:
        """Yield the entries of `verbose` and `export`: one field in a line, an empty line between entries."""
        for line in lines:
            field = _FIELD.match(line)
            if field:
                if field[1] in _READ:
                    self._entry.setdefault(field[1], field[2])
            elif self._entry and (not line.strip() or _begins_entry(line)):
                yield self._entry
                self._entry = {}

    def _json_entries(self, lines: Iterable[str]) -> Iterator[Mapping[str, object]]:
        """Yield the objects of JSON lines, arrays and indented JSON; leave out damaged ones."""
        for line in lines:
            text = line.strip().removeprefix(_EVENT).removeprefix("- ")
            if text.startswith(('{"', '{ "', "[{")):
                yield from _load(text.rstrip(","))
            elif text in ("{", "[{", ",{", "},{"):
                yield from _load("".join([*self._block, "}"])) if text == "},{" and self._block else ()
                self._block, self._room = ["{"], _MAX_ENTRY_CHARACTERS
            elif text.rstrip(",]") == "}" and self._block:
                yield from _load("".join([*self._block, "}"]))
                self._block = []
            elif self._block and (cost := len(text) + _LINE_CHARACTERS) <= self._room:
                self._block.append(text)
                self._room -= cost


def _begins_entry(line: str) -> bool:
    """Tell whether an entry of `journalctl -o verbose` begins in a line."""
    return _ENTRY_OF_VERBOSE.match(line) is not None and " [s=" in line and line.endswith("]")


def _load(text: str) -> Iterator[Mapping[str, object]]:
    try:
        found: object = json.loads(text)
    except (ValueError, RecursionError):
        return
    for entry in found if isinstance(found, list) else [found]:
        if isinstance(entry, dict):
            yield entry


def _dmesg_line(entry: Mapping[str, object]) -> str | None:
    """Return an entry as a line of `dmesg -r`; None if the kernel did not log it."""
    try:
        for name in _TEXTS:
            if name in entry and "pri" not in entry:
                return str(entry[name]).rstrip("\n")
        if "msg" in entry:  # dmesg -J
            micros, priority = round(float(str(entry["time"])) * 1e6), int(str(entry["pri"]))
            message = entry["msg"]
        else:
            if (entry["_TRANSPORT"], entry["SYSLOG_FACILITY"]) != ("kernel", _KERNEL_FACILITY):
                return None
            micros, priority = int(str(entry["_SOURCE_MONOTONIC_TIMESTAMP"])), int(str(entry["PRIORITY"]))
            message = entry["MESSAGE"]
        # journalctl prints a message that is not valid UTF-8 as a list of bytes.
        text = bytes(message).decode("utf-8", "replace") if isinstance(message, list) else str(message)
    except (ValueError, KeyError, TypeError, OverflowError):
        return None
    if priority < 0 or micros < 0:
        return None
    # A line feed in a message must not begin another record.
    text = text.replace("\n", "\\x0a").replace("\r", "\\x0d")
    return f"<{priority}>[{micros // 1_000_000:5d}.{micros % 1_000_000:06d}] {text}"
