"""Benchmarks as text, in lines of styled pieces."""

from collections.abc import Iterator
from typing import Any

from sdeictl.bench.loop import CALLS
from sdeictl.text import Line

Json = dict[str, Any]
_UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"), (1e-9, "ns"))


def time_words(seconds: float) -> str:
    """Return a time as people say it: `183.4 ns`."""
    scale, unit = next((pair for pair in _UNITS if seconds >= pair[0]), _UNITS[-1])
    return f"{seconds / scale:.1f} {unit}"


def render_calls() -> Iterator[Line]:
    """Return what can be timed."""
    for call in CALLS:
        yield ((f"{call.name:12}", "bold"), (f"  {call.about}", ""))


def render_bench(document: Json) -> Iterator[Line]:
    """Return a run: each call, what it takes undisturbed, and what was bad about the conditions."""
    yield ((f"{'call':12}  {'undisturbed':>11}  {'95 % interval':22} {'min':>10} {'median':>10}", "dim"),)
    for result in document["results"]:
        value, interval = result["undisturbed"], result["ci95"]
        sure = f"{time_words(interval[0])} to {time_words(interval[1])}" if interval else "too few samples"
        middle = f"{time_words(value) if value else '?':>11}  {sure:22}"
        rest = f" {time_words(result['min']):>10} {time_words(result['median']):>10}"
        yield ((f"{result['call']:12}  ", "bold"), (middle, ""), (rest, "dim"))
    if document["results"] and document["workload"] is None:
        yield (
            (
                f"the empty loop takes {time_words(document['empty_loop'])} of each; it is not subtracted",
                "dim",
            ),
        )
    if cross := document["cross_check"]:
        yield ((f"{cross['tool']}: {time_words(cross['seconds'])} for {cross['call']}", "dim"),)
    conditions = document["conditions"]
    sync = f", {conditions['pmr_sync']} PMR synchronisation" if conditions["pmr_sync"] else ""
    yield ((f"pseudo-NMI: {conditions['pseudo_nmi'] or 'unknown'}{sync}; kernel {conditions['kernel']}", ""),)
    yield from _labels(document)


def _labels(document: Json) -> Iterator[Line]:
    for label in document["labels"]:
        yield (("note: ", "yellow"), (label, ""))


def render_comparison(comparison: Json) -> Iterator[Line]:
    """Return a comparison: the two sides, then each call's effect as a sentence."""
    for name in ("first", "second"):
        side = comparison[name]
        sync = f" ({side['pmr_sync']})" if side["pmr_sync"] else ""
        count = f"{len(side['runs'])} run" + "s" * (len(side["runs"]) > 1)
        yield (
            (f"{name + ':':8}", "dim"),
            (f"pseudo-NMI {side['pseudo_nmi'] or 'unknown'}{sync}, {count}", ""),
        )
    if comparison["first"]["pseudo_nmi"] == comparison["second"]["pseudo_nmi"]:
        yield (("note: ", "yellow"), ("pseudo-NMI is the same: what differs is something else's", ""))
    for found in comparison["effects"]:
        style = {True: "bold yellow", False: "bold green", None: "dim"}[found["differs"]]
        seconds = " and ".join(time_words(value) if value else "?" for value in found["seconds"])
        yield ((found["sentence"], style), (f", {seconds}", ""))
    for name in comparison["ignored"]:
        yield (("ignored: ", "yellow"), (f"they may differ in {name}", ""))
    yield from _labels(comparison)


def render_aa(document: Json) -> Iterator[Line]:
    """Return how often equal runs were called different."""
    for judged in document["calls"]:
        wrong = f"{judged['called_different']} of {judged['pairs']} equal pairs were called different"
        if judged["largest"] is not None:
            wrong += f"; the largest effect of nothing was {judged['largest']:.1%}"
        yield ((f"{judged['call']}: ", "bold"), (wrong, ""))
        if judged["believable"] is None:
            yield (("too few pairs to tell whether a comparison can be believed here", "yellow"),)
        elif not judged["believable"]:
            text = "do not believe a comparison on this host as it is now: equal runs differ too often"
            yield ((text, "bold red"),)
    yield from _labels(document)


def render_ab(result: Json) -> Iterator[Line]:
    """Return what came of an experiment."""
    runs = f"{len(result['runs'])} of {result['boots']} boots were measured"
    word, style = ("complete", "bold green") if result["complete"] else ("not complete", "bold yellow")
    yield ((word, style), (f"  {runs}", ""))
    for reason in result["reasons"]:
        yield ((reason, ""),)
    if result["comparison"]:
        yield from render_comparison(result["comparison"])
