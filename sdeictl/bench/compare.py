"""Comparisons of runs: whether two sides differ, and whether they may be compared at all. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Sequence
from typing import TypedDict, cast

from sdeictl.bench.conditions import MUST_BE_SAME
from sdeictl.bench.document import MAX_RUN_BYTES, BenchDocument, BenchHostDocument, ResultDocument
from sdeictl.bench.estimate import Interval, differs, effect
from sdeictl.errors import SdeictlError, Status
from sdeictl.host.json_text import parse_json

COMPARISON_SCHEMA = "sdeictl.bench-comparison/1"
AA_SCHEMA = "sdeictl.bench-aa/1"
MIN_AA_PAIRS = 3
MAX_FALSE_DIFFERENCES = 0.125
"""A comparison is believable if at most this fraction of equal pairs is called different."""
MAX_SHOWN = 100
"""How many characters of a condition a refusal shows."""


class SideDocument(TypedDict):
    """The runs of one side of a comparison."""

    runs: list[str]
    pseudo_nmi: str | None
    pmr_sync: str | None
    kernel: str | None


class EffectDocument(TypedDict):
    """How much longer one call takes on the second side, as a fraction (0.02: 2 %)."""

    call: str
    seconds: list[float | None]
    effect: float | None
    ci95: list[float] | None
    differs: bool | None
    sentence: str


class ComparisonDocument(TypedDict):
    """`sdeictl.bench-comparison/1`."""

    schema: str
    first: SideDocument
    second: SideDocument
    effects: list[EffectDocument]
    ignored: list[str]
    labels: list[str]


class AaCallDocument(TypedDict):
    """How often equal runs are called different in one call."""

    call: str
    pairs: int
    called_different: int
    largest: float | None
    believable: bool | None


class AaDocument(TypedDict):
    """`sdeictl.bench-aa/1`."""

    schema: str
    host: BenchHostDocument
    calls: list[AaCallDocument]
    labels: list[str]


def split_sides(documents: Sequence[BenchDocument]) -> tuple[list[BenchDocument], list[BenchDocument]]:
    """Return the two sides: one run each, or of more runs those in the state of the first, and the others."""
    if len(documents) == 2:
        return [documents[0]], [documents[1]]
    state = documents[0]["conditions"].get("pseudo_nmi")
    first = [document for document in documents if document["conditions"].get("pseudo_nmi") == state]
    second = [document for document in documents if document["conditions"].get("pseudo_nmi") != state]
    return first, second


def refusals_for_comparison(
    first: Sequence[BenchDocument], second: Sequence[BenchDocument], ignored: Iterable[str] = ()
) -> list[str]:
    """Return every reason not to compare the two sides, as sentences."""
    if not second:
        return ["All runs have the same state of pseudo-NMI, so the second side is empty."]
    every = [*first, *second]
    return [
        *_refusals_for_runs(every),
        *_refusals_for_conditions(every, frozenset(ignored)),
        *_refusals_for_side(first),
        *_refusals_for_side(second),
    ]


def _refusals_for_runs(every: Sequence[BenchDocument]) -> Iterator[str]:
    if len({document["id"] for document in every}) < len(every):
        yield "One run is given twice."
    unknown = any(document["conditions"].get("pseudo_nmi") is None for document in every)
    if len(every) > 2 and unknown:
        yield "The state of pseudo-NMI is unknown for at least one run."
    if len({str(document.get("workload")) for document in every}) > 1:
        yield "The runs timed different workloads."
    if not common_calls(every):
        yield "The runs have no call in common."


def _refusals_for_conditions(every: Sequence[BenchDocument], ignored: frozenset[str]) -> Iterator[str]:
    for name in MUST_BE_SAME:
        values = [document["conditions"].get(name) for document in every]
        others = [value for value in values if value != values[0]]
        if others and name not in ignored:
            yield f"The runs differ in {name}: {_short(values[0])} and {_short(others[0])}."
    found = {document["conditions"].get("pmr_sync") for document in every}
    syncs = sorted(sync for sync in found if sync is not None)
    if len(syncs) > 1 and "pmr_sync" not in ignored:
        yield f"The runs differ in pmr_sync: {' and '.join(syncs)}."


def _refusals_for_side(side: Sequence[BenchDocument]) -> Iterator[str]:
    states = sorted({document["conditions"].get("pseudo_nmi") or "unknown" for document in side})
    if len(states) > 1:
        yield f"One side has runs in different states of pseudo-NMI: {', '.join(states)}."


def _short(value: object) -> str:
    words = {None: "unknown", True: "on", False: "off"}
    text = words[value] if value is None or isinstance(value, bool) else str(value)
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 3]}..."


def common_calls(documents: Sequence[BenchDocument]) -> list[str]:
    """Return the calls that all of the runs have timed, in the order of the first run."""
    each = [{result["call"] for result in document["results"]} for document in documents]
    return [
        result["call"] for result in documents[0]["results"] if all(result["call"] in calls for calls in each)
    ]


def compare_runs(
    first: Sequence[BenchDocument], second: Sequence[BenchDocument], ignored: Sequence[str] = ()
) -> ComparisonDocument:
    """Return the comparison of two sides; raise SdeictlError, with every reason, if it would not be fair."""
    reasons = refusals_for_comparison(first, second, ignored)
    if reasons:
        raise SdeictlError("the runs cannot be compared:\n  " + "\n  ".join(reasons), Status.UNKNOWN)
    every = [*first, *second]
    return {
        "schema": COMPARISON_SCHEMA,
        "first": _side(first),
        "second": _side(second),
        "effects": [_effect(call, first, second) for call in common_calls(every)],
        "ignored": list(ignored),
        "labels": _labels_of(every),
    }


def _side(documents: Sequence[BenchDocument]) -> SideDocument:
    conditions = documents[0]["conditions"]
    return {
        "runs": [document["id"] for document in documents],
        "pseudo_nmi": conditions.get("pseudo_nmi"),
        "pmr_sync": conditions.get("pmr_sync"),
        "kernel": conditions.get("kernel"),
    }


def _effect(call: str, first: Sequence[BenchDocument], second: Sequence[BenchDocument]) -> EffectDocument:
    found = effect(samples_of(first, call), samples_of(second, call))
    return {
        "call": call,
        "seconds": [_typical_seconds(first, call), _typical_seconds(second, call)],
        "effect": found.value if found else None,
        "ci95": [found.low, found.high] if found else None,
        "differs": differs(found) if found else None,
        "sentence": effect_sentence(call, found),
    }


def _labels_of(documents: Iterable[BenchDocument]) -> list[str]:
    return sorted({label for document in documents for label in document["labels"]})


def samples_of(documents: Sequence[BenchDocument], call: str) -> list[list[float]]:
    """Return the samples of a call in each run, in seconds."""
    return [result["samples"] for result in _results_of(documents, call)]


def _results_of(documents: Sequence[BenchDocument], call: str) -> list[ResultDocument]:
    return [result for document in documents for result in document["results"] if result["call"] == call]


def _typical_seconds(documents: Sequence[BenchDocument], call: str) -> float | None:
    values = [result["undisturbed"] for result in _results_of(documents, call) if result["undisturbed"]]
    return statistics.median(values) if values else None


def effect_sentence(call: str, found: Interval | None) -> str:
    """Return an effect in words."""
    if not found:
        return f"{call}: too few samples for an interval"
    interval = f"95 % interval {100 * found.low:+.1f} % to {100 * found.high:+.1f} %"
    if not differs(found):
        return f"{call}: no difference found ({interval})"
    word = "slower" if found.value > 0 else "faster"
    return f"{call}: the second is {100 * abs(found.value):.1f} % {word} than the first ({interval})"


def aa_document(documents: Sequence[BenchDocument]) -> AaDocument:
    """Return how often equal runs, all of one session on one host, are called different."""
    calls = [result["call"] for result in documents[0]["results"]]
    return {
        "schema": AA_SCHEMA,
        "host": documents[0]["host"],
        "calls": [judge_aa(documents, call) for call in calls],
        "labels": _labels_of(documents),
    }


def parse_aa(data: bytes) -> AaDocument:
    """Return a result of `bench aa`; raise ValueError, with a clause that says why, for anything else."""
    document = cast("AaDocument", parse_json(data, MAX_RUN_BYTES))
    try:
        if document["schema"] != AA_SCHEMA:
            raise ValueError(f"its schema is {document['schema']!r}, not {AA_SCHEMA!r}")
        largest = [judged["largest"] for judged in document["calls"]]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError("it is not a result of `sdeictl bench aa`") from error
    if not all(value is None or (isinstance(value, float) and 0 <= value < 1e6) for value in largest):
        raise ValueError("its differences are not fractions")
    return document


def judge_aa(documents: Sequence[BenchDocument], call: str) -> AaCallDocument:
    """Compare the runs in pairs, each run once, and count the false differences of one call."""
    samples = samples_of(documents, call)
    pairs = [effect([one], [other]) for one, other in zip(samples[::2], samples[1::2])]
    known = [found for found in pairs if found]
    wrong = sum(differs(found) for found in known)
    return {
        "call": call,
        "pairs": len(known),
        "called_different": wrong,
        "largest": max((abs(found.value) for found in known), default=None),
        "believable": wrong <= MAX_FALSE_DIFFERENCES * len(known) if len(known) >= MIN_AA_PAIRS else None,
    }
