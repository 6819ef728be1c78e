"""The journal: what a drill changes and must restore. It is on disk before anything is changed."""

from __future__ import annotations

import contextlib
import json
import os

from sdeictl.host.files import read_file, sync_directory, write_whole
from sdeictl.host.json_text import parse_json
from sdeictl.host.paths import CONSOLE_LEVEL, DRILL_JOURNAL, DRILL_RESULTS, HARDLOCKUP_PANIC, WATCHDOG_THRESH
from sdeictl.interlock.results import DrillDocument, is_result
from sdeictl.probe.document import HostDocument
from sdeictl.probe.drills import DrillKind
from sdeictl.text import NamedTuple

CHANGEABLE = (CONSOLE_LEVEL, WATCHDOG_THRESH, HARDLOCKUP_PANIC)
"""The only settings that drills change, and so the only ones that a journal may restore."""


class Setting(NamedTuple):
    """One number below /proc/sys that a drill changes."""

    path: str
    found: int
    """The value before the drill, which is restored."""
    chosen: int
    """The value that the drill sets. Another value found later was set by somebody else, and stays."""


class Affinity(NamedTuple):
    """The CPUs that a thread might run on before the drill."""

    pid: int
    cpus: tuple[int, ...]


class Aftermath(NamedTuple):
    """What is needed to judge a drill after the reset that ends it."""

    fired: bool
    """From now on the host may go down at any time."""
    target: int | None
    channel: str | None
    """`ramoops`, `stated` or None: where the last lines of the kernel will be."""
    path: str | None
    host: HostDocument
    """As in a report: the kernel and the firmware under test."""
    places: dict[str, int]
    """Physical address of each CPU's note in a crash dump (cpuN/crash_notes)."""
    online: tuple[int, ...]
    tries: int = 0
    """How often `drill resume` found no evidence during the boot `tried_in`."""
    tried_in: str = ""


class Entry(NamedTuple):
    """A drill that has begun and has not ended."""

    id: str
    drill: DrillKind
    variant: str | None
    boot_id: str
    pid: int
    settings: tuple[Setting, ...] = ()
    aftermath: Aftermath | None = None
    """What is needed to judge it if the host goes down in it."""
    affinities: tuple[Affinity, ...] = ()
    """Of threads that the drill moves; they are restored."""
    unstored: DrillDocument | None = None
    """The result of a drill that is over, if it could not be stored. It has no log slice."""


class JournalError(Exception):
    """The journal cannot be used; the message is a sentence."""


def write_journal(entry: Entry, directory: str = DRILL_RESULTS) -> None:
    """Put the intent on disk before the host is changed; raise JournalError if it is not surely there."""
    try:
        os.makedirs(directory, mode=0o755, exist_ok=True)
        write_whole(os.path.join(directory, DRILL_JOURNAL), _entry_json(entry) + b"\n", 0o600)
    except OSError as error:
        raise JournalError(
            f"The journal {directory}/{DRILL_JOURNAL} cannot be written: {error.strerror}."
        ) from error


def _entry_json(entry: Entry) -> bytes:
    aftermath = entry.aftermath._asdict() if entry.aftermath else None
    return json.dumps(entry._asdict() | {"aftermath": aftermath}).encode()


def read_journal(directory: str = DRILL_RESULTS) -> Entry | None:
    """Return the drill that has not ended, None without one; raise JournalError for a damaged journal."""
    path = os.path.join(directory, DRILL_JOURNAL)
    try:
        data = read_file(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise JournalError(f"The journal {path} cannot be read: {error.strerror}.") from error
    try:
        return _parse_entry(data)
    except (ValueError, TypeError, AttributeError) as error:
        text = f"The journal {path} is damaged: look at it and at the settings it names, then remove it."
        raise JournalError(text) from error


def _parse_entry(data: bytes) -> Entry:
    found = parse_json(data)
    if not isinstance(found, dict):
        raise ValueError("it is no object")
    entry = Entry(**found)
    settings = tuple(Setting(*setting) for setting in entry.settings)
    if not all(isinstance(value, int) for setting in settings for value in setting[1:]):
        raise ValueError("a setting that is not a number")
    if not all(setting.path in CHANGEABLE for setting in settings):
        raise ValueError("a setting that no drill changes")
    aftermath = _parse_aftermath(entry.aftermath) if isinstance(entry.aftermath, dict) else None
    affinities = tuple(Affinity(pid, tuple(cpus)) for pid, cpus in entry.affinities)
    if not all(isinstance(number, int) for each in affinities for number in (each.pid, *each.cpus)):
        raise ValueError("an affinity that is not of numbers")
    if not (isinstance(entry.id, str) and isinstance(entry.boot_id, str) and isinstance(entry.pid, int)):
        raise ValueError("a drill without a name, a boot or a process")
    if entry.unstored is not None and not (is_result(entry.unstored) and entry.unstored["id"] == entry.id):
        raise ValueError("a result that is not of this drill")
    if not isinstance(entry.variant, (str, type(None))):
        raise ValueError("a variant that is not a name")
    return entry._replace(
        drill=DrillKind(entry.drill), settings=settings, aftermath=aftermath, affinities=affinities
    )


def _parse_aftermath(data: dict[str, object]) -> Aftermath:
    found = Aftermath(**data)  # type: ignore[arg-type] # the checks follow
    numbers = [*found.online, *found.places.values(), found.tries]
    if found.target is not None:
        numbers.append(found.target)
    if not all(isinstance(number, int) for number in numbers):
        raise ValueError("a CPU or a place that is not a number")
    if not all(cpu.isascii() and cpu.isdecimal() for cpu in found.places):
        raise ValueError("a place of no CPU")
    if not isinstance(found.host, dict) or not isinstance(found.fired, bool):
        raise ValueError("no host")
    optional = (found.channel, found.path)
    if not all(isinstance(text, (str, type(None))) for text in optional) or not isinstance(
        found.tried_in, str
    ):
        raise ValueError("a channel, a path or a boot that is not text")
    return found._replace(online=tuple(found.online))


def close_journal(directory: str = DRILL_RESULTS) -> None:
    """Close the journal: everything is restored, and the result is kept."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(os.path.join(directory, DRILL_JOURNAL))
    sync_directory(directory)
