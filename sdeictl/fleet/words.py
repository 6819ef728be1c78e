"""What a report on a fleet says, in words: the text and the page say the same."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from sdeictl.fleet.report import BrokenLink, FleetReport, Outlier
from sdeictl.fleet.tallies import Group
from sdeictl.text import NamedTuple

PATHS = "Hosts by the path that reaches a masked CPU"
BROKEN = "Broken links: failed checks of hosts that are not ready, by owner"
COHORTS = "Cohorts"
DETECTOR = "No hard-lockup detector"
HAZARDS = "Hazards"
DRILLS = "Drills"
KDUMP = "Crash kernel"
EVENTS = "Events"
OUTLIERS = "Outliers: hosts that differ from their cohort"
GAPS = "Gaps"

ONE_PATH = "One path is enough: SDEI or pseudo-NMI. A host needs the links of one of them."
FOLLOWS = "follows from the links above"
NOT_SAID = "this source does not say"
SINCE_BOOT = (
    "Only what happened since the last boot of each host: the rules of prometheus/recording.yml have not been"
    " evaluated for a whole week."
)
DRILL_HEADING = ("drill", "passed", "failed", "CPU lost", "unknown", "stale", "never")
EVENT_HEADING = ("hosts with a", "last day", "last week")
COHORT_HEADING = ("hosts", "ready", "not ready")
_STUCK = "a CPU that gets stuck with its interrupts masked"


class Headline(NamedTuple):
    """The first sentence of a report."""

    text: str
    color: str
    """red: a host is not ready, or there is none; yellow: a host is unknown; green: every host is ready."""


class CoverageRow(NamedTuple):
    """One number of the coverage."""

    word: str
    hosts: int
    share: str
    """The part of all hosts; "" for hosts that another row counts too."""
    color: str
    note: str


def headline(report: FleetReport) -> Headline:
    """Return how many hosts cannot be debugged."""
    hosts = report.coverage
    if not hosts.total:
        return Headline("No host found.", "red")
    if hosts.not_ready:
        verb = "is not ready: it" if hosts.not_ready == 1 else "are not ready: they"
        found = f"{count_hosts(hosts.not_ready)} of {hosts.total:,} {verb}"
        return Headline(f"{found} cannot reach {_STUCK}.", "red")
    if hosts.ready == hosts.total:
        return Headline(f"Every host can reach {_STUCK}.", "green")
    return Headline(f"No host is known that cannot reach {_STUCK}, but not every host is known.", "yellow")


def most_frequent(report: FleetReport) -> BrokenLink | None:
    """Return the link to mend first: a cause, before what follows from it. None if no host is not ready."""
    if not report.coverage.not_ready:
        return None
    causes = [broken for broken in report.broken if not broken.follows] or list(report.broken)
    return causes[0] if causes else None


def by_owner(report: FleetReport) -> Iterator[tuple[str, list[BrokenLink]]]:
    """Yield the broken links of each owner; the owner of the most frequent cause comes first."""
    order = list(dict.fromkeys(broken.link.owner for broken in report.broken))
    links = sorted(report.broken, key=lambda broken: order.index(broken.link.owner))
    for owner, group in groupby(links, lambda broken: broken.link.owner):
        yield owner, list(group)


def coverage_rows(report: FleetReport) -> list[CoverageRow]:
    """Return the numbers of the coverage that a reader needs."""
    hosts = report.coverage
    at_risk = f"{hosts.at_risk:,} of them AT RISK: a hazard is known" if hosts.at_risk else ""
    silent = f"{len(report.absent):,} of them only in the inventory"
    rows = [
        ("ready", hosts.ready, "green", at_risk),
        ("not ready", hosts.not_ready, "red", ""),
        ("unknown", hosts.unknown, "yellow", "their reports do not tell whether they are ready"),
        ("not arm64", hosts.not_applicable, "dim", ""),
        ("no agent", hosts.no_agent, "yellow", silent if report.absent else "the agent does not answer"),
        ("no report", hosts.no_report, "yellow", "the agent answers without one, or the file holds none"),
        ("stale", hosts.stale, "yellow", "their report is old; a row above counts them too"),
    ]
    return [
        CoverageRow(word, count, "" if word == "stale" else percent(count, hosts.total), color, note)
        for word, count, color, note in rows
        if count or word in ("ready", "not ready")
    ]


def detector_text(report: FleetReport) -> str:
    """Return how many hosts have no hard-lockup detector, "" if none."""
    hosts = report.no_detector.hosts
    return f"{count_hosts(hosts)}: nothing notices a CPU that takes no interrupts" if hosts else ""


def detector_unknown_text(report: FleetReport) -> str:
    """Return of how many hosts that is unknown, "" if of none."""
    return f"unknown on {count_hosts(report.detector_unknown)}" if report.detector_unknown else ""


def hazard_text(report: FleetReport) -> str:
    """Return how many hosts have a hazard, "" if none."""
    hosts = report.hazards.hosts
    return f"{count_hosts(hosts)} with a hazard; `sdeictl probe` on a host names it" if hosts else ""


def kdump_text(report: FleetReport) -> str:
    """Return on how many hosts a crash kernel is loaded."""
    kdump = report.kdump
    return f"loaded {kdump.loaded:,}, not loaded {kdump.not_loaded:,}, unknown {kdump.unknown:,}"


def outlier_text(outlier: Outlier) -> str:
    """Return in what some hosts differ from their cohort: `1 of 40 fails kdump-loaded`."""
    outcome = outlier.outcome
    verb = f"{outcome}{'es' if outcome == 'pass' else 's'}" if outlier.hosts == 1 else outcome
    return f"{outlier.hosts:,} of {outlier.cohort_hosts:,} {verb} {outlier.check}"


def unnamed_text(outlier: Outlier) -> str:
    """Return how many of these hosts the report does not name, with a space before it."""
    more = outlier.hosts - len(outlier.names)
    return f" and {more:,} more" if more > 0 else ""


def name_group(group: Group) -> str:
    """Return the name of a cohort."""
    return ", ".join(map(known, group))


def known(label: str) -> str:
    """Return the value of a label."""
    return label or "unknown"


def count_hosts(count: int) -> str:
    """Return `1 host` or `2,000 hosts`."""
    return f"{count:,} host{'' if count == 1 else 's'}"


def percent(count: int, total: int) -> str:
    """Return a part of all hosts. It is 0 % or 100 % only if it is exactly that."""
    share = 100 * count / total
    if 0 < share < 0.1:
        return "< 0.1 %"
    return "> 99.9 %" if 99.95 <= share < 100 else f"{share:.1f} %"
