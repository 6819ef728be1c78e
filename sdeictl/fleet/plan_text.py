"""A plan as text, as a list for scripts, as an inventory for Ansible, and as JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice

from sdeictl.fleet.document import Object
from sdeictl.fleet.plan import LEFT_OUT, FleetPlan, LeftOut, PlannedHost
from sdeictl.text import Line, NamedTuple, visible

FLEET_PLAN_SCHEMA = "sdeictl.fleet-plan/1"
WAVES_GROUP = "sdeictl_waves"
"""The group of the inventory that holds the waves."""
_NAMED = 3
"""How many hosts of a reason the text names."""


class PlanQuestion(NamedTuple):
    """What a plan was asked for."""

    source: str
    at: str
    by: Sequence[str]
    domain: str | None
    limit: str
    drills: Sequence[str]


def plan_document(asked: PlanQuestion, plan: FleetPlan) -> Object:
    """Return a plan as its JSON document."""
    return {
        "schema": FLEET_PLAN_SCHEMA,
        "source": asked.source,
        "generated_at": asked.at,
        "by": list(asked.by),
        "domain": asked.domain,
        "max_unavailable": asked.limit,
        "drills": list(asked.drills),
        "waves": [
            {"wave": wave.name, "hosts": [_host(asked, host) for host in wave.hosts]} for wave in plan.waves
        ],
        "domains": [domain._asdict() for domain in plan.domains],
        "left_out": [
            {"reason": reason, "text": LEFT_OUT[reason], "instances": list(instances)}
            for reason, instances in plan.left_out.items()
        ],
    }


def _host(asked: PlanQuestion, host: PlannedHost) -> Object:
    return {
        "host": host.name,
        "instance": host.instance,
        "domain": host.domain,
        "cohort": dict(zip(asked.by, host.group)),
        "needs": dict(host.needs),
    }


def render_plan(asked: PlanQuestion, plan: FleetPlan) -> Iterator[Line]:
    """Yield a plan as lines of text. They count the hosts of each wave, and those that are left out."""
    hosts = sum(len(wave.hosts) for wave in plan.waves)
    drills = ", ".join(asked.drills)
    yield ((f"{hosts:,} hosts need a drill ({drills}), in {len(plan.waves):,} waves.", "bold"),)
    yield ((f"Source: {asked.source}, {asked.at}", "dim"),)
    where = f"per {asked.domain}" if asked.domain else "in the fleet, which is one failure domain"
    yield ((f"At most {asked.limit} unavailable {where}; hosts that do not answer now count.", ""),)
    for place, wave in enumerate(plan.waves):
        if not place:
            yield ()
            yield (("Waves", "bold"),)
        needs = Counter(need for host in wave.hosts for need in set(host.needs.values()))
        why = ", ".join(f"{count:,} {need}" for need, count in sorted(needs.items()))
        yield ((f"  {wave.name:<12}", ""), (f"{len(wave.hosts):>7,} hosts  {why}", ""))
    for place, (reason, instances) in enumerate(plan.left_out.items()):
        if not place:
            yield ()
            yield (("Left out", "bold"),)
        names = ", ".join(islice(instances, _NAMED))
        more = len(instances) - _NAMED
        style = "" if reason is LeftOut.DONE else "yellow"
        yield ((f"  {len(instances):>7,}  {LEFT_OUT[reason]}", style),)
        yield ((f"           {names}{f' and {more:,} more' if more > 0 else ''}", "dim"),)


def plan_list(plan: FleetPlan) -> str:
    """Return a line for each host: the wave, the host and its drills, separated by tabs."""
    return "".join(
        f"{wave.name}\t{host.name}\t{','.join(host.needs)}\n" for wave in plan.waves for host in wave.hosts
    )


def plan_inventory(asked: PlanQuestion, plan: FleetPlan) -> str:
    """Return an inventory for Ansible in YAML. Each wave is a group; the names of the groups sort by wave."""
    lines = [
        f"# sdeictl fleet plan: {visible(asked.source)}, {asked.at}",
        "all:",
        "  children:",
        f"    {WAVES_GROUP}:",
        "      children:" if plan.waves else "      hosts: {}",
    ]
    for number, wave in enumerate(plan.waves, 1):
        lines += [
            f"        sdeictl_wave_{number:05}:",
            "          vars:",
            f"            sdeictl_wave: {_quoted(wave.name)}",
            "          hosts:",
        ]
        for host in wave.hosts:
            lines += [
                f"            {_quoted(host.name)}:",
                f"              sdeictl_domain: {_quoted(host.domain)}",
                f"              sdeictl_drills: [{', '.join(map(_quoted, host.needs))}]",
            ]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """Return a text as YAML quotes it, which does it as JSON does. What does not print is made visible first.

    Ansible would take what looks like a template for one: a label may come from a host.
    """
    return json.dumps(visible(text).replace("{", "(").replace("}", ")"), ensure_ascii=False)
