"""A comparison of runs as a page: how each run's times are distributed, the intervals, and the noise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sdeictl.bench.compare import AaDocument, ComparisonDocument
from sdeictl.bench.document import BenchDocument, ResultDocument
from sdeictl.bench.text import show_time
from sdeictl.html.blocks import Column, items, paragraph, table
from sdeictl.html.element import Node, element
from sdeictl.html.kind import Kind
from sdeictl.html.page import Page, Section, render_page
from sdeictl.html.plots import Histogram, Span, histograms, spans

BINS = 60
_MOST = 0.75
_BEYOND = 1.5
"""The scale reaches 1.5 times as far as this quantile of the slowest run: interference adds a long tail."""
_MIN_SCALE = 0.01
_KINDS = {True: Kind.RISK, False: Kind.GOOD, None: Kind.UNKNOWN}


def comparison_page(
    comparison: ComparisonDocument,
    sides: tuple[Sequence[BenchDocument], Sequence[BenchDocument]],
    noise: AaDocument | None,
) -> bytes:
    """Return a comparison as a page of HTML; `noise` is a result of `bench aa`, if there is one."""
    calls = [found["call"] for found in comparison["effects"]]
    sections = [Section(f"Times of {call}", list(_times(call, sides))) for call in calls]
    page = Page(
        title="sdeictl bench compare",
        origin=["sdeictl bench compare: ", _side_words(comparison)],
        lead=list(_lead(comparison, noise)),
        sections=sections,
        footer=["As text: sdeictl bench compare. All data: --format json."],
    )
    return render_page(page)


def _side_words(comparison: ComparisonDocument) -> str:
    words = []
    for name in ("first", "second"):
        side = comparison[name]
        count = f"{len(side['runs'])} run{'s' * (len(side['runs']) > 1)}"
        words.append(f"{name}: pseudo-NMI {side['pseudo_nmi'] or 'unknown'}, {count}")
    return "; ".join(words)


def _lead(comparison: ComparisonDocument, noise: AaDocument | None) -> Iterator[Node]:
    differ = [found["call"] for found in comparison["effects"] if found["differs"]]
    yield element("h1", f"Different: {', '.join(differ)}" if differ else "No difference found")
    yield items([found["sentence"] for found in comparison["effects"]])
    yield from _intervals(comparison, noise)
    for name in comparison["ignored"]:
        yield paragraph(f"Ignored: the runs may differ in {name}.")
    for label in comparison["labels"]:
        yield paragraph(f"Note: {label}")


def _intervals(comparison: ComparisonDocument, noise: AaDocument | None) -> Iterator[Node]:
    """Yield how much longer each call takes on the second side, with the largest false difference."""
    rows = []
    for found in comparison["effects"]:
        if found["effect"] is not None and found["ci95"] is not None:
            low, high = found["ci95"]
            rows.append(Span(found["call"], low, found["effect"], high, _KINDS[found["differs"]]))
    floors = (
        [judged["largest"] for judged in noise["calls"] if judged["largest"] is not None] if noise else []
    )
    floor = max(floors, default=None)
    if not rows:
        return
    scale = max([_MIN_SCALE, *(abs(end) for row in rows for end in (row.low, row.high)), *floors])
    yield element("h2", "Effect on the second side")
    yield spans(rows, floor, scale, (f"{-100 * scale:.1f} %", f"{100 * scale:+.1f} %"))
    if floor is not None:
        yield paragraph(
            f"The band is the noise of this host: equal runs differed by up to {100 * floor:.1f} %."
        )
    else:
        yield paragraph("The noise of this host is not shown: add --noise with a result of `bench aa`.")


def _times(call: str, sides: tuple[Sequence[BenchDocument], Sequence[BenchDocument]]) -> Iterator[Node]:
    """Yield the distribution of each run's times, and the times as a table."""
    runs = [
        (f"{side} {number + 1}", kind, result)
        for side, kind, documents in (("first", Kind.OTHER, sides[0]), ("second", Kind.UNKNOWN, sides[1]))
        for number, document in enumerate(documents)
        for result in document["results"]
        if result["call"] == call
    ]
    ordered = [sorted(result["samples"]) for _, _, result in runs if result["samples"]]
    low = min((samples[0] for samples in ordered), default=0.0)
    most = max((samples[int(_MOST * (len(samples) - 1))] for samples in ordered), default=0.0)
    high = low + _BEYOND * (most - low)
    if high > low:
        rows = [_histogram(word, kind, result, low, high) for word, kind, result in runs]
        yield histograms(rows, (show_time(low), show_time(high)))
        beyond = sum(sample > high for samples in ordered for sample in samples)
        yield paragraph(f"{beyond:,} longer samples are not drawn.")
    columns = (Column("run"), *(Column(word, number=True) for word in ("undisturbed", "median", "samples")))
    yield table("A line marks the undisturbed time", columns, [
        (word, show_time(result["undisturbed"]), show_time(result["median"]), f"{len(result['samples']):,}")
        for word, _, result in runs
    ])  # fmt: skip


def _histogram(word: str, kind: Kind, result: ResultDocument, low: float, high: float) -> Histogram:
    counts = [0] * BINS
    for sample in result["samples"]:
        if sample <= high:
            counts[min(int(BINS * (sample - low) / (high - low)), BINS - 1)] += 1
    mark = result["undisturbed"]
    place = None if mark is None else max(0.0, min((mark - low) / (high - low), 1.0))
    return Histogram(word, tuple(counts), place, kind)
