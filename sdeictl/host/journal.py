"""The systemd journal of earlier boots, read by journalctl(1): of the running host, or of a tree."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice

from sdeictl.host.files import exists, not_found
from sdeictl.host.json_text import as_object, parse_json
from sdeictl.host.programs import output_of, pieces_of
from sdeictl.text import NamedTuple

JOURNALS = ("/var/log/journal", "/run/log/journal")
"""The persistent journal, and the one that ends with its boot (systemd-journald.service(8))."""
MAX_RECORDS = 100_000
"""So many of the last kernel records of a boot are read."""
SECONDS = 30.0
MAX_ENTRY_BYTES = 4 << 20
MAX_DIGITS = 18
STOPPED = "d93fb3c9c24d451a97cea615ce59c00b"
"""The message with which journald ends in good order (SD_MESSAGE_JOURNAL_STOP of sd-messages.h)."""
_FIELDS = "MESSAGE,MESSAGE_ID,PRIORITY,SYSLOG_FACILITY,_TRANSPORT,_SOURCE_MONOTONIC_TIMESTAMP"
_BOOT = re.compile(r"^ *(-?\d{1,6}) +([0-9a-f]{32}) ", re.MULTILINE)


class JournalBoot(NamedTuple):
    """One boot in a journal."""

    number: int
    """0 is the last one in the journal, -1 the one before it."""
    id: str


class JournalEnd(NamedTuple):
    """The last entry of a boot."""

    at: float
    """In seconds since 1970."""
    closed: bool
    """It says that journald ended in good order."""


class Journal:
    """The journal in a directory, or else of the running host. Each method raises OSError."""

    def __init__(self, directory: str | None = None) -> None:
        self._directory = directory
        self._where = () if directory is None else (f"--directory={directory}",)

    def boots(self) -> tuple[JournalBoot, ...]:
        """Return the boots, oldest first."""
        if self._directory is not None and not exists(self._directory):
            raise not_found(self._directory)
        # The text, which also old versions print: -o json came with systemd 251.
        text = output_of("journalctl", *self._where, "--no-pager", "--quiet", "--list-boots", seconds=SECONDS)
        found = _BOOT.findall(f"{text.decode('utf-8', 'replace')}")
        return tuple(JournalBoot(int(number), boot) for number, boot in found)

    def kernel_log(self, boot: JournalBoot) -> Iterator[bytes]:
        """Yield the last MAX_RECORDS kernel entries of a boot, as JSON."""
        return self._entries(boot, "--dmesg", f"--lines={MAX_RECORDS}")

    def began_at(self, boot: JournalBoot) -> float | None:
        """Return when the clock showed the first entry, in seconds since 1970; None without an entry."""
        start = b""
        for piece in self._entries(boot, "--lines=all"):
            start += piece
            if b"\n" in piece or len(start) > MAX_ENTRY_BYTES:
                break
        return _time_of(_parse(start.partition(b"\n")[0]))

    def end(self, boot: JournalBoot) -> JournalEnd | None:
        """Return the last entry; None without an entry."""
        output = b"".join(islice(self._entries(boot, "--lines=1"), MAX_ENTRY_BYTES >> 10))
        entry = _parse(output.rstrip(b"\n").rpartition(b"\n")[2])
        at = _time_of(entry)
        return None if at is None else JournalEnd(at, entry.get("MESSAGE_ID") == STOPPED)

    def _entries(self, boot: JournalBoot, *options: str) -> Iterator[bytes]:
        return pieces_of(
            "journalctl", *self._where, "--no-pager", "--quiet", f"--boot={boot.id}", "--output=json",
            f"--output-fields={_FIELDS}", *options, seconds=SECONDS,
        )  # fmt: skip


def _parse(line: bytes) -> dict[str, object]:
    """Return an entry; an empty one if the line is none."""
    try:
        return as_object(parse_json(line))
    except (ValueError, TypeError):
        return {}


def _time_of(entry: dict[str, object]) -> float | None:
    """Return the time of an entry, in seconds since 1970; None if it has none."""
    micros = str(entry.get("__REALTIME_TIMESTAMP", ""))
    return int(micros) / 1e6 if micros.isdecimal() and len(micros) < MAX_DIGITS else None
