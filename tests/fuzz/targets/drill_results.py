"""Stored drill results: what the probe, `drill status` and a comparison of boots read of them."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from functools import cache
from typing import Any

from sdeictl.drill.status import StatusDocument, StoredDocument
from sdeictl.drill.text import render_status
from sdeictl.interlock.results import read_result, read_results, read_unresolved
from sdeictl.probe.stored_drills import (
    Build,
    build_of,
    parse_cpu_states,
    parse_stored_drill,
    standing_drills,
)
from sdeictl.text import to_plain
from tests.conftest import TESTS
from tests.fuzz.files import written
from tests.fuzz.harness import Target
from tests.fuzz.shapes import RAW, edited_json

NAME = "20261125T180000.000000Z-backtrace.json"


@cache
def base() -> Any:
    found = sorted((TESTS / "hosts/dt-sdei/drills").glob("bpf*.json"))
    return json.loads(found[0].read_text())


def seeds() -> Iterator[bytes]:
    yield from (bytes([kind, place, place % 30]) for place in range(0, 90, 4) for kind in (0, 6))
    yield bytes([RAW]) + b'{"id": 1}'


def check(data: bytes) -> None:
    text = edited_json(base(), data)
    try:
        drill = parse_stored_drill(text)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        drill = None
    if drill:
        assert all(isinstance(cpu, int) for cpu in (*drill.silent, *drill.lost))
        assert standing_drills([drill]) in ((drill,), ())
        with contextlib.suppress(ValueError, KeyError, TypeError):
            assert all(isinstance(cpu, int) for cpu, _state in parse_cpu_states(text))
        assert drill.build.is_stale(Build("another", None))
    directory = os.path.dirname(written(text, f"drills/{NAME}"))
    stored = read_results(directory)
    assert len(stored.latest) + len(stored.unreadable) == 1
    assert read_unresolved(directory) in (0, 1)
    for result in stored.latest:
        assert read_result(result["id"], directory) == result
    results: list[StoredDocument] = [
        {**result, "stale": build_of(result["host"]).is_stale(Build(None, None))} for result in stored.latest
    ]
    status: StatusDocument = {
        "schema": "", "armed_seconds": None, "pending": None, "results": results,
        "unreadable": list(stored.unreadable),
    }  # fmt: skip
    json.dumps(status).encode()
    assert "\x1b" not in to_plain(render_status(status))


TARGET = Target(
    check, seeds, (parse_stored_drill, parse_cpu_states, read_result, read_results, read_unresolved), (), 512
)
