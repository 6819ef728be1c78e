"""watch.json, as the watcher reads it back: never an error, and counts that it can write again."""

from __future__ import annotations

from collections.abc import Iterator

from sdeictl_agent.watch_file import (
    Events,
    Progress,
    State,
    decode_state,
    encode_state,
    parse_counters,
    parse_events,
)

from tests.fuzz.harness import Target
from tests.fuzz.shapes import RAW, edited_json
from tests.fuzz.targets.agent_documents import WATCH


def seeds() -> Iterator[bytes]:
    yield from (bytes([kind, place, place % 30]) for place in range(32) for kind in (0, 6))
    yield bytes([RAW]) + b"[]"


def check(data: bytes) -> None:
    state = decode_state(edited_json(WATCH, data), "b")
    assert decode_state(edited_json(WATCH, data), "another boot") == State(
        "another boot", Progress(), Events()
    )
    assert decode_state(encode_state(state, 2.5), "b") == state
    assert all(
        0 <= count < 1 << 64 for count in (*state.progress.counters, *state.progress.closed, *state.events)
    )
    assert data or state.progress.counters.hard_lockups == 3


TARGET = Target(check, seeds, (decode_state, parse_counters, parse_events), (), 512)
