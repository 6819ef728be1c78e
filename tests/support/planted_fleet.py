"""A made fleet with a known truth, as samples for `promtool tsdb create-blocks-from openmetrics`.

The hosts are of a few cohorts. Each cohort has its own fault; single hosts differ from their cohort.
"""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

from sdeictl.fleet.plan import HostState, Result
from sdeictl.klog.words import NmiPath
from sdeictl.probe.checks.table import CHAIN, CHECKS
from sdeictl.probe.document import CrashDocument, HostDocument, ReportDocument
from sdeictl.probe.drills import DrillOutcome

SEED = 20
HOUR, DAY = 3600, 86400
WEEK = 8 * DAY
"""How far the counters reach back."""
OUTCOMES = {"pass": 1, "fail": 0, "unknown": -1, "not-applicable": -2}


class Cohort(NamedTuple):
    """What the hosts of a cohort have in common."""

    kernel: str
    firmware: str
    product: str
    path: str
    share: int
    """Its part of the fleet, in percent."""
    failing: tuple[str, ...] = ()
    hazard: bool = False
    drills: tuple[tuple[str, str, bool], ...] = (("backtrace-masked", "pass", False),)
    """(name, outcome, stale) of each last drill."""
    kdump: bool | None = True


COHORTS = (
    Cohort("7.3.4", "grace-2.1", "GB200 NVL", "sdei", 40),
    Cohort(
        "6.12.90", "grace-2.1", "GB200 NVL", "none", 18,
        ("sdei-nmi-built", "sdei-nmi-registered", "pseudo-nmi-requested", "pseudo-nmi-enabled"), drills=(),
    ),
    Cohort(
        "7.3.4", "ampere-1.8", "Mt. Collins", "none", 12,
        ("sdei-advertised", "sdei-nmi-registered", "pseudo-nmi-requested", "pseudo-nmi-enabled",
         "hard-lockup-detector"), drills=(("backtrace-masked", "fail", False),), kdump=False,
    ),
    Cohort("6.18.20", "ampere-1.8", "Mt. Collins", "pseudo-nmi", 20,
           drills=(("backtrace-masked", "pass", True),)),
    Cohort("7.3.4", 'lab "quoted" \\ 1', "Grün é\u4e2d", "sdei", 5, ("idle-keeps-sdei",), hazard=True),
    Cohort("5.10.200", "old-1", "Kunpeng", "unknown", 5, hazard=True, drills=(), kdump=None),
)  # fmt: skip

UPDATED = Cohort("7.3.3", "ampere-1.8", "Mt. Collins", "sdei", 0)
"""What some hosts of the third cohort were a day before."""


class Host(NamedTuple):
    """One host and its truth."""

    name: str
    cohort: Cohort
    rack: str
    up: bool = True
    reported: bool = True
    age: float = 600.0
    """Of its report, in seconds."""
    failing: tuple[str, ...] = ()
    """Besides those of the cohort: what makes it an outlier."""
    lockups: tuple[float, ...] = ()
    """When it had hard lockups, in seconds before now."""
    booted: float = WEEK
    """When it booted, in seconds before now."""
    crashed: float | None = None
    """When it crashed last, in seconds before now."""
    lost: bool = False
    """Its crash left too little of the CPU that was stuck."""

    @property
    def ready(self) -> bool | None:
        """What the verdict says."""
        if self.cohort.path == "unknown":
            return None
        return self.cohort.path != "none"

    def fails(self) -> set[str]:
        """Return the checks that it fails."""
        return {*self.cohort.failing, *self.failing}

    def counted(self, ago: float) -> int:
        """Return its counter of hard lockups at a time, in seconds before now. Each boot resets it."""
        boot = self.booted if ago <= self.booted else WEEK
        return sum(ago <= lockup <= boot for lockup in self.lockups)


def make_fleet(hosts: int, seed: int = SEED) -> list[Host]:
    """Return the hosts of a fleet."""
    made = random.Random(seed)
    fleet: list[Host] = []
    for cohort in COHORTS:
        for number in range(hosts * cohort.share // 100):
            name = f"h{len(fleet):05}.example:10113"
            host = Host(name, cohort, f"r{len(fleet) // 40:03}", age=made.uniform(60, 3 * HOUR))
            fleet.append(_damaged(host, number, made))
    return fleet


def _damaged(host: Host, number: int, made: random.Random) -> Host:
    """Return a host with a fault of its own: 1 of 50 is down, without a report or stale, and so on."""
    turn = number % 250
    if turn in (7, 107):
        return host._replace(up=False)
    if turn in (17, 117):
        return host._replace(reported=False)
    if turn in (27, 127, 227):
        return host._replace(age=made.uniform(30 * HOUR, 90 * HOUR))
    if turn == 37 and host.cohort.share >= 18:
        return host._replace(failing=("kdump-makedumpfile",))
    if turn == 47:
        return host._replace(lockups=(5 * HOUR,))
    if turn == 57:
        return host._replace(lockups=(3 * DAY,))
    if turn == 67:
        return host._replace(lockups=(2 * DAY,), booted=2 * DAY - 2 * HOUR, crashed=2 * DAY, lost=True)
    if turn == 77:
        return host._replace(crashed=3 * HOUR, lost=number % 500 == 77)
    return host


def earlier(fleet: list[Host]) -> list[Host]:
    """Return the fleet of a day before: some hosts that are not ready now were ready then."""
    return [
        host._replace(cohort=UPDATED) if host.cohort == COHORTS[2] and place % 10 == 0 else host
        for place, host in enumerate(fleet)
    ]


def openmetrics(fleet: list[Host], now: int, *, step: int = HOUR) -> Iterator[str]:
    """Yield the samples of a fleet as lines of OpenMetrics.

    Gauges have a sample at `now` and one a day before, for the fleet of then; counters have one each `step`
    of 8 days. `now` is a whole hour in seconds since 1970, because a subquery looks at whole hours.
    """
    samples: dict[str, list[str]] = {}
    for at, hosts in ((now - DAY, earlier(fleet)), (now, fleet)):
        for host in hosts:
            labels = f'job="sdeictl",instance="{host.name}",rack="{host.rack}"'
            for name, more, value in _series(host, at):
                samples.setdefault(name, []).append(f"{name}{{{labels}{more}}} {value} {at}\n")
    for name, lines in samples.items():
        yield f"# TYPE {name} {'info' if name.endswith('_info') else 'gauge'}\n".replace(
            "_info info", " info"
        )
        yield from lines
    for name, of in (("sdeictl_hard_lockups", True), ("sdeictl_backtrace_timeouts", False)):
        yield f"# TYPE {name} counter\n"
        for host in fleet:
            if host.up:
                labels = f'job="sdeictl",instance="{host.name}",rack="{host.rack}"'
                for at in range(now - WEEK, now + 1, step):
                    yield f"{name}_total{{{labels}}} {host.counted(now - at) if of else 0} {at}\n"
    yield from _recorded(fleet, now)
    yield "# EOF\n"


def _recorded(fleet: list[Host], now: int) -> Iterator[str]:
    """Yield what the recording rules of events have recorded for a week."""
    yield "# TYPE instance:sdeictl_hard_lockups:increase15m gauge\n"
    for host in fleet:
        labels = f'job="sdeictl",instance="{host.name}",rack="{host.rack}"'
        for ago in host.lockups if host.up else ():
            for minute in range(15):
                at = now - round(ago) + 60 * minute
                yield f"instance:sdeictl_hard_lockups:increase15m{{{labels}}} 1 {at}\n"
    yield "# TYPE job:sdeictl_hard_lockups:count15m gauge\n"
    for at in range(now - WEEK, now + 1, HOUR):
        yield f'job:sdeictl_hard_lockups:count15m{{job="sdeictl"}} 0 {at}\n'


def _series(host: Host, now: int) -> Iterator[tuple[str, str, float]]:
    """Yield name, labels with a comma before each, and value of the gauges of a host."""
    yield "up", "", int(host.up)
    if not host.up:
        return
    yield "sdeictl_source_up", ',source="report"', int(host.reported)
    for source in ("bench", "drills", "watch"):
        yield "sdeictl_source_up", f',source="{source}"', 1
    yield "sdeictl_agent_timestamp_seconds", "", now
    yield "sdeictl_watch_timestamp_seconds", "", now
    for drill, outcome, stale in host.cohort.drills:
        value = {"pass": 1, "fail": 0, "unknown": -1, "lost": -2}[outcome]
        yield "sdeictl_drill_outcome", f',drill="{drill}"', value
        yield "sdeictl_drill_timestamp_seconds", f',drill="{drill}"', now - DAY
        if host.reported:
            yield "sdeictl_drill_stale", f',drill="{drill}"', int(stale)
    if host.crashed is not None:
        yield "sdeictl_last_crash_timestamp_seconds", "", now - host.crashed
        yield "sdeictl_last_crash_culprit_reached", "", int(not host.lost)
    if host.reported:
        yield from _report_series(host, now)


def _report_series(host: Host, now: int) -> Iterator[tuple[str, str, float]]:
    cohort = host.cohort
    for path in NmiPath:
        yield "sdeictl_nmi_path", f',sdeictl_nmi_path="{path}"', int(path == cohort.path)
    if host.ready is not None:
        yield "sdeictl_ready", "", int(host.ready)
    yield "sdeictl_missing_links", "", len(cohort.failing) if not host.ready else 0
    yield "sdeictl_hazards", "", int(cohort.hazard)
    for check in CHECKS:
        yield "sdeictl_check_outcome", f',check="{check.id}"', 0 if check.id in host.fails() else 1
    for kind in ("absent", "broken", "denied"):
        yield "sdeictl_gaps", f',kind="{kind}"', 0
    texts = (("kernel", cohort.kernel), ("firmware", cohort.firmware), ("product", cohort.product))
    labels = "".join(f',{name}="{_escaped(text)}"' for name, text in texts)
    yield "sdeictl_host_info", f'{labels},gic="GICv3",tables="acpi",midr="0x410fd4f0"', 1
    yield "sdeictl_build_info", ',version="0.1.0"', 1
    yield "sdeictl_cpus_online", "", 144
    if cohort.kdump is not None:
        yield "sdeictl_kdump_loaded", "", int(cohort.kdump)
        yield "sdeictl_kdump_reserved_bytes", "", 512 << 20
    yield "sdeictl_report_timestamp_seconds", "", round(now - host.age, 3)
    for number in range(29):  # as many series as an agent with results of all kinds has
        yield f"sdeictl_filler_{number}", "", number


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def report_document(host: Host, now: int, model: ReportDocument) -> ReportDocument:
    """Return the report of a host: a real report in which the planted facts stand."""
    cohort = host.cohort
    described: HostDocument = {
        **model["host"], "kernel": cohort.kernel, "firmware": cohort.firmware, "model": cohort.product
    }  # fmt: skip
    crash: CrashDocument = {**model["verdict"]["consumers"]["crash"], "kdump_loaded": cohort.kdump}
    outcome = {check.id: "fail" if check.id in host.fails() else "pass" for check in CHECKS}
    return {
        **model,
        "generated_at": datetime.fromtimestamp(now - host.age, timezone.utc).isoformat(),
        "host": described,
        "verdict": {
            **model["verdict"],
            "nmi_path": cohort.path,
            "ready": host.ready,
            "hazards": ["an idle state masks SDEI"] if cohort.hazard else [],
            "consumers": {**model["verdict"]["consumers"], "crash": crash},
        },
        "findings": [{**finding, "outcome": outcome[finding["id"]]} for finding in model["findings"]],
    }  # fmt: skip


def write_reports(fleet: list[Host], directory: Path, model: ReportDocument) -> None:
    """Write the report of each host that is up into a file; the file of one without a report is cut short."""
    now = int(time.time())
    for host in fleet:
        if host.up:
            text = json.dumps(report_document(host, now, model))
            cut = len(text) if host.reported else 40
            (directory / f"{host.name.partition(':')[0]}.json").write_text(text[:cut])


def states_of(fleet: list[Host]) -> list[HostState]:
    """Return what a plan must know of each host."""
    states = []
    for host in fleet:
        cohort, seen = host.cohort, host.up and host.reported
        states.append(
            HostState(
                instance=host.name,
                domain=host.rack,
                answers=host.up,
                group=(cohort.kernel, cohort.firmware, cohort.product) if seen else None,
                path=cohort.path if seen else "",
                ready=host.ready if seen else None,
                stale=seen and host.age > DAY,
                hazard=seen and cohort.hazard,
                results={
                    name: Result(DrillOutcome(outcome), stale or not seen)
                    for name, outcome, stale in (cohort.drills if host.up else ())
                },
            )
        )
    return states


Truth = dict[str, Any]


def truth(fleet: list[Host], *, with_server: bool, recorded: bool = True) -> Truth:
    """Return what `sdeictl.fleet/1` must say: counted host by host. Files know neither drills nor events.

    Without recorded events, what happened before the last boot is not known.
    """
    seen = [host for host in fleet if host.up and host.reported]
    answering = [host for host in fleet if host.up]
    no_agent, no_report = len(fleet) - len(answering), len(answering) - len(seen)
    ready, not_ready = ([h for h in seen if h.ready is value] for value in (True, False))
    links = {check.id for check in CHAIN if check.path}
    broken = Counter((check, h.cohort) for h in seen if not h.ready for check in h.fails() & links)
    return {
        "hosts": {
            "total": len(fleet), "ready": len(ready), "not_ready": len(not_ready),
            "unknown": len(seen) - len(ready) - len(not_ready), "not_applicable": 0, "no_agent": no_agent,
            "no_report": no_report, "no_data": no_agent + no_report, "stale": sum(h.age > DAY for h in seen),
            "at_risk": sum(h.cohort.hazard for h in ready),
        },
        "paths": dict(Counter(h.cohort.path for h in seen)),
        "cohorts": {
            cohort: {
                "hosts": hosts,
                "ready": sum(h.cohort == cohort for h in ready),
                "not_ready": sum(h.cohort == cohort for h in not_ready),
            }
            for cohort, hosts in Counter(h.cohort for h in seen).items()
        },
        "broken_links": dict(broken),
        "no_hard_lockup_detector": sum("hard-lockup-detector" in h.fails() for h in seen),
        "hazards": sum(h.cohort.hazard for h in seen),
        "drills": _drill_truth(answering, len(seen)) if with_server else None,
        "kdump": {
            word: sum(h.cohort.kdump is value for h in seen)
            for word, value in (("loaded", True), ("not_loaded", False), ("unknown", None))
        },
        "events": {
            days: sum(
                any(ago < days * DAY and (recorded or ago <= h.booted) for ago in h.lockups)
                for h in answering
            )
            for days in (1, 7)
        } | {"complete": recorded, "crashes": [_crash_truth(answering, lost) for lost in (False, True)]}
        if with_server else None,
        "outliers": {
            (check, cohort): sorted(h.name for h in seen if h.cohort == cohort and check in h.failing)
            for cohort in {h.cohort for h in seen}
            for check in {check for h in seen if h.cohort == cohort for check in h.failing}
        },
    }  # fmt: skip


def _crash_truth(answering: list[Host], lost: bool) -> list[int]:
    """Return how many hosts crashed within a day and within a week."""
    crashed = [h.crashed for h in answering if h.crashed is not None and (h.lost or not lost)]
    return [sum(ago < days * DAY for ago in crashed) for days in (1, 7)]


def _drill_truth(answering: list[Host], reports: int) -> dict[str, int]:
    results = [(h, outcome, stale) for h in answering for _name, outcome, stale in h.cohort.drills]
    counts = Counter(outcome for _host, outcome, _stale in results)
    return {
        "passed": sum(outcome == "pass" and not stale and h.reported for h, outcome, stale in results),
        "failed": counts["fail"], "lost": counts["lost"], "unknown": counts["unknown"],
        "stale": sum(stale and h.reported for h, _outcome, stale in results),
        "never": max(reports - len(results), 0),
    }  # fmt: skip


def said(document: Truth) -> Truth:
    """Return what a document says, in the shape of truth()."""
    cohorts = {(c.kernel, c.firmware, c.product): c for c in COHORTS}

    def cohort_of(entry: Truth) -> Cohort:
        return cohorts[entry["kernel"], entry["firmware"], entry["product"]]

    drills, events = document["drills"], document["events"]
    return {
        **{key: document[key] for key in ("hosts", "paths", "kdump")},
        "cohorts": {
            cohort_of(each): {word: each[word] for word in ("hosts", "ready", "not_ready")}
            for each in document["cohorts"]
        },
        "broken_links": {
            (link["check"], cohort_of(each)): each["hosts"]
            for link in document["broken_links"] for each in link["cohorts"]
        },
        "no_hard_lockup_detector": document["no_hard_lockup_detector"]["hosts"],
        "hazards": document["hazards"]["hosts"],
        "drills": drills and {word: count for word, count in drills[0].items() if word != "drill"},
        "events": events and {
            1: events[0]["day"], 7: events[0]["week"], "complete": events[0]["complete"],
            "crashes": [[each["day"], each["week"]] for each in events[2:]],
        },
        "outliers": {
            (each["check"], cohort_of(each)): each["names"] if each["hosts"] <= 3 else each["hosts"]
            for each in document["outliers"]
        },
    }  # fmt: skip


def expect(document: Truth, fleet: list[Host], *, with_server: bool, recorded: bool = True) -> None:
    """Compare a document with the truth, the names of outliers as far as it shows them."""
    expected, found = truth(fleet, with_server=with_server, recorded=recorded), said(document)
    outliers = expected.pop("outliers")
    named = found.pop("outliers")
    assert found == expected
    assert named.keys() == outliers.keys()
    for key, names in named.items():
        strip = [name.partition(":")[0] if not with_server else name for name in outliers[key]]
        assert names == (len(strip) if isinstance(names, int) else strip)
