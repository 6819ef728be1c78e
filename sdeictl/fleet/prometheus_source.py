"""Counts the hosts of a fleet by queries to a Prometheus: for aggregates, and for the names of few hosts."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import repeat

from sdeictl.errors import SdeictlError, Status, did_you_mean
from sdeictl.fleet.prometheus import Client, Series
from sdeictl.fleet.tallies import (
    BY,
    DETECTOR,
    DRILLS,
    LINKS,
    NEVER_OUTLIERS,
    Counts,
    DrillCounts,
    EventCounts,
    Group,
    HostRow,
    KdumpCounts,
    Split,
    Tallies,
    link_of,
)
from sdeictl.probe.checks.table import CHECKS
from sdeictl.probe.drills import DRILL_OUTCOMES, DrillOutcome
from sdeictl.probe.words import Outcome
from sdeictl.text import NamedTuple

_THREADS = 4
"""Queries at a time: a server has a limit of its own, 20 by default, and other users."""
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*", re.ASCII)
_EVENTS = {"hard lockup": "sdeictl_hard_lockups", "silent CPU": "sdeictl_backtrace_timeouts"}
"""What is counted, by its counter without `_total`."""
_LEFT_TOO_LITTLE = ("sdeictl_last_crash_culprit_reached", "sdeictl_last_crash_culprit_in_dump")
PATH = "sdeictl_nmi_path"
"""The metric, and its label."""
NO_DOMAINS = frozenset({"instance", "job"})
"""Labels that divide a fleet into single hosts, or not at all."""


def check_labels(labels: Sequence[str]) -> None:
    """Raise ValueError if a text is not the name of a label."""
    for label in labels:
        if not _LABEL.fullmatch(label):
            raise ValueError(f"{label!r} is not the name of a label")


class PrometheusSource:
    """A fleet in a Prometheus. Its hosts are the targets of the job, identified by `instance`."""

    def __init__(self, client: Client, match: str, by: Sequence[str], stale_after: float) -> None:
        """`match` has label matchers as in a selector, without braces; `stale_after` is in seconds."""
        self.client = client
        self._match = match
        self.by = tuple(by)
        self.stale_after = stale_after

    def describe(self) -> str:
        """Return the address of the server and the selector."""
        return f"{self.client.place} {{{self._match}}}"

    def check_by(self) -> None:
        """Raise SdeictlError with Status.USAGE if no report of the fleet has a label of the cohorts.

        All reports have the default labels.
        """
        info = self.of("sdeictl_host_info")
        for label in (each for each in self.by if each not in BY):
            found = self.client.query(f"group by ({label}) ({info})")
            if found and not any(each.labels.get(label) for each in found):
                raise self.no_such_label("report", label, info)

    def no_such_label(self, who: str, label: str, *vectors: str) -> SdeictlError:
        """Return the error for a label that no host or report has. It offers the labels of some vectors."""
        known = {name for vector in vectors for each in self.client.query(vector) for name in each.labels}
        usable = sorted(name for name in known if not name.startswith("__") and name not in NO_DOMAINS)
        hint = did_you_mean(label, usable) or f"the labels are {', '.join(usable)}"
        return SdeictlError(f"no {who} has the label {label}; {hint}", Status.USAGE)

    def tallies(self, inventory: Sequence[str] = ()) -> Tallies:
        """Count the hosts; names in the inventory that no target has count as hosts without an agent."""
        with ThreadPoolExecutor(_THREADS) as pool:
            begun = self._begin(pool)
            drills, kdump = pool.submit(self._drills), pool.submit(self._kdump)
            events, absent = pool.submit(self._events), pool.submit(self.not_targets, inventory)
            # Which checks fail decides what else to ask.
            failing = sorted(self._failing_checks())
            links = [check for check in LINKS if check in failing]
            broken = pool.map(self._by_cohort, map(self._broken, links))
            others = [check for check in failing if check not in NEVER_OUTLIERS]
            paths = begun.paths.result()
            sizes = {group: sum(counts.values()) for group, counts in paths.items()}
            splits = pool.map(self._split, others, repeat(sizes))
            reported = begun.reported.result()
            loaded, not_loaded = kdump.result()
            return Tallies(
                paths=paths,
                ready=begun.ready.result(),
                not_ready=begun.not_ready.result(),
                no_agent=begun.silent.result() + len(absent.result()),
                no_report=begun.no_report.result(),
                stale=begun.stale.result(),
                broken={link_of(check): counts for check, counts in zip(links, broken) if counts},
                no_detector=begun.no_detector.result(),
                detector_unknown=begun.detector_unknown.result(),
                hazards=begun.hazards.result(),
                at_risk=begun.at_risk.result(),
                drills=_drill_counts(*drills.result(), hosts=reported),
                kdump=KdumpCounts(loaded, not_loaded, reported - loaded - not_loaded),
                events=events.result(),
                splits={check: split for check, split in zip(others, splits) if split},
                absent=absent.result(),
                gaps=self.gaps(),
            )

    def _begin(self, pool: ThreadPoolExecutor) -> _Begun:
        """Begin the queries that need no other answer."""
        up, path, ready = self.of("up"), f"{self.of(PATH)} == 1", self.of("sdeictl_ready")
        detector, stamp = self._check(DETECTOR), self.of("sdeictl_report_timestamp_seconds")
        hazards = f"{self.of('sdeictl_hazards')} > 0"
        return _Begun(
            silent=pool.submit(self._count, f"{up} == 0"),
            no_report=pool.submit(self._count, f"{up} == 1 unless on (instance) {stamp}"),
            reported=pool.submit(self._count, path),
            paths=pool.submit(self._paths, path),
            ready=pool.submit(self._by_cohort, f"{ready} == 1"),
            not_ready=pool.submit(self._by_cohort, f"{ready} == 0"),
            stale=pool.submit(self._count, f"time() - {stamp} > {self.stale_after:.0f}"),
            hazards=pool.submit(self._by_cohort, hazards),
            at_risk=pool.submit(self._count, f"{hazards} and on (instance) {ready} == 1"),
            no_detector=pool.submit(self._by_cohort, f"{detector} == 0"),
            detector_unknown=pool.submit(self._count, f"{detector} == -1"),
        )

    def of(self, metric: str, *matchers: str) -> str:
        """Return a selector of a metric of the fleet."""
        return f"{metric}{{{','.join(filter(None, (self._match, *matchers)))}}}"

    def _check(self, check: str) -> str:
        return self.of("sdeictl_check_outcome", f"check={_quoted(check)}")

    def _broken(self, check: str) -> str:
        """Return a query for the hosts that fail a check of the chain and are not known to be ready."""
        return f"{self._check(check)} == 0 unless on (instance) {self.of('sdeictl_ready')} == 1"

    def joined(self, vector: str, *matchers: str, labels: Sequence[str] = ()) -> str:
        """Return a query that adds the labels of their cohorts to a vector of hosts; the values become 1."""
        info = self.of("sdeictl_host_info", *matchers)
        added = ", ".join((*self.by, *labels))
        return f"(({vector}) * 0 + 1) * on (instance) group_left ({added}) {info}"

    def _count(self, vector: str) -> int:
        return int(self.client.value(f"count({vector})") or 0)

    def _by_cohort(self, vector: str) -> Counts:
        """Return how many hosts of each cohort are in a vector."""
        found = self.client.query(f"count by ({', '.join(self.by)}) ({self.joined(vector)})")
        return {self._group(each): int(each.value) for each in found}

    def _group(self, series: Series) -> Group:
        return tuple(series.labels.get(label, "") for label in self.by)

    def _paths(self, vector: str) -> Mapping[Group, Mapping[str, int]]:
        labels = ", ".join((*self.by, PATH))
        paths: dict[Group, dict[str, int]] = {}
        for each in self.client.query(f"count by ({labels}) ({self.joined(vector)})"):
            paths.setdefault(self._group(each), {})[each.labels.get(PATH, "")] = int(each.value)
        return paths

    def _failing_checks(self) -> frozenset[str]:
        """Return the checks that some host fails; from the recording rule if it is there and complete."""
        rule = (
            self.client.query(self.of("job_check:sdeictl_check_outcome_fail:sum"))
            if self._has_rules()
            else []
        )
        if {each.labels.get("check") for each in rule} >= {check.id for check in CHECKS}:
            return frozenset(each.labels["check"] for each in rule if each.value)
        found = self.client.query(f"count by (check) ({self.of('sdeictl_check_outcome')} == 0)")
        return frozenset(each.labels.get("check", "") for each in found)

    def _has_rules(self) -> bool:
        """Tell whether the recording rules can serve: they have the label job, and no other of a selector."""
        return re.fullmatch(r'\s*job\s*=~?\s*"[^"]*"\s*', self._match) is not None

    def _split(self, check: str, sizes: Counts) -> Mapping[Group, Split]:
        """Return the cohorts of which some hosts pass a check and others fail it."""
        failed = self._by_cohort(f"{self._check(check)} == 0")
        if all(failed[group] >= sizes.get(group, 0) for group in failed):
            return {}
        passed = self._by_cohort(f"{self._check(check)} == 1")
        return {group: Split(passed[group], failed[group]) for group in failed if group in passed}

    def failing_hosts(self, check: str, group: Group, *, fails: bool, limit: int) -> list[str]:
        """Return the names of some hosts of a cohort that fail a check, or that pass it, sorted."""
        matchers = (f"{label}={_quoted(value)}" for label, value in zip(self.by, group))
        vector = f"{self._check(check)} == {0 if fails else 1}"
        found = self.client.query(f"topk({limit}, {self.joined(vector, *matchers)})")
        return sorted(each.labels.get("instance", "") for each in found)

    def gaps(self) -> tuple[str, ...]:
        """Return the warnings of the server."""
        return tuple(self.client.warnings)

    def rows(self, check: str | None) -> list[HostRow]:
        """Return all hosts with a report, or those that fail a check, sorted by name."""
        ready = {
            each.labels.get("instance"): bool(each.value)
            for each in self.client.query(self.of("sdeictl_ready"))
        }
        chosen = f"{self.of(PATH)} == 1"
        if check is not None:
            chosen = f"{chosen} and on (instance) {self._check(check)} == 0"
        labels = ", ".join(("instance", PATH, *self.by))
        found = self.client.query(f"group by ({labels}) ({self.joined(chosen)})")
        outcome = "" if check is None else Outcome.FAIL
        return sorted(
            HostRow(name, self._group(each), each.labels.get(PATH, ""), ready.get(name), outcome)
            for each in found
            if (name := each.labels.get("instance", ""))
        )

    def newly_unready(self, seconds: float, limit: int) -> tuple[int, list[str]]:
        """Return how many hosts are not ready and were so some seconds ago, and the names of some of them."""
        ready = self.of("sdeictl_ready")
        vector = f"{ready} == 0 and on (instance) {ready} offset {round(seconds)}s == 1"
        found = self.client.query(f"topk({limit}, {vector})")
        return self._count(vector), sorted(each.labels.get("instance", "") for each in found)

    def _drills(self) -> tuple[list[Series], list[Series], list[Series]]:
        """Return by drill: the results by outcome, those that are stale, and those that passed and count."""
        outcome, stale = self.of("sdeictl_drill_outcome"), self.of("sdeictl_drill_stale")
        return (
            self.client.query(f'count_values by (drill) ("outcome", {outcome})'),
            self.client.query(f"count by (drill) ({stale} == 1)"),
            self.client.query(f"count by (drill) ({outcome} == 1 and on (instance, drill) {stale} == 0)"),
        )

    def _kdump(self) -> tuple[int, int]:
        loaded = self.of("sdeictl_kdump_loaded")
        return self._count(f"{loaded} == 1"), self._count(f"{loaded} == 0")

    def _events(self) -> list[EventCounts]:
        recorded = {days: self._is_recorded(days) for days in (1, 7)}
        return [
            EventCounts(
                event,
                day=self._count(self._happened(metric, 1, recorded=recorded[1])),
                week=self._count(self._happened(metric, 7, recorded=recorded[7])),
                complete=all(recorded.values()),
            )
            for event, metric in _EVENTS.items()
        ] + [self._crashes("crash"), self._crashes("crash that left too little", *_LEFT_TOO_LITTLE)]

    def _crashes(self, event: str, *lost: str) -> EventCounts:
        """Count the hosts by their last crash; with `lost` only those on which one of these metrics is 0."""
        which = " or ".join(f"{self.of(metric)} == 0" for metric in lost)
        only = f" and on (instance) ({which})" if lost else ""

        def within(days: int) -> int:
            age = f"time() - {self.of('sdeictl_last_crash_timestamp_seconds')}"
            return self._count(f"({age} < {days * 86400}{only})")

        return EventCounts(event, day=within(1), week=within(7), complete=True)

    def _is_recorded(self, days: int) -> bool:
        """Tell whether the recording rules of events have been evaluated in each hour of some days."""
        looks = f"count_over_time({self.of('job:sdeictl_hard_lockups:count15m')}[{days}d:1h])"
        return self._has_rules() and (self.client.value(f"min({looks})") or 0) >= 24 * days

    def _happened(self, metric: str, days: int, *, recorded: bool) -> str:
        """Return a query for the hosts on which something happened within some days.

        A week of all samples of a counter is more than a server reads in good time. Without the rules, two
        looks at it must do: it starts at 0 when its host boots, so that they show what happened since.
        """
        if recorded:
            found = f"last_over_time({self.of(f'instance:{metric}:increase15m')}[{days}d])"
            return f"group by (instance) ({found})"
        counter = self.of(f"{metric}_total")
        return f"{counter} > 0 unless {counter} == {counter} offset {days}d"

    def not_targets(self, inventory: Sequence[str]) -> tuple[str, ...]:
        """Return the names in an inventory that no target has, with or without its port."""
        if not inventory:
            return ()
        targets = {
            each.labels.get("instance", "")
            for each in self.client.query(f"group by (instance) ({self.of('up')})")
        }
        known = targets | {target.rpartition(":")[0] for target in targets}
        return tuple(sorted({name for name in inventory if name not in known}))


class _Begun(NamedTuple):
    """The queries that need no other answer."""

    silent: Future[int]
    no_report: Future[int]
    reported: Future[int]
    paths: Future[Mapping[Group, Mapping[str, int]]]
    ready: Future[Counts]
    not_ready: Future[Counts]
    stale: Future[int]
    hazards: Future[Counts]
    at_risk: Future[int]
    no_detector: Future[Counts]
    detector_unknown: Future[int]


def _quoted(text: str) -> str:
    """Return a text as PromQL quotes it, which does it as JSON does."""
    return json.dumps(text, ensure_ascii=False)


def _drill_counts(
    results: Sequence[Series], stale: Sequence[Series], standing: Sequence[Series], *, hosts: int
) -> list[DrillCounts]:
    """Return the results of each drill, in the order of their names."""
    words = {
        f"{look.metric:g}": outcome for outcome, look in DRILL_OUTCOMES.items() if look.metric is not None
    }
    counts: dict[str, Counter[DrillOutcome]] = {drill: Counter() for drill in DRILLS}
    for each in results:
        outcome = words.get(each.labels.get("outcome", ""), DrillOutcome.UNKNOWN)
        counts.setdefault(each.labels.get("drill", ""), Counter())[outcome] += int(each.value)
    old, good = (
        {each.labels.get("drill", ""): int(each.value) for each in series} for series in (stale, standing)
    )
    return [
        DrillCounts(
            drill, good.get(drill, 0), found[DrillOutcome.FAIL], found[DrillOutcome.LOST],
            found[DrillOutcome.UNKNOWN], old.get(drill, 0), max(hosts - sum(found.values()), 0),
        )
        for drill, found in sorted(counts.items())
    ]  # fmt: skip
