"""How many hosts of a fleet are of each kind: what a source gives, and what a report is made from. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from sdeictl.probe.checks.table import CHAIN, CHECKS
from sdeictl.probe.words import Owner
from sdeictl.text import NamedTuple

Group = tuple[str, ...]
"""The values of the labels of a cohort, such as (kernel, firmware, product); "" where unknown."""
Counts = Mapping[Group, int]
"""How many hosts of each cohort."""

BY = ("kernel", "firmware", "product")
"""The labels that distinguish cohorts, if the user names no others."""
LINKS = tuple(check.id for check in CHAIN if check.path)
"""The checks of the chain. One that fails on a host that is not ready is a broken link."""
DRILLS = ("backtrace-masked",)
"""The drill that each ready host should have passed. Others are counted where a host has a result of them."""
DETECTOR = "hard-lockup-detector"
"""The check for a hard-lockup detector."""
NEVER_OUTLIERS = frozenset({"no-lockup-seen"})
"""Checks whose outcome differs between equal hosts, because it depends on what happened to them."""


class Link(NamedTuple):
    """A broken link of the chain, and who can mend it."""

    check: str
    owner: str
    remedy: str


class Split(NamedTuple):
    """How many hosts of a cohort pass and fail a check."""

    passed: int
    failed: int


class DrillCounts(NamedTuple):
    """The last drills of one name."""

    drill: str
    passed: int
    """On this kernel and firmware; the four others count stale results too."""
    failed: int
    lost: int
    unknown: int
    stale: int
    """The kernel or the firmware has changed since, whatever the outcome was."""
    never: int
    """Hosts with a report and without a result of this name."""


class KdumpCounts(NamedTuple):
    """Whether a crash kernel is loaded."""

    loaded: int
    not_loaded: int
    unknown: int


class EventCounts(NamedTuple):
    """Hosts on which something happened."""

    event: str
    day: int
    week: int
    complete: bool
    """False: without those before the last boot of their host."""


class Tallies(NamedTuple):
    """The hosts of a fleet, counted."""

    paths: Mapping[Group, Mapping[str, int]]
    """Hosts with a report, by cohort and NMI path."""
    ready: Counts
    not_ready: Counts
    no_agent: int
    """Hosts from which nothing comes: the agent does not answer, or only the inventory names the host."""
    no_report: int
    """Hosts whose agent has no report, and files that hold none."""
    stale: int
    """Hosts with a report that is older than the limit."""
    broken: Mapping[Link, Counts]
    """Hosts that are not ready, or of which that is unknown, by broken link."""
    no_detector: Counts
    """Hosts without a hard-lockup detector."""
    detector_unknown: int
    hazards: Counts
    """Hosts with at least one hazard, ready or not."""
    at_risk: int
    """Hosts that are ready and have a hazard."""
    drills: Sequence[DrillCounts] | None
    """None: the source does not say."""
    kdump: KdumpCounts
    events: Sequence[EventCounts] | None
    """None: the source does not say."""
    splits: Mapping[str, Mapping[Group, Split]]
    """Checks that some hosts pass and others fail, by check."""
    absent: tuple[str, ...] = ()
    """Hosts that only the inventory names; they are among those without an agent."""
    gaps: tuple[str, ...] = ()
    """What limits the counts, as sentences."""


class HostRow(NamedTuple):
    """One host in a list."""

    name: str
    group: Group
    path: str
    ready: bool | None
    outcome: str = ""
    """Of the check that was asked for."""


class Source(Protocol):
    """Where the counts come from: a Prometheus, or files."""

    def describe(self) -> str:
        """Return what the source is, without secrets."""

    def tallies(self, inventory: Sequence[str]) -> Tallies:
        """Count the hosts, and the names in an inventory that are not among them.

        Raises SdeictlError with Status.UNKNOWN if that is impossible.
        """

    def failing_hosts(self, check: str, group: Group, *, fails: bool, limit: int) -> list[str]:
        """Return the names of some hosts of a cohort that fail a check, or that pass it, sorted."""

    def rows(self, check: str | None) -> list[HostRow]:
        """Return all hosts with a report, or those that fail a check, sorted by name."""

    def gaps(self) -> tuple[str, ...]:
        """Return what is missing from the answers so far, in sentences."""


def link_of(check: str) -> Link:
    """Return the link of a check with its usual owner; one that this version does not know has none."""
    known = next((each for each in CHECKS if each.id == check), None)
    if known is None:
        return Link(check, Owner.ADMIN, f"see `sdeictl explain {check}` of the version on the host")
    return Link(check, known.owner, known.remedy)
