"""A report on a fleet of any size, made without a host: everything that a report can say is in it."""

from __future__ import annotations

from sdeictl.fleet.report import (
    BrokenLink,
    Cohort,
    Coverage,
    FleetReport,
    Outlier,
    Spread,
)
from sdeictl.fleet.tallies import DrillCounts, EventCounts, Group, KdumpCounts, Link, link_of
from sdeictl.probe.checks.table import CHAIN

EVENTS = ("hard lockup", "backtrace that timed out")


def made_report(hosts: int, cohorts: int, name: str = "") -> FleetReport:
    """Return a report in which every list is as long as it gets; `name` is part of each name of a host's.

    Of each cohort a quarter is not ready. Each link of the chain is broken on these.
    """
    size = hosts // cohorts
    groups: list[Group] = [
        (f"6.{place}.0-100.el10.aarch64+64k{name}", f"vendor-{place}.{name}", f"Server {place} {name}")
        for place in range(cohorts)
    ]
    broken = size // 4
    spread = Spread(broken * cohorts, tuple((group, broken) for group in groups))
    return FleetReport(
        source=f"http://prometheus:9090 {{job=\"sdeictl\"}}{name}",
        generated_at="2026-11-27T08:00:00+00:00",
        by=("kernel", "firmware", "product"),
        coverage=Coverage(
            total=size * cohorts + 137, ready=(size - broken) * cohorts - 11, not_ready=broken * cohorts,
            unknown=11, not_applicable=0, no_agent=130, no_report=7, stale=29, at_risk=13,
        ),
        paths=(("sdei", (size - broken) * cohorts), (f"none{name}", broken * cohorts)),
        cohorts=tuple(
            Cohort(group, size, size - broken, broken, (("sdei", size - broken), ("none", broken)))
            for group in groups
        ),
        broken=tuple(
            BrokenLink(_named(link_of(each.id), name), place % 9 == 8, spread)
            for place, each in enumerate(CHAIN)
        ),
        no_detector=spread._replace(hosts=1234),
        detector_unknown=17,
        hazards=spread._replace(hosts=23),
        drills=(
            DrillCounts(f"backtrace-masked{name}", 8191, 41, 3, 19, 53, 1693),
            DrillCounts("stop", 61, 2, 0, 1, 5, 9931),
        ),
        kdump=KdumpCounts(8081, 1889, 31),
        events=tuple(EventCounts(event, place + 71, place + 83, False) for place, event in enumerate(EVENTS)),
        outliers=tuple(
            Outlier("kdump-loaded", "fail", group, 3 + place, 97, (f"host-{place}{name}", "other", "third"))
            for place, group in enumerate(groups[:20])
        ),
        absent=tuple(f"host-{place}.example{name}" for place in range(130)),
        gaps=tuple(f"store {place} is gone{name}" for place in range(120)),
    )  # fmt: skip


def _named(link: Link, name: str) -> Link:
    return link._replace(owner=f"{link.owner}{name}", remedy=f"{link.remedy}{name}")
