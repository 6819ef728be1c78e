"""The parts of each document that the exporter needs, checked and typed.

Each parse_* function takes the bytes of a file and raises one of DAMAGE if a value is missing or of another
type. It ignores the other values, so that a file of a newer sdeictl can be read too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import NamedTuple, cast

from prometheus_client.core import Metric

from sdeictl.host.json_text import parse_json
from sdeictl.klog.words import IN_TIME, NmiPath
from sdeictl.postmortem.words import POSTMORTEM_SCHEMA, DumpState, End
from sdeictl.probe.document import ReportDocument
from sdeictl.probe.drills import STORED_OUTCOMES, DrillOutcome, stamped_at
from sdeictl.probe.metrics import ReportCollector
from sdeictl.probe.report import REPORT_SCHEMA
from sdeictl.probe.stored_drills import Build, build_of
from sdeictl_agent.json_values import number, text
from sdeictl_agent.watch_file import (
    WATCH_SCHEMA,
    Counters,
    Events,
    WatchDocument,
    parse_counters,
    parse_events,
)

_MAX_BENCH_BYTES = 8 << 20
"""Limit for a benchmark run, which has many samples; sources.py reads no larger file."""


class Report(NamedTuple):
    """The last report of the collector."""

    at: float
    """When the host was probed, in seconds since 1970."""
    build: Build
    document: ReportDocument


class Watch(NamedTuple):
    """The counts of the watcher."""

    at: float
    """When the watcher wrote them, in seconds since 1970."""
    counters: Counters
    events: Events


class MaskedCpu(NamedTuple):
    """The answer of the CPU that a drill masked."""

    in_window: bool
    """It answered from inside its masked window."""
    latency_seconds: float | None
    """From the request to its answer; None without an answer."""


class Drill(NamedTuple):
    """One stored drill result."""

    name: str
    """Drill and variant, such as `backtrace-masked`."""
    at: float
    """When the drill began, in seconds since 1970."""
    outcome: DrillOutcome
    build: Build
    in_time: tuple[bool | None, ...]
    """For each CPU of the request: whether it answered in time; None if the log does not show it."""
    masked: MaskedCpu | None
    """None if the drill masked no CPU, or did not see it."""


class Postmortem(NamedTuple):
    """What earlier boots left."""

    at: float
    """When they were examined, in seconds since 1970."""
    ends: Mapping[str, int]
    """How many of them ended in each way."""
    crashed_at: float | None
    """When the last crash was, in seconds since 1970; None without one, or if its time is unknown."""
    reached: bool | None
    """The stack of the CPU that was stuck in the last crash reached the log, or the kernel stopped that CPU.

    None if no CPU was stuck, or if the crash does not show it.
    """
    in_dump: bool | None
    """The registers of that CPU are in the dump; None without a dump."""
    incomplete_dumps: int


class BenchConditions(NamedTuple):
    """The conditions of a benchmark run that distinguish its series; "" where one is unknown."""

    pseudo_nmi: str
    pmr_sync: str
    kernel: str
    loop: str


class Bench(NamedTuple):
    """One benchmark run, without its samples: they are many, and no metric needs them."""

    at: float
    """When the run ended, in seconds since 1970."""
    calls: tuple[tuple[str, float], ...]
    """(call, seconds that an undisturbed call took); calls without an estimate are left out."""
    conditions: BenchConditions
    notes: int
    """How many conditions were bad for the measurement."""


def parse_report(data: bytes) -> Report:
    """Return a report; raise one of DAMAGE also if one of its metrics cannot be exported."""
    document = cast("ReportDocument", parse_json(data))
    if document["schema"] != REPORT_SCHEMA:
        raise ValueError("another schema")
    NmiPath(document["verdict"]["nmi_path"])
    at = _clock(document["generated_at"])
    for family in ReportCollector(document).collect():
        _check_samples(family)
    return Report(at, build_of(document["host"]), document)


def _check_samples(family: Metric) -> None:
    """Raise ValueError, TypeError or OverflowError if a sample cannot be printed."""
    for sample in family.samples:
        float(sample.value)
        for value in sample.labels.values():
            text(value)


def parse_watch(data: bytes) -> Watch:
    """Return the counts in watch.json."""
    document = cast("WatchDocument", parse_json(data))
    if document["schema"] != WATCH_SCHEMA:
        raise ValueError("another schema")
    counters, events = parse_counters(document["counters"]), parse_events(document["events"])
    return Watch(number(document["updated_at"]), counters, events)


def parse_drill(data: bytes) -> Drill:
    """Return a stored drill result."""
    result = parse_json(data)
    if not isinstance(result, dict):
        raise ValueError("it is no object")
    drill, variant, masked = text(result["drill"]), result["variant"], result["target"]
    outcome = DrillOutcome(result["outcome"])
    if outcome not in STORED_OUTCOMES:
        raise ValueError(f"a result is not stored with the outcome {outcome}")
    return Drill(
        name=f"{drill}-{text(variant)}" if variant else drill,
        at=stamped_at(result["id"]),
        outcome=outcome,
        build=build_of(result["host"]),
        in_time=tuple(IN_TIME.get(cpu["state"]) for cpu in result["cpus"] or ()),
        masked=MaskedCpu(bool(masked["in_window"]), _seconds(masked["latency_seconds"])) if masked else None,
    )


def _seconds(value: object) -> float | None:
    return None if value is None else number(value)


def parse_postmortem(data: bytes) -> Postmortem:
    """Return what earlier boots left."""
    document = parse_json(data)
    if not isinstance(document, dict) or document["schema"] != POSTMORTEM_SCHEMA:
        raise ValueError("another schema")
    boots = [boot for boot in document["boots"] if End(boot["end"]) is not End.RUNNING]
    crashes = [boot for boot in boots if End(boot["end"]).is_crash]
    last = crashes[-1] if crashes else None
    stuck = [cpu for cpu in last["stuck"] if cpu["waits_for"] is None] if last else []
    return Postmortem(
        at=_clock(document["generated_at"]),
        ends={end: sum(boot["end"] == end for boot in boots) for end in End if end is not End.RUNNING},
        crashed_at=_clock(last["ended_at"]) if last and last["ended_at"] else None,
        reached=_all(cpu["answered"] if cpu["stack"] is None else cpu["stack"] for cpu in stuck),
        in_dump=_all(cpu["registers_in_dump"] for cpu in stuck),
        incomplete_dumps=sum(boot["dump"]["state"] == DumpState.INCOMPLETE for boot in boots),
    )


def _clock(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _all(values: Iterable[bool | None]) -> bool | None:
    """Return whether all of these are true; None if one is unknown and none is false, or without any."""
    found = list(values)
    if False in found:
        return False
    return None if None in found or not found else True


def parse_bench(data: bytes) -> Bench:
    """Return a benchmark run."""
    run = parse_json(data, _MAX_BENCH_BYTES)
    if not isinstance(run, dict):
        raise ValueError("it is no object")
    conditions = (run["conditions"][name] for name in BenchConditions._fields)
    return Bench(
        at=stamped_at(run["id"]),
        calls=tuple(
            (text(result["call"]), number(result["undisturbed"]))
            for result in run["results"]
            if result["undisturbed"] is not None
        ),
        conditions=BenchConditions(*(text(str(value or "")) for value in conditions)),
        notes=len(run["labels"]),
    )
