"""A report on a fleet as lines of text. What is wrong, why, and who must act stand in the first lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sdeictl.fleet import words
from sdeictl.fleet.report import BrokenLink, FleetReport, Spread
from sdeictl.fleet.tallies import HostRow
from sdeictl.fleet.words import known, name_group
from sdeictl.text import Line, wrapped

MAX_COHORTS = 10
"""How many cohorts the text lists in one place. JSON and CSV have all of them."""
_INDENT = "  "


def render_fleet(report: FleetReport, width: int = 80) -> Iterator[Line]:
    """Yield a report as lines of at most `width` columns; names of cohorts and hosts are never cut."""
    yield from _head(report, width)
    for title, lines in (
        (words.PATHS, _paths(report)),
        (words.BROKEN, _broken(report, width)),
        (words.COHORTS, _cohorts(report)),
        (words.DETECTOR, _detector(report)),
        (words.HAZARDS, _hazards(report)),
        (words.DRILLS, _drills(report)),
        (words.KDUMP, _kdump(report)),
        (words.EVENTS, _events(report, width)),
        (words.OUTLIERS, _outliers(report)),
        (words.GAPS, _gaps(report, width)),
    ):
        shown = list(lines)
        if shown:
            yield ()
            yield ((title, "bold"),)
            yield from shown


def render_hosts(rows: Sequence[HostRow], by: Sequence[str]) -> Iterator[Line]:
    """Yield a list of hosts as a table."""
    table = [("host", "ready", "path", *by)]
    table += [(row.name, ready_word(row), row.path, *map(known, row.group)) for row in rows]
    yield from _table(table)


def ready_word(row: HostRow) -> str:
    """Return `yes`, `no` or `unknown`."""
    return "unknown" if row.ready is None else "yes" if row.ready else "no"


def _head(report: FleetReport, width: int) -> Iterator[Line]:
    """Yield what a reader must know first: how many, why, and whose it is."""
    text, color = words.headline(report)
    if not report.coverage.total:
        yield ((text, f"bold {color}"), (f" Source: {report.source}", ""))
        return
    yield from wrapped(text, width, style=f"bold {color}")
    yield from _reason(report, width)
    yield ()
    yield from _coverage(report)


def _reason(report: FleetReport, width: int) -> Iterator[Line]:
    broken = words.most_frequent(report)
    if broken:
        hosts, link = words.count_hosts(broken.spread.hosts), broken.link
        text = f"Most frequent reason: {link.check} fails ({hosts}). Owner: {link.owner}. {link.remedy}"
        yield from wrapped(text, width)


def _coverage(report: FleetReport) -> Iterator[Line]:
    for row in words.coverage_rows(report):
        part = f"{row.share:>8}" if row.share else ""
        yield ((f"{_INDENT}{row.word:<10}{row.hosts:>9,}", row.color), (f"{part}  {row.note}".rstrip(), ""))


def _paths(report: FleetReport) -> Iterator[Line]:
    for path, hosts in report.paths:
        yield ((f"{_INDENT}{known(path):<16}{hosts:>9,}", ""),)


def _broken(report: FleetReport, width: int) -> Iterator[Line]:
    for owner, links in words.by_owner(report):
        yield ((f"{_INDENT}{owner}", "bold"),)
        for broken in links:
            yield from _link(report, broken, width)
    if report.broken:
        yield from wrapped(words.ONE_PATH, width, _INDENT * 1)


def _link(report: FleetReport, broken: BrokenLink, width: int) -> Iterator[Line]:
    yield ((f"{_INDENT * 2}{broken.spread.hosts:>7,}  ", ""), (broken.link.check, "red"))
    text = words.FOLLOWS if broken.follows else broken.link.remedy
    yield from wrapped(text, width, _INDENT * 7)
    if not broken.follows:
        yield from _spread(report, broken.spread, 7)


def _cohorts(report: FleetReport) -> Iterator[Line]:
    shown = report.cohorts[:MAX_COHORTS]
    table = [(*words.COHORT_HEADING, *report.by)]
    for cohort in shown:
        counts = (f"{cohort.hosts:,}", f"{cohort.ready:,}", f"{cohort.not_ready:,}")
        table.append((*counts, *map(known, cohort.group)))
    yield from _table(table, _INDENT)
    yield from _omitted(len(report.cohorts) - len(shown), 1)


def _detector(report: FleetReport) -> Iterator[Line]:
    if report.no_detector.hosts:
        yield ((f"{_INDENT}{words.detector_text(report)}", "yellow"),)
        yield from _spread(report, report.no_detector, 2)
    if report.detector_unknown:
        yield ((f"{_INDENT}{words.detector_unknown_text(report)}", "yellow"),)


def _hazards(report: FleetReport) -> Iterator[Line]:
    if report.hazards.hosts:
        yield ((f"{_INDENT}{words.hazard_text(report)}", "yellow"),)
        yield from _spread(report, report.hazards, 2)


def _drills(report: FleetReport) -> Iterator[Line]:
    if report.drills is None:
        yield ((f"{_INDENT}{words.NOT_SAID}", "dim"),)
        return
    table: list[tuple[str, ...]] = [words.DRILL_HEADING]
    for each in report.drills:
        table.append((each.drill, *(f"{count:,}" for count in each[1:])))
    yield from _table(table, _INDENT)


def _kdump(report: FleetReport) -> Iterator[Line]:
    yield ((f"{_INDENT}{words.kdump_text(report)}", "yellow" if report.kdump.not_loaded else ""),)


def _events(report: FleetReport, width: int) -> Iterator[Line]:
    if report.events is None:
        yield ((f"{_INDENT}{words.NOT_SAID}", "dim"),)
        return
    rows = [(each.event, f"{each.day:,}", f"{each.week:,}") for each in report.events]
    yield from _table([words.EVENT_HEADING, *rows], _INDENT)
    if not all(each.complete for each in report.events):
        yield from wrapped(words.SINCE_BOOT, width, _INDENT * 1)


def _outliers(report: FleetReport) -> Iterator[Line]:
    for each in report.outliers:
        yield ((f"{_INDENT}{words.outlier_text(each)}", ""), (f"  {name_group(each.group)}", "dim"))
        yield ((f"{_INDENT * 2}{', '.join(each.names)}{words.unnamed_text(each)}", ""),)


def _gaps(report: FleetReport, width: int) -> Iterator[Line]:
    for gap in report.gaps:
        yield from wrapped(gap, width, _INDENT * 1)


def _spread(report: FleetReport, spread: Spread, level: int) -> Iterator[Line]:
    if len(report.cohorts) < 2:
        return
    for group, hosts in spread.cohorts[:MAX_COHORTS]:
        yield ((f"{_INDENT * level}{hosts:>7,}  {name_group(group)}", "dim"),)
    yield from _omitted(len(spread.cohorts) - MAX_COHORTS, level)


def _omitted(count: int, level: int) -> Iterator[Line]:
    if count > 0:
        yield ((f"{_INDENT * level}and {count:,} more cohorts (--format csv lists all)", "dim"),)


def _table(rows: Sequence[Sequence[str]], indent: str = "") -> Iterator[Line]:
    """Yield rows with aligned columns; numbers stand to the right. The first row is the heading."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    numbers = [all(text.replace(",", "").isdigit() for text in column[1:]) for column in zip(*rows)]
    for place, row in enumerate(rows):
        cells = (
            text.rjust(width) if number else text.ljust(width)
            for text, width, number in zip(row, widths, numbers)
        )
        yield ((indent + "  ".join(cells).rstrip(), "" if place else "dim"),)
