"""Do runs differ, and is it fair to ask? Pure."""

import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from sdeictl.bench.conditions import MUST_BE_SAME
from sdeictl.bench.estimate import Interval, differs, effect
from sdeictl.errors import SdeictlError, Status

Json = dict[str, Any]
COMPARISON_SCHEMA = "sdeictl.bench-comparison/1"
MIN_AA_PAIRS = 3


def split(documents: Sequence[Json]) -> tuple[list[Json], list[Json]]:
    """Return the two sides: of two runs one each; of more, those in the first one's state, and the others."""
    if len(documents) == 2:
        return [documents[0]], [documents[1]]
    states = [document["conditions"].get("pseudo_nmi") for document in documents]
    first = [document for document, state in zip(documents, states, strict=True) if state == states[0]]
    return first, [document for document, state in zip(documents, states, strict=True) if state != states[0]]


def obstacles(first: Sequence[Json], second: Sequence[Json], ignored: Iterable[str] = ()) -> list[str]:
    """Return why the two sides must not be compared, as sentences."""
    if not second:
        return ["All of them ran in the same state of pseudo-NMI: there is nothing to compare them with."]
    every = [*first, *second]
    reasons = _wrong_runs(every)
    for name in MUST_BE_SAME:
        values = [document["conditions"].get(name) for document in every]
        if name not in ignored and any(value != values[0] for value in values):
            other = next(value for value in values if value != values[0])
            reasons.append(f"They differ in {name}: {_short(values[0])} and {_short(other)}.")
    syncs = {document["conditions"].get("pmr_sync") for document in every} - {None}
    if len(syncs) > 1 and "pmr_sync" not in ignored:
        reasons.append(f"They differ in pmr_sync: {' and '.join(sorted(syncs))}.")
    for side in (first, second):
        states = {document["conditions"].get("pseudo_nmi") for document in side}
        if len(states) > 1:
            reasons.append(
                f"One side has runs in different states of pseudo-NMI: {sorted(map(str, states))}."
            )
    return reasons


def _wrong_runs(every: Sequence[Json]) -> list[str]:
    reasons = []
    names = [document.get("id") for document in every]
    if len(set(map(str, names))) < len(names):
        reasons.append("One run is given twice.")
    if len(every) > 2 and any(document["conditions"].get("pseudo_nmi") is None for document in every):
        reasons.append("The state of pseudo-NMI is not known of all of them.")
    workloads = {str(document.get("workload")) for document in every}
    if len(workloads) > 1:
        reasons.append("They timed different workloads.")
    if not common_calls(every):
        reasons.append("They have no call in common.")
    return reasons


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 100 else f"{text[:97]}..."


def common_calls(documents: Sequence[Json]) -> list[str]:
    """Return the calls that all of them have timed, in the first one's order."""
    each = [{result["call"] for result in document["results"]} for document in documents]
    return [
        result["call"] for result in documents[0]["results"] if all(result["call"] in calls for calls in each)
    ]


def compare(first: Sequence[Json], second: Sequence[Json], ignored: Sequence[str] = ()) -> Json:
    """Return the comparison of two sides; raise SdeictlError, with every reason, where it is not fair."""
    reasons = obstacles(first, second, ignored)
    if reasons:
        raise SdeictlError("they cannot be compared:\n  " + "\n  ".join(reasons), Status.UNKNOWN)
    every = [*first, *second]
    names = sorted({label for document in every for label in document["labels"]})
    return {
        "schema": COMPARISON_SCHEMA,
        "first": _side(first),
        "second": _side(second),
        "effects": [_effect(call, first, second) for call in common_calls(every)],
        "ignored": list(ignored),
        "labels": names,
    }


def _side(documents: Sequence[Json]) -> Json:
    conditions = documents[0]["conditions"]
    return {
        "runs": [document.get("id") for document in documents],
        "pseudo_nmi": conditions.get("pseudo_nmi"),
        "pmr_sync": conditions.get("pmr_sync"),
        "kernel": conditions.get("kernel"),
    }


def _effect(call: str, first: Sequence[Json], second: Sequence[Json]) -> Json:
    found = effect(samples_of(first, call), samples_of(second, call))
    return {
        "call": call,
        "seconds": [_typical(first, call), _typical(second, call)],
        "effect": found.value if found else None,
        "ci95": [found.low, found.high] if found else None,
        "differs": differs(found) if found else None,
        "sentence": sentence(call, found),
    }


def samples_of(documents: Sequence[Json], call: str) -> list[list[float]]:
    """Return a call's samples in each run."""
    return [result["samples"] for result in results_of(documents, call)]


def results_of(documents: Sequence[Json], call: str) -> list[Json]:
    """Return a call's result in each run."""
    return [result for document in documents for result in document["results"] if result["call"] == call]


def _typical(documents: Sequence[Json], call: str) -> float | None:
    values = [result["undisturbed"] for result in results_of(documents, call) if result["undisturbed"]]
    return statistics.median(values) if values else None


def sentence(call: str, found: Interval | None) -> str:
    """Return an effect in words."""
    if not found:
        return f"{call}: too few samples to tell"
    between = f"95 % interval {found.low:+.1%} to {found.high:+.1%}"
    if not differs(found):
        return f"{call}: no difference found ({between})"
    word = "slower" if found.value > 0 else "faster"
    return f"{call}: {abs(found.value):.1%} {word} in the second ({between})"


def judge_aa(documents: Sequence[Json], call: str) -> Json:
    """Return how often runs of the very same thing are called different here, each pair once."""
    samples = samples_of(documents, call)
    pairs = [effect([one], [other]) for one, other in zip(samples[::2], samples[1::2], strict=False)]
    known = [found for found in pairs if found]
    wrong = sum(differs(found) for found in known)
    sizes = sorted(abs(found.value) for found in known)
    return {
        "call": call,
        "pairs": len(known),
        "called_different": wrong,
        "largest": sizes[-1] if sizes else None,
        "believable": wrong <= 0.125 * len(known) if len(known) >= MIN_AA_PAIRS else None,
    }
