"""`sdeictl.bench/1` (schemas/bench-1.json): one benchmark run as the document that scripts read. Pure."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypedDict, cast

from sdeictl.bench.conditions import VARIABLE, ConditionsDocument, HostConditions
from sdeictl.bench.estimate import estimate, mad
from sdeictl.host.json_text import parse_json

BENCH_SCHEMA = "sdeictl.bench/1"
MAX_RUN_BYTES = 32 << 20
"""Limit for a stored run; it has a thousand samples for each second and call."""
MAX_RUNS_BYTES = 48 << 20
"""Limit for all runs of a comparison together: a sample in memory takes more than its text."""
MAX_CALLS = 100
MIN_SECONDS, MAX_SECONDS = 1e-12, 1e6
"""No call takes less, or more. The quotient of two times is finite."""
MAX_TEXT = 1000
"""Limit for a name, a state and a label, in characters."""
DISTURBED = 1.2
"""A call is labelled if its median is more than this many times its undisturbed time."""


class ResultDocument(TypedDict):
    """The times of one call, in seconds."""

    call: str
    unit: str
    min: float
    median: float
    mad: float
    undisturbed: float | None
    ci95: list[float] | None
    samples: list[float]


class CrossCheckDocument(TypedDict):
    """The time of the same call, measured by another tool."""

    tool: str
    call: str
    seconds: float


class BenchHostDocument(TypedDict):
    """The host of a run, without its name."""

    architecture: str | None
    kernel: str | None
    firmware: str | None
    model: str | None


class BenchDocument(TypedDict):
    """`sdeictl.bench/1`."""

    schema: str
    id: str
    host: BenchHostDocument
    workload: list[str] | None
    results: list[ResultDocument]
    empty_loop: float
    cross_check: CrossCheckDocument | None
    conditions: ConditionsDocument
    labels: list[str]


def result_document(name: str, samples: Sequence[float]) -> ResultDocument:
    """Return the result of one call from its samples, in seconds."""
    found = estimate(samples)
    return {
        "call": name,
        "unit": "seconds",
        "min": min(samples),
        "median": statistics.median(samples),
        "mad": mad(samples),
        "undisturbed": found.value if found else None,
        "ci95": [found.low, found.high] if found else None,
        "samples": [float(f"{sample:.5g}") for sample in samples],
    }


def host_document(conditions: HostConditions) -> BenchHostDocument:
    """Return the host part of a run."""
    return {
        "architecture": conditions["architecture"],
        "kernel": conditions["kernel"],
        "firmware": conditions["firmware"],
        "model": conditions["model"],
    }


def result_labels(results: Iterable[ResultDocument]) -> list[str]:
    """Return a label for each call that interference disturbed in half of its samples or more."""
    return [
        f"{result['call']}: half of the samples took {result['median'] / result['undisturbed']:.1f} times"
        " the undisturbed time or longer."
        for result in results
        if result["undisturbed"] and result["median"] > DISTURBED * result["undisturbed"]
    ]


def encode(document: Mapping[str, object]) -> bytes:
    """Return a document as it is stored: on one line, because the samples are many."""
    return json.dumps(document).encode() + b"\n"


def parse_bench(data: bytes) -> BenchDocument:
    """Return the document of a run; raise ValueError, with a clause that says why, for anything else."""
    document = cast("BenchDocument", parse_json(data, MAX_RUN_BYTES))
    try:
        if document["schema"] != BENCH_SCHEMA:
            raise ValueError(f"its schema is {document['schema']!r}, not {BENCH_SCHEMA!r}")
        if not all(isinstance(text, str) and len(text) <= MAX_TEXT for text in _texts(document)):
            raise TypeError
        _check_times(document["results"])
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError("it is not a result of `sdeictl bench run`") from error
    return document


def _texts(document: BenchDocument) -> Iterator[object]:
    """Yield the values that a comparison uses as text."""
    yield document["id"]
    states = (document["conditions"].get(name) for name in VARIABLE)
    yield from (state for state in states if state is not None)
    yield from document["labels"]
    yield from (result["call"] for result in document["results"])


def _check_times(results: Sequence[ResultDocument]) -> None:
    for result in results:
        known = [result["median"]]
        known += [result["undisturbed"]] if result["undisturbed"] is not None else []
        values = known + result["samples"]
        if not all(isinstance(value, float) and MIN_SECONDS <= value < MAX_SECONDS for value in values):
            raise ValueError(f"the samples of {result['call']} are not times in seconds")
    calls = [result["call"] for result in results]
    if len(calls) > MAX_CALLS:
        raise ValueError(f"it has more than {MAX_CALLS} calls")
    if len(set(calls)) < len(calls):
        raise ValueError("it has the same call twice")
