"""`sdeictl.fleet/1`: a report on a fleet as JSON. schemas/fleet-1.json has its shape."""

from __future__ import annotations

from collections.abc import Sequence

from sdeictl.fleet.report import BrokenLink, Cohort, FleetReport, Outlier, Spread
from sdeictl.fleet.tallies import Group, HostRow

FLEET_SCHEMA = "sdeictl.fleet/1"
HOSTS_SCHEMA = "sdeictl.fleet-hosts/1"

# A cohort has the labels of --by beside the keys of the schema, so that its keys are not known here.
Object = dict[str, object]


def fleet_document(report: FleetReport) -> Object:
    """Return a report as its JSON document."""
    hosts = report.coverage
    return {
        "schema": FLEET_SCHEMA,
        "source": report.source,
        "generated_at": report.generated_at,
        "by": list(report.by),
        "hosts": {**hosts._asdict(), "no_data": hosts.no_data},
        "paths": dict(report.paths),
        "cohorts": [_cohort(report, cohort) for cohort in report.cohorts],
        "broken_links": [_link(report, link) for link in report.broken],
        "no_hard_lockup_detector": {
            **_spread(report, report.no_detector),
            "unknown": report.detector_unknown,
        },
        "hazards": _spread(report, report.hazards),
        "drills": None if report.drills is None else [each._asdict() for each in report.drills],
        "kdump": report.kdump._asdict(),
        "events": None if report.events is None else [each._asdict() for each in report.events],
        "outliers": [_outlier(report, each) for each in report.outliers],
        "absent": list(report.absent),
        "gaps": list(report.gaps),
    }


def host_document(rows: Sequence[HostRow], by: Sequence[str]) -> Object:
    """Return a list of hosts as its JSON document."""
    hosts = [{"host": r.name, **_labels(by, r.group), "nmi_path": r.path, "ready": r.ready} for r in rows]
    return {"schema": HOSTS_SCHEMA, "hosts": hosts}


def _labels(by: Sequence[str], group: Group) -> Object:
    return dict(zip(by, group))


def _cohort(report: FleetReport, cohort: Cohort) -> Object:
    counts = {"hosts": cohort.hosts, "ready": cohort.ready, "not_ready": cohort.not_ready}
    return {**_labels(report.by, cohort.group), **counts, "paths": dict(cohort.paths)}


def _spread(report: FleetReport, spread: Spread) -> Object:
    cohorts = [{**_labels(report.by, group), "hosts": hosts} for group, hosts in spread.cohorts]
    return {"hosts": spread.hosts, "cohorts": cohorts}


def _link(report: FleetReport, broken: BrokenLink) -> Object:
    link = broken.link
    return {
        "check": link.check,
        "owner": link.owner,
        "remedy": link.remedy,
        "follows": broken.follows,
        **_spread(report, broken.spread),
    }


def _outlier(report: FleetReport, outlier: Outlier) -> Object:
    return {
        **_labels(report.by, outlier.group),
        "check": outlier.check,
        "outcome": outlier.outcome,
        "hosts": outlier.hosts,
        "cohort_hosts": outlier.cohort_hosts,
        "names": list(outlier.names),
    }
