"""A report on a fleet as a page: the words and the order of the text, with a picture of the coverage."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sdeictl.fleet import words
from sdeictl.fleet.report import BrokenLink, FleetReport, Outlier, Spread
from sdeictl.fleet.words import count_hosts, known, name_group
from sdeictl.html.blocks import Column, folded, items, paragraph, prose, table
from sdeictl.html.drawing import Part, marked, stacked_bar
from sdeictl.html.element import Node, element
from sdeictl.html.kind import Kind
from sdeictl.html.page import Page, Section, render_page

MAX_BYTES = 1 << 20
_LIMITS = (100, 30, 10, 3, 1)
"""How many entries a list has at most: the first number with which the page is not too large."""
_SHOWN = 10
_SPREAD_SHOWN = 3
"""How many entries of a list stand open; the rest is folded."""
_KINDS = {
    "ready": Kind.GOOD, "not ready": Kind.BAD, "unknown": Kind.UNKNOWN, "not arm64": Kind.OTHER,
    "no agent": Kind.MISSING, "no report": Kind.MISSING,
}  # fmt: skip
_COLORS = {"red": Kind.BAD, "yellow": Kind.UNKNOWN, "green": Kind.GOOD}


def fleet_page(report: FleetReport) -> bytes:
    """Return a report as a page of at most MAX_BYTES."""
    page = b""
    for limit in _LIMITS:
        page = render_page(_page(report, limit))
        if len(page) <= MAX_BYTES:
            break
    return page


def _page(report: FleetReport, limit: int) -> Page:
    sections = (
        (words.PATHS, _paths(report, limit)),
        (words.BROKEN, _broken(report, limit)),
        (words.COHORTS, _cohorts(report, limit)),
        (words.DETECTOR, _detector(report, limit)),
        (words.HAZARDS, _hazards(report, limit)),
        (words.DRILLS, _drills(report, limit)),
        (words.KDUMP, _kdump(report)),
        (words.EVENTS, _events(report)),
        (words.OUTLIERS, _outliers(report)),
        (words.GAPS, _gaps(report, limit)),
    )
    shown = ((title, list(nodes)) for title, nodes in sections)
    return Page(
        title=words.headline(report).text,
        origin=["sdeictl fleet report of ", _time(report), ", source: ", element("code", report.source)],
        lead=list(_lead(report, limit)),
        sections=[Section(title, nodes) for title, nodes in shown if nodes],
        footer=["As text: sdeictl fleet report. All cohorts: --format csv. All data: --format json."],
    )


def _time(report: FleetReport) -> Node:
    return element("time", report.generated_at, datetime=report.generated_at)


def _lead(report: FleetReport, limit: int) -> Iterator[Node]:
    """Yield what a reader must know first: how many, why, and whose it is."""
    text, color = words.headline(report)
    yield element("h1", text, class_=_COLORS[color])
    if not report.coverage.total:
        return
    broken = words.most_frequent(report)
    if broken:
        yield _answer(broken)
    yield from _owners(report, limit)
    yield stacked_bar(_parts(report))
    yield _coverage(report)
    if report.absent:
        yield from _absent(report, limit)


def _answer(broken: BrokenLink) -> Node:
    """Return the reason, the owner and the remedy side by side."""
    check = element("strong", element("code", broken.link.check), " fails")
    cells = (
        ("Most frequent reason", [check, count_hosts(broken.spread.hosts)]),
        ("Owner", [element("strong", broken.link.owner)]),
        ("Remedy", prose(broken.link.remedy)),
    )
    return element(
        "dl",
        *(element("div", element("dt", word), element("dd", *nodes)) for word, nodes in cells),
        class_="answer",
    )


def _owners(report: FleetReport, limit: int) -> Iterator[Node]:
    """Yield the most frequent cause of each owner, if there are several of them."""
    rows: list[Sequence[Node]] = []
    for place, (owner, links) in enumerate(words.by_owner(report._replace(broken=report.broken[:limit]))):
        cause = next((broken for broken in links if not broken.follows), links[0])
        link = element("a", owner, href=f"#{_owner_place(place)}")
        rows.append((link, element("code", cause.link.check), f"{cause.spread.hosts:,}"))
    if len(rows) > 1:
        columns = (Column("owner"), Column("broken link"), Column("hosts", number=True))
        yield table("The most frequent broken link of each owner", columns, rows)


def _owner_place(place: int) -> str:
    return f"owner-{place + 1}"


def _parts(report: FleetReport) -> list[Part]:
    hosts = report.coverage
    return [
        Part("ready without a hazard", hosts.ready - hosts.at_risk, Kind.GOOD),
        Part("ready but AT RISK", hosts.at_risk, Kind.RISK),
        Part("not ready", hosts.not_ready, Kind.BAD),
        Part("unknown", hosts.unknown, Kind.UNKNOWN),
        Part("not arm64", hosts.not_applicable, Kind.OTHER),
        Part("without data", hosts.no_data, Kind.MISSING),
    ]


def _coverage(report: FleetReport) -> Node:
    rows = []
    for row in words.coverage_rows(report):
        note = marked(Kind.RISK, row.note) if row.word == "ready" and row.note else row.note
        rows.append((marked(_KINDS.get(row.word), row.word), f"{row.hosts:,}", row.share, note))
    columns = (
        Column("verdict"),
        Column("hosts", number=True),
        Column("of all", number=True),
        Column("remark"),
    )
    return table(f"Coverage of {count_hosts(report.coverage.total)}", columns, rows)


def _absent(report: FleetReport, limit: int) -> Iterator[Node]:
    summary = f"{count_hosts(len(report.absent))} only in the inventory"
    yield folded(summary, items(report.absent[:limit]), *_noted(len(report.absent) - limit, "hosts", "json"))


def _paths(report: FleetReport, limit: int) -> Iterator[Node]:
    if report.paths:
        rows = [(known(path), f"{hosts:,}") for path, hosts in report.paths[:limit]]
        caption = "The path by which a backtrace request reaches a masked CPU"
        yield table(caption, _columns(("path", "hosts")), rows)
        yield from _noted(len(report.paths) - limit, "paths", "json")


def _broken(report: FleetReport, limit: int) -> Iterator[Node]:
    """Yield the broken links by owner; the owner of the most frequent cause comes first."""
    shown = report._replace(broken=report.broken[:limit])
    if shown.broken:
        yield paragraph(words.ONE_PATH)
    for place, (owner, links) in enumerate(words.by_owner(shown)):
        yield element("h3", owner, id=_owner_place(place))
        for broken in links:
            yield element("div", *_link(report, broken, limit), class_="finding")
    yield from _noted(len(report.broken) - limit, "broken links", "json")


def _link(report: FleetReport, broken: BrokenLink, limit: int) -> Iterator[Node]:
    check = element("code", broken.link.check)
    yield paragraph(element("strong", count_hosts(broken.spread.hosts)), ": ", check)
    yield paragraph(*prose(words.FOLLOWS if broken.follows else broken.link.remedy))
    if not broken.follows:
        yield from _spread(report, broken.spread, limit)


def _cohorts(report: FleetReport, limit: int) -> Iterator[Node]:
    columns = _columns((", ".join(report.by), *words.COHORT_HEADING))
    rows = [
        (name_group(each.group), f"{each.hosts:,}", f"{each.ready:,}", f"{each.not_ready:,}")
        for each in report.cohorts[:limit]
    ]
    if rows:
        shown, rest = rows[:_SHOWN], rows[_SHOWN:]
        yield table("Cohorts, the largest first", columns, shown)
        listed = table("The next cohorts", columns, rest)
        yield from _rest(len(report.cohorts) - len(shown), listed, len(rest), ("cohorts", "csv"))


def _detector(report: FleetReport, limit: int) -> Iterator[Node]:
    if report.no_detector.hosts:
        yield paragraph(words.detector_text(report))
        yield from _spread(report, report.no_detector, limit)
    if report.detector_unknown:
        yield paragraph(words.detector_unknown_text(report))


def _hazards(report: FleetReport, limit: int) -> Iterator[Node]:
    if report.hazards.hosts:
        yield paragraph(*prose(words.hazard_text(report)))
        yield from _spread(report, report.hazards, limit)


def _drills(report: FleetReport, limit: int) -> Iterator[Node]:
    if report.drills is None:
        yield paragraph(words.NOT_SAID)
        return
    columns = _columns(words.DRILL_HEADING)
    rows = [(each.drill, *(f"{count:,}" for count in each[1:])) for each in report.drills[:limit]]
    yield table("Hosts by the result of their last drill", columns, rows)
    yield from _noted(len(report.drills) - limit, "drills", "json")


def _kdump(report: FleetReport) -> Iterator[Node]:
    yield paragraph(words.kdump_text(report))


def _events(report: FleetReport) -> Iterator[Node]:
    if report.events is None:
        yield paragraph(words.NOT_SAID)
        return
    columns = _columns(words.EVENT_HEADING)
    rows = [(each.event, f"{each.day:,}", f"{each.week:,}") for each in report.events]
    yield table("Hosts on which something happened", columns, rows)
    if not all(each.complete for each in report.events):
        yield paragraph(words.SINCE_BOOT)


def _outliers(report: FleetReport) -> Iterator[Node]:
    for each in report.outliers:
        yield element("div", *_outlier(each), class_="finding")


def _outlier(outlier: Outlier) -> Iterator[Node]:
    yield paragraph(element("strong", words.outlier_text(outlier)), f": {name_group(outlier.group)}")
    yield paragraph(f"{', '.join(outlier.names)}{words.unnamed_text(outlier)}")


def _gaps(report: FleetReport, limit: int) -> Iterator[Node]:
    if report.gaps:
        gaps = report.gaps[:limit]
        shown, rest = gaps[:_SHOWN], gaps[_SHOWN:]
        yield items(shown)
        yield from _rest(len(report.gaps) - len(shown), items(rest), len(rest), ("gaps", "json"))


def _spread(report: FleetReport, spread: Spread, limit: int) -> Iterator[Node]:
    """Yield how hosts are distributed over the cohorts, if there are several cohorts."""
    if len(report.cohorts) < 2:
        return
    lines = [f"{hosts:,}: {name_group(group)}" for group, hosts in spread.cohorts[:limit]]
    shown, rest = lines[:_SPREAD_SHOWN], lines[_SPREAD_SHOWN:]
    yield _cohort_list(shown)
    yield from _rest(len(spread.cohorts) - len(shown), _cohort_list(rest), len(rest), ("cohorts", "json"))


def _cohort_list(lines: Sequence[str]) -> Node:
    return element("ul", *(element("li", line) for line in lines), class_="cohorts")


def _rest(count: int, listed: Node, length: int, named: tuple[str, str]) -> Iterator[Node]:
    """Yield what is behind the entries that stand open, folded: `length` of `count` are listed.

    `named` is what they are, and which format lists all of them.
    """
    if count > 0:
        what, form = named
        yield folded(
            f"{count:,} more {what}", listed if length else None, *_noted(count - length, what, form)
        )


def _columns(heading: Sequence[str]) -> list[Column]:
    """Return columns of numbers behind one of words."""
    return [Column(word, number=place > 0) for place, word in enumerate(heading)]


def _noted(count: int, what: str, form: str) -> Iterator[Node]:
    """Yield how many entries a list leaves out, and which format has them."""
    if count > 0:
        yield paragraph(f"and {count:,} more {what} (--format {form} lists all)", class_="muted")
