"""What a plan must know of each host of a fleet, by queries to a Prometheus: a few series for each host."""

from __future__ import annotations

from collections.abc import Sequence

from sdeictl.errors import SdeictlError, Status
from sdeictl.fleet.plan import HostState, Result
from sdeictl.fleet.prometheus import Series
from sdeictl.fleet.prometheus_source import PATH, PrometheusSource
from sdeictl.probe.drills import outcome_of_metric


def read_states(
    source: PrometheusSource, domain: str | None, inventory: Sequence[str] = ()
) -> list[HostState]:
    """Return the state of each target, and of each name in an inventory that no target has.

    `domain` is the label that names the failure domain of a host. Raises SdeictlError with Status.UNKNOWN if
    the server gives no usable answer, or only a part of it: the rest could tell of a CPU that a drill lost.
    """
    ask = source.client.query
    more = (domain,) if domain and domain not in source.by else ()
    labels = ", ".join(("instance", PATH, *source.by, *more))
    described = ask(f"group by ({labels}) ({source.joined(f'{source.of(PATH)} == 1', labels=more)})")
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
    states = []
    for target in targets:
        name = _instance(target)
        host = hosts.get(name)
        states.append(
            HostState(
                instance=name,
                domain=_domain(domain, target, host),
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
    return states


def _domain(label: str | None, target: Series, host: Series | None) -> str:
    """Return the failure domain. The label of the target names it, or else the label of the report."""
    if label is None:
        return ""
    return target.labels.get(label, "") or (host.labels.get(label, "") if host else "")


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
