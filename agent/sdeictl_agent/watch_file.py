"""watch.json (`sdeictl.watch/1`): what the watcher has counted since boot, and how far it has read the log.

The watcher writes the file, and reads it back after a restart. The exporter reads the counts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NamedTuple, TypedDict, cast

from sdeictl.host.json_text import parse_json
from sdeictl_agent.json_values import DAMAGE, whole

WATCH_SCHEMA = "sdeictl.watch/1"
MAX_WATCH_BYTES = 1 << 16
"""The watcher writes about 1 KiB; a larger file comes from somebody else."""


class Counters(NamedTuple):
    """How often the kernel log has reported each event since boot."""

    hard_lockups: int = 0
    secondary_hard_lockups: int = 0
    """Hard lockups of CPUs that were only waiting for the answer of another CPU."""
    soft_lockups: int = 0
    rcu_stalls: int = 0
    hung_tasks: int = 0
    backtrace_requests: int = 0
    backtrace_answers: int = 0
    """CPUs that answered a request in time, without the CPU that sent it."""
    backtrace_timeouts: int = 0
    """CPUs that answered a request too late or not at all."""
    stop_rungs: int = 0
    """Rungs of stop ladders that the kernel climbed."""
    records_lost: int = 0
    """Records that the kernel overwrote before the watcher read them."""


class Events(NamedTuple):
    """Hotplug events that the watcher has seen since boot, and the probes that it requested."""

    cpu_online: int = 0
    cpu_offline: int = 0
    requests: int = 0
    """New probes that the watcher has requested."""


class Progress(NamedTuple):
    """How far the log was read and counted; counters.py explains open and closed records."""

    open_from: int = 0
    """Sequence number of the first open record."""
    closed: Counters = Counters()
    """Counts of the closed records, which are all records before that one."""
    read_to: int = 0
    """Sequence number that the next record has if none is lost."""
    counters: Counters = Counters()
    """Counts of all records so far, closed and open."""


class State(NamedTuple):
    """The content of watch.json."""

    boot_id: str
    progress: Progress
    events: Events


class CountersDocument(TypedDict):
    """The fields of Counters."""

    hard_lockups: int
    secondary_hard_lockups: int
    soft_lockups: int
    rcu_stalls: int
    hung_tasks: int
    backtrace_requests: int
    backtrace_answers: int
    backtrace_timeouts: int
    stop_rungs: int
    records_lost: int


class EventsDocument(TypedDict):
    """The fields of Events."""

    cpu_online: int
    cpu_offline: int
    requests: int


class OpenDocument(TypedDict):
    """Where the open records begin, and the counts of the closed ones."""

    sequence: int
    closed: CountersDocument


class WatchDocument(TypedDict):
    """`sdeictl.watch/1`."""

    schema: str
    boot_id: str
    updated_at: float
    """Seconds since 1970."""
    counters: CountersDocument
    events: EventsDocument
    read_to: int
    open_from: OpenDocument


def watch_document(state: State, now: float) -> WatchDocument:
    """Return a state as JSON has it; `now` is in seconds since 1970."""
    progress, events = state.progress, state.events
    return {
        "schema": WATCH_SCHEMA,
        "boot_id": state.boot_id,
        "updated_at": now,
        "counters": counters_document(progress.counters),
        "events": {
            "cpu_online": events.cpu_online,
            "cpu_offline": events.cpu_offline,
            "requests": events.requests,
        },
        "read_to": progress.read_to,
        "open_from": {"sequence": progress.open_from, "closed": counters_document(progress.closed)},
    }


def counters_document(counters: Counters) -> CountersDocument:
    """Return counts as JSON has them."""
    return {
        "hard_lockups": counters.hard_lockups,
        "secondary_hard_lockups": counters.secondary_hard_lockups,
        "soft_lockups": counters.soft_lockups,
        "rcu_stalls": counters.rcu_stalls,
        "hung_tasks": counters.hung_tasks,
        "backtrace_requests": counters.backtrace_requests,
        "backtrace_answers": counters.backtrace_answers,
        "backtrace_timeouts": counters.backtrace_timeouts,
        "stop_rungs": counters.stop_rungs,
        "records_lost": counters.records_lost,
    }


def encode_state(state: State, now: float) -> bytes:
    """Return the bytes of watch.json; `now` is in seconds since 1970."""
    return json.dumps(watch_document(state, now)).encode() + b"\n"


def decode_state(data: bytes, boot_id: str) -> State:
    """Return the state that a watcher of this boot wrote.

    If the data is damaged or of another boot, return the state of a new watcher.
    """
    try:
        document = cast("WatchDocument", parse_json(data, MAX_WATCH_BYTES))
        if (document["schema"], document["boot_id"]) == (WATCH_SCHEMA, boot_id):
            progress = Progress(
                whole(document["open_from"]["sequence"]),
                parse_counters(document["open_from"]["closed"]),
                whole(document["read_to"]),
                parse_counters(document["counters"]),
            )
            return State(boot_id, progress, parse_events(document["events"]))
    except DAMAGE:
        pass
    return State(boot_id, Progress(), Events())


def parse_counters(values: Mapping[str, object]) -> Counters:
    """Return counts from JSON; raise one of DAMAGE."""
    return Counters(*(whole(values[name]) for name in Counters._fields))


def parse_events(values: Mapping[str, object]) -> Events:
    """Return the counts of events from JSON; raise one of DAMAGE."""
    return Events(*(whole(values[name]) for name in Events._fields))
