"""What a plan must know of each host of a fleet, by queries to a Prometheus: a few series for each host."""

from __future__ import annotations

from collections.abc import Sequence

from sdeictl.errors import SdeictlError, Status
from sdeictl.fleet.plan import HostState, Result
from sdeictl.fleet.prometheus import Series
from sdeictl.fleet.prometheus_source import PATH, PrometheusSource
from sdeictl.probe.drills import outcome_of_metric

REMEMBERED = "30d"
"""So long a host that is down keeps the failure domain that its last report named."""


def read_states(
    source: PrometheusSource, domain: str | None, inventory: Sequence[str] = ()
) -> list[HostState]:
    """Return the state of each target, and of each name in an inventory that no target has.

    `domain` is the label that names the failure domain of a host. Raises SdeictlError with Status.UNKNOWN if
    the server gives no usable answer, or only a part of it: the rest could tell of a CPU that a drill lost.
    """
    ask = source.client.query
    labels = ", ".join(("instance", PATH, *source.by))
    described = ask(f"group by ({labels}) ({source.joined(f'{source.of(PATH)} == 1')})")
    targets = ask(f"max by ({', '.join(('instance', *filter(None, [domain])))}) ({source.of('up')})")
    hosts = {_instance(each): each for each in described}
    stamp = source.of("sdeictl_report_timestamp_seconds")
    stale = _instances(ask(f"time() - {stamp} > {source.stale_after:.0f}"))
    ready = {_instance(each): bool(each.value) for each in ask(source.of("sdeictl_ready"))}
    hazards = _instances(ask(f"{source.of('sdeictl_hazards')} > 0"))
    drills = source.of("sdeictl_source_up", 'source="drills"')
    unreadable = _instances(ask(f"{drills} == 0"))
    pending = _instances(ask(f"{source.of('sdeictl_drill_pending')} == 1"))
    results = _results(source)
    domains = _domains(source, domain, targets) if domain and targets else {}
    states = []
    for target in targets:
        name = _instance(target)
        host = hosts.get(name)
        states.append(
            HostState(
                instance=name,
                domain=domains.get(name, ""),
                answers=bool(target.value),
                group=tuple(host.labels.get(label, "") for label in source.by) if host else None,
                path=host.labels.get(PATH, "") if host else "",
                ready=ready.get(name),
                stale=name in stale,
                hazard=name in hazards,
                readable=name not in unreadable,
                pending=name in pending,
                results=results.get(name, {}),
            )
        )
    states += [HostState(name, "", answers=False) for name in source.not_targets(inventory)]
    if source.client.warnings:
        reasons = "; ".join(source.client.warnings)
        raise SdeictlError(f"no plan is made from a part of the data: {reasons}", Status.UNKNOWN)
    if not states:
        raise SdeictlError(f"no host found: no target matches {source.describe()}", Status.UNKNOWN)
    return states


def _domains(source: PrometheusSource, label: str, targets: Sequence[Series]) -> dict[str, str]:
    """Return the failure domain of each target that has one.

    The label of the target names it, or else the last report of the host: a host that is down has none now,
    and takes the room of its domain all the same. Raises SdeictlError with Status.USAGE if no host has one.
    """
    found = {_instance(each): each.labels[label] for each in targets if each.labels.get(label)}
    if len(found) < len(targets):
        info = f"last_over_time({source.of('sdeictl_host_info')}[{REMEMBERED}])"
        for each in source.client.query(f"group by (instance, {label}) ({info})"):
            if each.labels.get(label):
                found.setdefault(_instance(each), each.labels[label])
    if not found:
        raise source.no_such_label("host", label, source.of("up"), source.of("sdeictl_host_info"))
    return found


def _results(source: PrometheusSource) -> dict[str, dict[str, Result]]:
    """Return the last drills of each host, by name."""
    labels = "by (instance, drill)"
    # A result that is not known to be of this kernel and firmware counts as stale.
    current = {
        (_instance(each), each.labels.get("drill", ""))
        for each in source.client.query(f"max {labels} ({source.of('sdeictl_drill_stale')}) == 0")
    }
    found: dict[str, dict[str, Result]] = {}
    # Of two results under one name the worse counts.
    for each in source.client.query(f"min {labels} ({source.of('sdeictl_drill_outcome')})"):
        name, drill = _instance(each), each.labels.get("drill", "")
        found.setdefault(name, {})[drill] = Result(
            outcome_of_metric(each.value), (name, drill) not in current
        )
    return found


def _instances(series: Sequence[Series]) -> set[str]:
    return {_instance(each) for each in series}


def _instance(series: Series) -> str:
    return series.labels.get("instance", "")
