"""The report on a fleet: how many hosts could not be debugged today, why, and who must act. No I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

from sdeictl.errors import Status
from sdeictl.fleet.tallies import Counts, DrillCounts, EventCounts, Group, KdumpCounts, Link, Source, Tallies
from sdeictl.klog.words import NmiPath
from sdeictl.probe.verdict import REGISTERED
from sdeictl.probe.words import Outcome
from sdeictl.text import NamedTuple

OUTLIER_SHARE = 0.05
"""A host is an outlier if at most this part of its cohort has the same outcome, or if it is the only one."""
MIN_COHORT = 4
"""A smaller cohort has no outliers."""
MAX_OUTLIERS = 20
"""How many cases a report has: each costs a query."""
MAX_NAMES = 3


class Spread(NamedTuple):
    """Hosts, and how they are distributed over the cohorts, the largest number first."""

    hosts: int
    cohorts: tuple[tuple[Group, int], ...]


class Coverage(NamedTuple):
    """How many hosts there are, and of how many there is a report."""

    total: int
    ready: int
    not_ready: int
    unknown: int
    """Hosts with a report that could not tell."""
    not_applicable: int
    """Hosts that are not arm64."""
    no_agent: int
    no_report: int
    stale: int
    """Hosts with an old report. They are counted by its verdict too."""
    at_risk: int
    """Hosts that are ready and have a hazard. They are counted as ready too."""

    @property
    def no_data(self) -> int:
        """Return how many hosts have no report."""
        return self.no_agent + self.no_report


class Cohort(NamedTuple):
    """Hosts that are alike."""

    group: Group
    hosts: int
    ready: int
    not_ready: int
    paths: tuple[tuple[str, int], ...]


class BrokenLink(NamedTuple):
    """A link that is broken on hosts that are not ready."""

    link: Link
    follows: bool
    """It is the last link of a chain, which fails if any other link does."""
    spread: Spread


class Outlier(NamedTuple):
    """Hosts that differ from their cohort in one check."""

    check: str
    outcome: str
    group: Group
    hosts: int
    """How many they are."""
    cohort_hosts: int
    """How many of the cohort pass or fail the check."""
    names: tuple[str, ...]
    """The first of them."""


class FleetReport(NamedTuple):
    """What a source says of a fleet."""

    source: str
    generated_at: str
    by: tuple[str, ...]
    coverage: Coverage
    paths: tuple[tuple[str, int], ...]
    cohorts: tuple[Cohort, ...]
    broken: tuple[BrokenLink, ...]
    no_detector: Spread
    detector_unknown: int
    hazards: Spread
    drills: tuple[DrillCounts, ...] | None
    kdump: KdumpCounts
    events: tuple[EventCounts, ...] | None
    outliers: tuple[Outlier, ...]
    absent: tuple[str, ...]
    gaps: tuple[str, ...]

    def status(self) -> Status:
        """Return the exit status: FAILED if a host is not ready, else UNKNOWN if anything is not known."""
        found = self.coverage
        if found.not_ready:
            return Status.FAILED
        doubt = found.unknown or found.no_data or self.gaps or not found.total
        return Status.UNKNOWN if doubt else Status.GOOD


def build_fleet_report(
    source: Source, inventory: Sequence[str], by: tuple[str, ...], generated_at: str
) -> FleetReport:
    """Ask a source, and return the report."""
    tallies = source.tallies(inventory)
    cohorts = tuple(_cohort(tallies, group) for group in tallies.paths)
    return FleetReport(
        source=source.describe(),
        generated_at=generated_at,
        by=by,
        coverage=_coverage(tallies),
        paths=_paths(tallies),
        cohorts=tuple(sorted(cohorts, key=lambda cohort: (-cohort.hosts, cohort.group))),
        broken=_broken(tallies),
        no_detector=_spread(tallies.no_detector),
        detector_unknown=tallies.detector_unknown,
        hazards=_spread(tallies.hazards),
        drills=None if tallies.drills is None else tuple(tallies.drills),
        kdump=tallies.kdump,
        events=None if tallies.events is None else tuple(tallies.events),
        outliers=tuple(islice(_outliers(source, tallies), MAX_OUTLIERS)),
        absent=tallies.absent,
        gaps=tallies.gaps,
    )


def _coverage(tallies: Tallies) -> Coverage:
    reported = sum(count for paths in tallies.paths.values() for count in paths.values())
    ready, not_ready = sum(tallies.ready.values()), sum(tallies.not_ready.values())
    others = sum(paths.get(NmiPath.NOT_APPLICABLE, 0) for paths in tallies.paths.values())
    return Coverage(
        total=reported + tallies.no_agent + tallies.no_report,
        ready=ready,
        not_ready=not_ready,
        unknown=reported - ready - not_ready - others,
        not_applicable=others,
        no_agent=tallies.no_agent,
        no_report=tallies.no_report,
        stale=tallies.stale,
        # Two answers of a server can be of two moments.
        at_risk=min(tallies.at_risk, ready),
    )


def _cohort(tallies: Tallies, group: Group) -> Cohort:
    paths = tallies.paths[group]
    ready, not_ready = tallies.ready.get(group, 0), tallies.not_ready.get(group, 0)
    return Cohort(group, sum(paths.values()), ready, not_ready, _sorted(paths))


def _paths(tallies: Tallies) -> tuple[tuple[str, int], ...]:
    counts: dict[str, int] = {}
    for paths in tallies.paths.values():
        for path, hosts in paths.items():
            counts[path] = counts.get(path, 0) + hosts
    return _sorted(counts)


def _sorted(counts: Mapping[str, int]) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _spread(counts: Counts) -> Spread:
    cohorts = tuple(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
    return Spread(sum(counts.values()), cohorts)


def _broken(tallies: Tallies) -> tuple[BrokenLink, ...]:
    """Return the broken links: causes first, the most frequent first."""
    last = REGISTERED.values()
    links = (BrokenLink(link, link.check in last, _spread(counts)) for link, counts in tallies.broken.items())
    return tuple(sorted(links, key=lambda each: (each.follows, -each.spread.hosts, each.link)))


def _outliers(source: Source, tallies: Tallies) -> Iterator[Outlier]:
    """Yield the outliers, those in the largest cohorts first; the names are asked for one by one."""
    found = []
    for check, groups in tallies.splits.items():
        for group, split in groups.items():
            few, size = min(split), sum(split)
            if size >= MIN_COHORT and (few == 1 or few <= OUTLIER_SHARE * size):
                found.append((-size, check, group, few, split.failed == few))
    for size, check, group, few, fails in sorted(found):
        names = source.failing_hosts(check, group, fails=fails, limit=MAX_NAMES)
        yield Outlier(check, Outcome.FAIL if fails else Outcome.PASS, group, few, -size, tuple(names))
