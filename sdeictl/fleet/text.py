"""A report on a fleet as lines of text. What is wrong, why, and who must act stand in the first lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from textwrap import wrap

from sdeictl.fleet.report import BrokenLink, FleetReport, Spread
from sdeictl.fleet.tallies import Group, HostRow
from sdeictl.text import Line

MAX_COHORTS = 10
"""How many cohorts the text lists in one place. JSON and CSV have all of them."""
_INDENT = "  "
_MIN_WIDTH = 40
_STUCK = "a CPU that is stuck with its interrupts masked"


def render_fleet(report: FleetReport, width: int = 80) -> Iterator[Line]:
    """Yield a report as lines of at most `width` columns; names of cohorts and hosts are never cut."""
    yield from _head(report, max(width, _MIN_WIDTH))
    for title, lines in (
        ("Hosts by path", _paths(report)),
        ("Broken links of hosts that are not ready, by owner", _broken(report, max(width, _MIN_WIDTH))),
        ("Cohorts", _cohorts(report)),
        ("No hard-lockup detector", _detector(report)),
        ("Hazards", _hazards(report)),
        ("Drills", _drills(report)),
        ("Crash kernel", _kdump(report)),
        ("Events", _events(report)),
        ("Outliers: hosts that differ from their cohort", _outliers(report)),
        ("Gaps", _gaps(report, max(width, _MIN_WIDTH))),
    ):
        shown = list(lines)
        if shown:
            yield ()
            yield ((title, "bold"),)
            yield from shown


def render_hosts(rows: Sequence[HostRow], by: Sequence[str]) -> Iterator[Line]:
    """Yield a list of hosts as a table."""
    words = [("host", "ready", "path", *by)]
    words += [(row.name, ready_word(row), row.path, *(_known(label) for label in row.group)) for row in rows]
    yield from _table(words)


def ready_word(row: HostRow) -> str:
    """Return `yes`, `no` or `unknown`."""
    return "unknown" if row.ready is None else "yes" if row.ready else "no"


def _head(report: FleetReport, width: int) -> Iterator[Line]:
    """Yield what a reader must know first: how many, why, and whose it is."""
    hosts = report.coverage
    if not hosts.total:
        yield (("No host found.", "bold red"), (f" Source: {report.source}", ""))
        return
    if hosts.not_ready:
        text = f"{_hosts(hosts.not_ready)} of {hosts.total:,} cannot reach {_STUCK}."
        yield from _wrapped(text, width, style="bold red")
        yield from _reason(report, width)
    elif hosts.ready == hosts.total:
        yield from _wrapped(f"Every host can reach {_STUCK}.", width, style="bold green")
    else:
        text = f"No host is known that cannot reach {_STUCK}, but not every host is known."
        yield from _wrapped(text, width, style="bold yellow")
    yield ()
    yield from _coverage(report)


def _reason(report: FleetReport, width: int) -> Iterator[Line]:
    causes = [broken for broken in report.broken if not broken.follows] or list(report.broken)
    if causes:
        link = causes[0].link
        text = f"Most frequent reason: {link.check} ({_hosts(causes[0].spread.hosts)}). Owner: {link.owner}."
        yield from _wrapped(f"{text} {link.remedy}", width)


def _coverage(report: FleetReport) -> Iterator[Line]:
    hosts = report.coverage
    at_risk = f"{_hosts(hosts.at_risk)} AT RISK, with a hazard" if hosts.at_risk else ""
    rows = [
        ("ready", hosts.ready, "green", at_risk),
        ("not ready", hosts.not_ready, "red", ""),
        ("unknown", hosts.unknown, "yellow", "the report could not tell"),
        ("not arm64", hosts.not_applicable, "dim", ""),
        ("no agent", hosts.no_agent, "yellow", _absent(report)),
        ("no report", hosts.no_report, "yellow", "the agent, or the file, has none"),
        ("stale", hosts.stale, "yellow", "their old verdict is counted above too"),
    ]
    for word, count, style, more in rows:
        if count or word in ("ready", "not ready"):
            part = "" if word == "stale" else f"{_percent(count, hosts.total):>8}"
            yield ((f"{_INDENT}{word:<10}{count:>9,}", style), (f"{part}  {more}".rstrip(), ""))


def _absent(report: FleetReport) -> str:
    return (
        f"{len(report.absent):,} of them only in the inventory"
        if report.absent
        else "the agent does not answer"
    )


def _paths(report: FleetReport) -> Iterator[Line]:
    for path, hosts in report.paths:
        yield ((f"{_INDENT}{path or 'unknown':<16}{hosts:>9,}", ""),)


def _broken(report: FleetReport, width: int) -> Iterator[Line]:
    """Yield the broken links by owner; the owner of the most frequent cause comes first."""
    order = list(dict.fromkeys(broken.link.owner for broken in report.broken))
    links = sorted(report.broken, key=lambda broken: order.index(broken.link.owner))
    for owner, group in groupby(links, lambda broken: broken.link.owner):
        yield ((f"{_INDENT}{owner}", "bold"),)
        for broken in group:
            yield from _link(report, broken, width)
    if report.broken:
        yield from _wrapped(
            "One path is enough: SDEI or pseudo-NMI. A host needs the links of one of them.", width, 1
        )


def _link(report: FleetReport, broken: BrokenLink, width: int) -> Iterator[Line]:
    yield ((f"{_INDENT * 2}{broken.spread.hosts:>7,}  ", ""), (broken.link.check, "red"))
    text = "follows from the links above" if broken.follows else broken.link.remedy
    yield from _wrapped(text, width, 7)
    if not broken.follows:
        yield from _spread(report, broken.spread, 7)


def _cohorts(report: FleetReport) -> Iterator[Line]:
    shown = report.cohorts[:MAX_COHORTS]
    words = [("hosts", "ready", "not ready", *report.by)]
    for cohort in shown:
        counts = (f"{cohort.hosts:,}", f"{cohort.ready:,}", f"{cohort.not_ready:,}")
        words.append((*counts, *map(_known, cohort.group)))
    yield from _table(words, _INDENT)
    yield from _omitted(len(report.cohorts) - len(shown), 1)


def _detector(report: FleetReport) -> Iterator[Line]:
    if report.no_detector.hosts:
        text = f"{_hosts(report.no_detector.hosts)}: nothing notices a CPU that takes no interrupts"
        yield ((f"{_INDENT}{text}", "yellow"),)
        yield from _spread(report, report.no_detector, 2)
    if report.detector_unknown:
        yield ((f"{_INDENT}unknown on {_hosts(report.detector_unknown)}", "yellow"),)


def _hazards(report: FleetReport) -> Iterator[Line]:
    if report.hazards.hosts:
        text = f"{_hosts(report.hazards.hosts)} with a hazard; `sdeictl probe` on a host names it"
        yield ((f"{_INDENT}{text}", "yellow"),)
        yield from _spread(report, report.hazards, 2)


def _drills(report: FleetReport) -> Iterator[Line]:
    if report.drills is None:
        yield ((f"{_INDENT}this source does not say", "dim"),)
        return
    words: list[tuple[str, ...]] = [("drill", "passed", "failed", "CPU lost", "unknown", "stale", "never")]
    for each in report.drills:
        words.append((each.drill, *(f"{count:,}" for count in each[1:])))
    yield from _table(words, _INDENT)


def _kdump(report: FleetReport) -> Iterator[Line]:
    kdump = report.kdump
    text = f"loaded {kdump.loaded:,}, not loaded {kdump.not_loaded:,}, unknown {kdump.unknown:,}"
    yield ((f"{_INDENT}{text}", "yellow" if kdump.not_loaded else ""),)


def _events(report: FleetReport) -> Iterator[Line]:
    if report.events is None:
        yield ((f"{_INDENT}this source does not say", "dim"),)
        return
    yield from _table(
        [
            ("hosts with a", "last day", "last week"),
            *((each.event, f"{each.day:,}", f"{each.week:,}") for each in report.events),
        ],
        _INDENT,
    )


def _outliers(report: FleetReport) -> Iterator[Line]:
    for each in report.outliers:
        verb = f"{each.outcome}{'es' if each.outcome == 'pass' else 's'}" if each.hosts == 1 else each.outcome
        text = f"{each.hosts:,} of {each.cohort_hosts:,} {verb} {each.check}"
        yield ((f"{_INDENT}{text}", ""), (f"  {_name(each.group)}", "dim"))
        more = f" and {each.hosts - len(each.names):,} more" if each.hosts > len(each.names) else ""
        yield ((f"{_INDENT * 2}{', '.join(each.names)}{more}", ""),)


def _gaps(report: FleetReport, width: int) -> Iterator[Line]:
    for gap in report.gaps:
        yield from _wrapped(gap, width, 1)


def _spread(report: FleetReport, spread: Spread, level: int) -> Iterator[Line]:
    if len(report.cohorts) < 2:
        return
    for group, hosts in spread.cohorts[:MAX_COHORTS]:
        yield ((f"{_INDENT * level}{hosts:>7,}  {_name(group)}", "dim"),)
    yield from _omitted(len(spread.cohorts) - MAX_COHORTS, level)


def _omitted(count: int, level: int) -> Iterator[Line]:
    if count > 0:
        yield ((f"{_INDENT * level}and {count:,} more cohorts (--format csv lists all)", "dim"),)


def _wrapped(text: str, width: int, level: int = 0, style: str = "") -> Iterator[Line]:
    indent = _INDENT * level
    for line in wrap(text, width, initial_indent=indent, subsequent_indent=indent, break_long_words=False):
        yield ((line, style),)


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


def _name(group: Group) -> str:
    return ", ".join(map(_known, group))


def _known(label: str) -> str:
    return label or "unknown"


def _hosts(count: int) -> str:
    return f"{count:,} host{'' if count == 1 else 's'}"


def _percent(count: int, total: int) -> str:
    """Return a part of all hosts. It is 0 % or 100 % only if it is exactly that."""
    share = 100 * count / total
    if 0 < share < 0.1:
        return "< 0.1 %"
    return "> 99.9 %" if 99.95 <= share < 100 else f"{share:.1f} %"
