"""The files that the exporter reads: damage, or content of which every metric can be exported."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from prometheus_client import generate_latest
from sdeictl_agent.documents import (
    Bench,
    Drill,
    Postmortem,
    Report,
    Watch,
    parse_bench,
    parse_drill,
    parse_postmortem,
    parse_report,
    parse_watch,
)
from sdeictl_agent.families import registry_of
from sdeictl_agent.json_values import DAMAGE
from sdeictl_agent.server import landing_page
from sdeictl_agent.sources import Snapshot
from sdeictl_agent.watch_file import Counters, Events, Progress, State, watch_document

from sdeictl.postmortem.words import POSTMORTEM_SCHEMA
from tests.fuzz.harness import Target
from tests.fuzz.shapes import RAW, edited_json
from tests.fuzz.targets import drill_results, report

NOTHING = Snapshot(1.0, None, None, (), None, None, None, {})
BENCH: Any = {
    "id": "20261125T175900.000000Z-bench",
    "results": [{"call": "getppid", "undisturbed": 1.5e-7}, {"call": "futex", "undisturbed": None}],
    "conditions": {"pseudo_nmi": "off", "pmr_sync": None, "kernel": "7.3.4", "loop": "c"},
    "labels": ["noisy"],
}  # fmt: skip
WATCH: Any = watch_document(State("b", Progress(counters=Counters(3, 1)), Events(1)), 1.5)
POSTMORTEM: Any = {
    "schema": POSTMORTEM_SCHEMA,
    "generated_at": "2026-11-27T12:00:00+00:00",
    "boots": [{
        "end": "hard-lockup",
        "ended_at": "2026-11-27T11:00:00+00:00",
        "stuck": [{"waits_for": None, "answered": True, "stack": False, "registers_in_dump": None}],
        "dump": {"state": "incomplete"},
    }],
}  # fmt: skip
PARSERS: tuple[Callable[[bytes], object], ...] = (
    parse_report, parse_watch, parse_drill, parse_bench, parse_postmortem,
)  # fmt: skip


@cache
def bases() -> tuple[Any, ...]:
    return report.base(), WATCH, drill_results.base(), BENCH, POSTMORTEM


def seeds() -> Iterator[bytes]:
    for kind in range(len(PARSERS)):
        yield bytes([kind])
        yield from (bytes([kind, edit, place, place % 30]) for place in range(0, 60, 3) for edit in (0, 6))
        yield bytes([kind, RAW]) + b'{"schema": "sdeictl.watch/1"}'


def check(data: bytes) -> None:
    kind = data[0] % len(PARSERS) if data else 0
    text = edited_json(bases()[kind], data[1:])
    try:
        content = PARSERS[kind](text)
    except DAMAGE:
        return
    snapshot = _snapshot(content)
    assert generate_latest(registry_of(snapshot)).decode()
    assert landing_page(snapshot)


def _snapshot(content: object) -> Snapshot:
    if isinstance(content, Report):
        return NOTHING._replace(report=content)
    if isinstance(content, Watch):
        return NOTHING._replace(watch=content)
    if isinstance(content, Drill):
        return NOTHING._replace(drills=(content,))
    if isinstance(content, Postmortem):
        return NOTHING._replace(postmortem=content)
    assert isinstance(content, Bench)
    return NOTHING._replace(bench=content)


json.dumps(WATCH)
TARGET = Target(check, seeds, PARSERS, (), 512)
