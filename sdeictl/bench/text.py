"""Benchmarks as text, in lines of styled pieces."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sdeictl.bench.compare import AaCallDocument, AaDocument, ComparisonDocument, EffectDocument, SideDocument
from sdeictl.bench.conditions import ConditionsDocument
from sdeictl.bench.document import BenchDocument, ResultDocument
from sdeictl.bench.experiment import AbDocument
from sdeictl.bench.loop import CALLS
from sdeictl.text import Line

_UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"), (1e-9, "ns"))
_EFFECT_STYLES = {True: "bold yellow", False: "bold green", None: "dim"}


def show_time(seconds: float | None) -> str:
    """Return a time with its unit: `183.4 ns`; `?` if it is unknown."""
    if seconds is None:
        return "?"
    scale, unit = next((pair for pair in _UNITS if seconds >= pair[0]), _UNITS[-1])
    return f"{seconds / scale:.1f} {unit}"


def render_calls() -> Iterator[Line]:
    """Return the calls that can be timed."""
    for call in CALLS:
        yield ((f"{call.name:12}", "bold"), (f"  {call.about}", ""))


def render_bench(document: BenchDocument) -> Iterator[Line]:
    """Return a run: the times of each call, the state of pseudo-NMI, and the labels."""
    yield ((f"{'call':12}  {'undisturbed':>11}  {'95 % interval':22} {'min':>10} {'median':>10}", "dim"),)
    yield from map(_result_line, document["results"])
    if document["results"] and document["workload"] is None:
        empty = show_time(document["empty_loop"])
        yield ((f"each call includes {empty} of the empty loop; no time has it subtracted", "dim"),)
    if cross := document["cross_check"]:
        yield ((f"{cross['tool']}: {show_time(cross['seconds'])} for {cross['call']}", "dim"),)
    yield _conditions_line(document["conditions"])
    yield from _label_lines(document["labels"])


def _result_line(result: ResultDocument) -> Line:
    interval = result["ci95"]
    sure = f"{show_time(interval[0])} to {show_time(interval[1])}" if interval else "too few samples"
    return (
        (f"{result['call']:12}  ", "bold"),
        (f"{show_time(result['undisturbed']):>11}  {sure:22}", ""),
        (f" {show_time(result['min']):>10} {show_time(result['median']):>10}", "dim"),
    )


def _conditions_line(conditions: ConditionsDocument) -> Line:
    sync = f", {conditions['pmr_sync']} PMR synchronisation" if conditions["pmr_sync"] else ""
    state = conditions["pseudo_nmi"] or "unknown"
    return ((f"pseudo-NMI: {state}{sync}; kernel {conditions['kernel']}", ""),)


def _label_lines(labels: Iterable[str]) -> Iterator[Line]:
    for label in labels:
        yield (("note: ", "yellow"), (label, ""))


def render_comparison(comparison: ComparisonDocument) -> Iterator[Line]:
    """Return a comparison: the two sides, then the effect on each call as a sentence."""
    yield _side_line("first", comparison["first"])
    yield _side_line("second", comparison["second"])
    if comparison["first"]["pseudo_nmi"] == comparison["second"]["pseudo_nmi"]:
        text = "both sides have the same state of pseudo-NMI: a difference has another cause"
        yield (("note: ", "yellow"), (text, ""))
    yield from map(_effect_line, comparison["effects"])
    for name in comparison["ignored"]:
        yield (("ignored: ", "yellow"), (f"the runs may differ in {name}", ""))
    yield from _label_lines(comparison["labels"])


def _side_line(name: str, side: SideDocument) -> Line:
    sync = f" ({side['pmr_sync']})" if side["pmr_sync"] else ""
    count = f"{len(side['runs'])} run{'s' * (len(side['runs']) > 1)}"
    state = side["pseudo_nmi"] or "unknown"
    return ((f"{name + ':':8}", "dim"), (f"pseudo-NMI {state}{sync}, {count}", ""))


def _effect_line(found: EffectDocument) -> Line:
    first, second = map(show_time, found["seconds"])
    return ((found["sentence"], _EFFECT_STYLES[found["differs"]]), (f": first {first}, second {second}", ""))


def render_aa(document: AaDocument) -> Iterator[Line]:
    """Return how often equal runs were called different."""
    for judged in document["calls"]:
        yield from _aa_lines(judged)
    yield from _label_lines(document["labels"])


def _aa_lines(judged: AaCallDocument) -> Iterator[Line]:
    wrong = f"{judged['called_different']} of {judged['pairs']} pairs of equal runs were called different"
    if judged["largest"] is not None:
        wrong += f"; largest false difference: {100 * judged['largest']:.1f} %"
    yield ((f"{judged['call']}: ", "bold"), (wrong, ""))
    if judged["believable"] is None:
        yield (("there are too few pairs to judge whether comparisons on this host are reliable", "yellow"),)
    elif not judged["believable"]:
        text = "comparisons on this host are not reliable now: equal runs differ too often"
        yield ((text, "bold red"),)


def render_ab(result: AbDocument) -> Iterator[Line]:
    """Return the result of an experiment."""
    runs = f"{len(result['runs'])} of {result['boots']} boots were measured"
    word, style = ("complete", "bold green") if result["complete"] else ("not complete", "bold yellow")
    yield ((word, style), (f"  {runs}", ""))
    for reason in result["reasons"]:
        yield ((reason, ""),)
    if result["comparison"]:
        yield from render_comparison(result["comparison"])
