"""A plan as text, as a list for scripts, as an inventory for Ansible, and as JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby, islice

from sdeictl.fleet.document import Object
from sdeictl.fleet.plan import LEFT_OUT, NEEDS, FleetPlan, LeftOut, PlannedHost, Wave
from sdeictl.fleet.words import count_hosts
from sdeictl.text import Line, NamedTuple, visible, wrapped

FLEET_PLAN_SCHEMA = "sdeictl.fleet-plan/1"
WAVES_GROUP = "sdeictl_waves"
"""The group of the inventory that holds the waves."""
_NAMED = 3
"""How many hosts the text names in one place."""
_NEEDY = (LeftOut.BAD_NAME, LeftOut.SAME_NAME, LeftOut.NO_ROOM)
"""Who is left out for one of these needs a drill."""


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


def render_plan(asked: PlanQuestion, plan: FleetPlan, width: int = 80) -> Iterator[Line]:
    """Yield a plan as lines of text: who goes when, and who is left out and why."""
    planned = sum(len(wave.hosts) for wave in plan.waves)
    need = planned + sum(len(plan.left_out.get(reason, ())) for reason in _NEEDY)
    text = f"{count_hosts(need)} need{'s' * (need == 1)} a drill ({', '.join(asked.drills)})."
    text += f" {planned:,} of them are in {len(plan.waves):,} waves."
    yield from wrapped(text, width, style="bold")
    yield from wrapped(f"Source: {asked.source}, {asked.at}", width, style="dim")
    where = f"per {asked.domain}" if asked.domain else "in the fleet, which is one failure domain"
    text = f"At most {asked.limit} unavailable {where}. Hosts that do not answer now count"
    text += ", those of an unknown domain in each domain." if asked.domain else "."
    yield from wrapped(text, width)
    yield from _wave_lines(plan, width)
    yield from _left_out_lines(plan, width)
    if planned:
        yield ()
        yield from wrapped("--format list and --format json name every host.", width)


def _wave_lines(plan: FleetPlan, width: int) -> Iterator[Line]:
    """Yield the waves; neighbours that are alike share a line."""
    if plan.waves:
        yield ()
        yield (("Waves, one after the other", "bold"),)
    for (kind, text), waves in groupby(plan.waves, key=_wave_words):
        alike = list(waves)
        name = alike[0].name if len(alike) == 1 else f"{alike[0].name} to {alike[-1].name}"
        each = " in each" if len(alike) > 1 else ""
        names = _some([host.name for wave in alike for host in wave.hosts])
        head = ((f"  {name + ':':<22}", "" if kind == "batch" else "bold"),)
        yield from wrapped(f"{text}{each}: {names}", width, " " * 24, head=head)


def _wave_words(wave: Wave) -> tuple[str, str]:
    """Return the kind of a wave, and how many hosts of it need a drill for which reason."""
    needs = Counter(need for host in wave.hosts for need in set(host.needs.values()))
    why = ", ".join(f"{count:,} {NEEDS[need]}" for need, count in sorted(needs.items()))
    return wave.name.partition("-")[0], f"{count_hosts(len(wave.hosts))} ({why})"


def _left_out_lines(plan: FleetPlan, width: int) -> Iterator[Line]:
    for place, (reason, instances) in enumerate(plan.left_out.items()):
        if not place:
            yield ()
            yield (("Left out", "bold"),)
        style = "" if reason is LeftOut.DONE else "yellow"
        yield from wrapped(
            LEFT_OUT[reason], width, " " * 11, style, head=((f"  {len(instances):>7,}  ", style),)
        )
        yield from wrapped(_some(instances), width, " " * 11, "dim", head=((" " * 11, ""),))
        if reason is LeftOut.NO_ROOM:
            full = [each for each in plan.domains if not each.room]
            words = [
                f"{each.name or 'no domain'} has {each.unavailable} down, limit {each.limit}" for each in full
            ]
            yield from wrapped(_some(words, "; "), width, " " * 11, "dim", head=((" " * 11, ""),))


def _some(names: Sequence[str], between: str = ", ") -> str:
    """Return the first names, and how many more there are."""
    more = len(names) - _NAMED
    return between.join(islice(names, _NAMED)) + (f" and {more:,} more" if more > 0 else "")


def plan_list(plan: FleetPlan) -> str:
    """Return a line for each host: the wave, the host and its drills, separated by tabs."""
    return "".join(
        f"{wave.name}\t{host.name}\t{','.join(host.needs)}\n" for wave in plan.waves for host in wave.hosts
    )


def plan_inventory(asked: PlanQuestion, plan: FleetPlan) -> str:
    """Return an inventory for Ansible in YAML. Each wave is a group; the names of the groups sort by wave."""
    lines = [
        f"# sdeictl fleet plan: {visible(asked.source)}, {asked.at}",
        f"# drills: {', '.join(asked.drills)}",
        f"# at most {asked.limit} unavailable per {asked.domain or 'fleet'}",
        *(f"# left out: {len(names)}, {LEFT_OUT[reason]}" for reason, names in plan.left_out.items()),
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
