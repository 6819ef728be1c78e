"""The journal of the drills: JournalError, or an entry whose settings and places can be used."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

from sdeictl.drill.catalog import find_variant
from sdeictl.drill.status import _pending
from sdeictl.interlock.journal import CHANGEABLE, JournalError, read_journal
from tests.fuzz.files import written
from tests.fuzz.harness import Target
from tests.fuzz.shapes import RAW, edited_json

BASE: Any = {
    "id": "20261125T180000.000000Z-lockup", "drill": "lockup", "variant": None, "boot_id": "b", "pid": 7,
    "settings": [[CHANGEABLE[0], 7, 8], [CHANGEABLE[1], 10, 10]],
    "aftermath": {
        "fired": True, "target": 3, "channel": "ramoops", "path": None, "host": {"kernel": "7.3.4"},
        "places": {"0": 4096, "1": 8192}, "online": [0, 1, 2, 3], "tries": 0, "tried_in": "",
    },
    "affinities": [[12, [0, 1]]],
}  # fmt: skip


def seeds() -> Iterator[bytes]:
    yield from (bytes([kind, place, place % 40]) for place in range(40) for kind in (0, 2, 6))
    yield bytes([RAW]) + b"[]"


def check(data: bytes) -> None:
    directory = os.path.dirname(written(edited_json(BASE, data), "journal/journal.json"))
    try:
        entry = read_journal(directory)
    except JournalError as error:
        assert str(error)
        return
    assert entry is not None
    for setting in entry.settings:
        assert setting.path in CHANGEABLE
        f"{setting.found} {setting.chosen}".encode()
    for affinity in entry.affinities:
        assert all(isinstance(number, int) for number in (affinity.pid, *affinity.cpus))
    if entry.aftermath:
        assert all(isinstance(cpu, int) for cpu in entry.aftermath.online)
        assert all(int(cpu) >= 0 for cpu in entry.aftermath.places)
    _pending(entry, "b")
    with contextlib.suppress(KeyError):  # `drill resume` says that it does not know this drill
        find_variant(entry.drill, entry.variant)


TARGET = Target(check, seeds, (read_journal,), (), 512)
