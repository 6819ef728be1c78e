"""Who needs a drill, and in which wave: one host of each cohort first, then batches within limits. No I/O."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

from sdeictl.fleet.tallies import Group
from sdeictl.klog.words import NmiPath
from sdeictl.probe.drills import DrillOutcome
from sdeictl.text import NamedTuple, Word

_HOST_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,252}", re.ASCII)
"""What Ansible and ssh(1) take for one host: no pattern, no option, no range."""
_PORT = re.compile(r":\d{1,5}$", re.ASCII)
_LIMIT = re.compile(r"(\d{1,9})(%?)", re.ASCII)


class Need(Word):
    """Why a host needs a drill."""

    NEVER = "never"
    FAILED = "failed"
    UNKNOWN = "unknown"
    STALE = "stale"
    """The kernel or the firmware has changed since."""


NEEDS = {
    Need.NEVER: "never drilled",
    Need.FAILED: "failed",
    Need.UNKNOWN: "ended unknown",
    Need.STALE: "outdated",
}
"""The needs in words."""


class LeftOut(Word):
    """Why a plan leaves a host out: the first of these that holds."""

    NO_AGENT = "no-agent"
    NO_REPORT = "no-report"
    STALE_REPORT = "stale-report"
    NOT_APPLICABLE = "not-applicable"
    UNKNOWN = "unknown"
    NOT_READY = "not-ready"
    UNREADABLE = "unreadable"
    LOST = "lost"
    PENDING = "pending"
    HAZARD = "hazard"
    DONE = "done"
    BAD_NAME = "bad-name"
    SAME_NAME = "same-name"
    NO_ROOM = "no-room"


LEFT_OUT = {
    LeftOut.NO_AGENT: "no agent answers",
    LeftOut.NO_REPORT: "no report",
    LeftOut.STALE_REPORT: "the report is stale",
    LeftOut.NOT_APPLICABLE: "not an arm64 host",
    LeftOut.UNKNOWN: "it is unknown whether a path works",
    LeftOut.NOT_READY: "no path works, so that the drill would fail",
    LeftOut.UNREADABLE: "the results of its drills cannot be read",
    LeftOut.LOST: "a drill lost a CPU: find the cause, and reset the host",
    LeftOut.PENDING: "a drill has not ended: see `sdeictl drill status` on the host",
    LeftOut.HAZARD: "a hazard: see `sdeictl probe` on the host",
    LeftOut.DONE: "nothing to do: the drills passed on this kernel and firmware",
    LeftOut.BAD_NAME: "its name is not one that ssh(1) takes",
    LeftOut.SAME_NAME: "several targets have the name of this host",
    LeftOut.NO_ROOM: "the limit of its failure domain leaves no room",
}
"""The reasons as sentences."""


class Result(NamedTuple):
    """The last drill of one name on a host."""

    outcome: DrillOutcome
    stale: bool


class HostState(NamedTuple):
    """What is known of one host."""

    instance: str
    domain: str
    """Its failure domain; "" if it has none."""
    answers: bool
    """Its agent does."""
    group: Group | None = None
    """None: it has no report."""
    path: str = NmiPath.UNKNOWN
    ready: bool | None = None
    stale: bool = False
    """Its report is too old."""
    hazard: bool = False
    readable: bool = True
    """The results of its drills are."""
    pending: bool = False
    """A drill has begun and not ended."""
    results: Mapping[str, Result] = {}
    """By name of the drill."""

    @property
    def name(self) -> str:
        """Return the name of the host: the instance without its port."""
        return _PORT.sub("", self.instance)


class Limit(NamedTuple):
    """How many hosts of a failure domain may be unavailable at once."""

    number: int
    percent: bool

    def of(self, hosts: int) -> int:
        """Return how many of so many hosts: a percentage is rounded down."""
        return hosts * self.number // 100 if self.percent else self.number


class PlannedHost(NamedTuple):
    """A host in a wave."""

    instance: str
    name: str
    group: Group
    domain: str
    needs: Mapping[str, Need]
    """By name of the drill."""


class Wave(NamedTuple):
    """Hosts that may be drilled at the same time."""

    name: str
    hosts: Sequence[PlannedHost]


class Domain(NamedTuple):
    """A failure domain."""

    name: str
    hosts: int
    unavailable: int
    """Hosts whose agent does not answer now, and that are in this domain or in an unknown one. They count
    against the limit."""
    limit: int

    @property
    def room(self) -> int:
        """Return how many hosts may be drilled at once."""
        return max(self.limit - self.unavailable, 0)


class FleetPlan(NamedTuple):
    """The waves of a plan, and the hosts that are in none of them."""

    waves: Sequence[Wave]
    domains: Sequence[Domain]
    left_out: Mapping[LeftOut, Sequence[str]]
    """Instances by reason, sorted."""


def parse_limit(text: str) -> Limit:
    """Read `N` or `N%`; raise ValueError."""
    match = _LIMIT.fullmatch(text)
    if not match or int(match[1]) < 1 or (match[2] and int(match[1]) > 100):
        raise ValueError(
            f"{text!r} is neither a number of hosts from 1 on nor a whole percentage, 1% to 100%"
        )
    return Limit(int(match[1]), bool(match[2]))


def make_plan(states: Iterable[HostState], drills: Sequence[str], limit: Limit) -> FleetPlan:
    """Return a plan. It depends on nothing else, so that the same fleet gives the same waves."""
    states = sorted(states, key=lambda state: (state.instance, state.domain))
    domains = _domains(states, limit)
    room = {domain.name: domain.room for domain in domains}
    names = Counter(state.name for state in states)
    left_out: dict[LeftOut, list[str]] = {}
    hosts = []
    for state in states:
        needs = _needs(state, drills)
        reasons = (
            *_obstacles(state),
            (LeftOut.DONE, not needs),
            (LeftOut.BAD_NAME, not _HOST_NAME.fullmatch(state.name)),
            (LeftOut.SAME_NAME, names[state.name] > 1),
            (LeftOut.NO_ROOM, not room[state.domain]),
        )
        reason = next((reason for reason, holds in reasons if holds), None)
        if reason is None:
            hosts.append(PlannedHost(state.instance, state.name, state.group or (), state.domain, needs))
        else:
            left_out.setdefault(reason, []).append(state.instance)
    ordered = {reason: left_out[reason] for reason in LeftOut if reason in left_out}
    return FleetPlan(_waves(hosts, room), domains, ordered)


def _domains(states: Sequence[HostState], limit: Limit) -> list[Domain]:
    hosts = Counter(state.domain for state in states)
    silent = Counter(state.domain for state in states if not state.answers)
    # A host of an unknown domain may be in any of them.
    anywhere = silent.pop("", 0)
    return [
        Domain(name, hosts[name], silent[name] + anywhere, limit.of(hosts[name])) for name in sorted(hosts)
    ]


def _obstacles(state: HostState) -> tuple[tuple[LeftOut, bool], ...]:
    """Return what forbids any drill on a host, and whether it holds."""
    return (
        (LeftOut.NO_AGENT, not state.answers),
        (LeftOut.NO_REPORT, state.group is None),
        (LeftOut.STALE_REPORT, state.stale),
        (LeftOut.NOT_APPLICABLE, state.path == NmiPath.NOT_APPLICABLE),
        (LeftOut.UNKNOWN, state.ready is None),
        (LeftOut.NOT_READY, not state.ready),
        (LeftOut.UNREADABLE, not state.readable),
        (LeftOut.LOST, any(result.outcome is DrillOutcome.LOST for result in state.results.values())),
        (LeftOut.PENDING, state.pending),
        (LeftOut.HAZARD, state.hazard),
    )


def _needs(state: HostState, drills: Sequence[str]) -> dict[str, Need]:
    found = {}
    for drill in drills:
        need = _need(state.results.get(drill))
        if need is not None:
            found[drill] = need
    return found


def _need(result: Result | None) -> Need | None:
    if result is None:
        return Need.NEVER
    if result.stale:
        return Need.STALE
    return {DrillOutcome.PASS: None, DrillOutcome.FAIL: Need.FAILED}.get(result.outcome, Need.UNKNOWN)


def _waves(hosts: Sequence[PlannedHost], room: Mapping[str, int]) -> list[Wave]:
    """Return the canaries, and then batches of all other hosts."""
    canaries: list[Sequence[PlannedHost]] = []
    untried = {host.group for host in hosts}
    while untried:
        wave = _one_of_each(hosts, untried, room)
        untried -= {host.group for host in wave}
        canaries.append(wave)
    chosen = {host.instance for wave in canaries for host in wave}
    batches = _batches([host for host in hosts if host.instance not in chosen], room)
    return [
        Wave(f"{kind}-{number}", wave)
        for kind, waves in (("canary", canaries), ("batch", batches))
        for number, wave in enumerate(waves, 1)
    ]


def _one_of_each(
    hosts: Sequence[PlannedHost], groups: Collection[Group], room: Mapping[str, int]
) -> list[PlannedHost]:
    """Return one host of each cohort. A cohort whose domains are full waits for the next wave."""
    wave: dict[Group, PlannedHost] = {}
    used: Counter[str] = Counter()
    for host in hosts:
        if host.group in groups and host.group not in wave and used[host.domain] < room[host.domain]:
            wave[host.group] = host
            used[host.domain] += 1
    return list(wave.values())


def _batches(hosts: Sequence[PlannedHost], room: Mapping[str, int]) -> list[list[PlannedHost]]:
    """Return batches, each with as many hosts of a domain as it has room for."""
    batches: list[list[PlannedHost]] = []
    placed: Counter[str] = Counter()
    for host in hosts:
        number = placed[host.domain] // room[host.domain]
        placed[host.domain] += 1
        if number == len(batches):
            batches.append([])
        batches[number].append(host)
    return batches
