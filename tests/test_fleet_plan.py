"""A plan keeps its limits, has a reason for each host that it leaves out, and is always the same."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdeictl.fleet.plan import FleetPlan, HostState, LeftOut, Limit, Need, Result, make_plan, parse_limit
from sdeictl.fleet.plan_text import PlanQuestion, plan_document, plan_inventory, plan_list, render_plan
from sdeictl.klog.words import NmiPath
from sdeictl.probe.drills import DrillOutcome
from sdeictl.text import to_plain
from tests.conftest import validate
from tests.support.planted_fleet import make_fleet, states_of
from tests.test_analysis_properties import EXAMPLES

MASKED = "backtrace-masked"
READY = HostState("h1:10113", "r1", answers=True, group=("7.3", "fw", "X"), path=NmiPath.SDEI, ready=True)
QUESTION = PlanQuestion("http://x {}", "2026-01-01T00:00:00+00:00", ("kernel", "firmware", "product"),
                        "rack", "1", (MASKED,))  # fmt: skip
PASSED = Result(DrillOutcome.PASS, stale=False)

results = st.builds(
    Result, st.sampled_from([each for each in DrillOutcome if each != "refused"]), st.booleans()
)
host_states = st.builds(
    HostState,
    instance=st.integers(0, 10**6).map("h{}:10113".format),
    domain=st.sampled_from(["", "r1", "r2", "r3"]),
    answers=st.sampled_from([True, True, True, False]),
    group=st.none() | st.tuples(st.sampled_from("ab"), st.sampled_from("xyz")),
    path=st.sampled_from(list(NmiPath)),
    ready=st.sampled_from([True, True, True, False, None]),
    stale=st.sampled_from([False, False, True]),
    hazard=st.sampled_from([False, False, True]),
    pending=st.sampled_from([False, False, True]),
    readable=st.sampled_from([True, True, False]),
    results=st.dictionaries(st.sampled_from([MASKED, "stop"]), results),
)
fleets = st.lists(host_states, max_size=60, unique_by=lambda state: state.instance)
limits = st.builds(Limit, st.integers(1, 5), st.just(False)) | st.builds(
    Limit, st.integers(1, 100), st.just(True)
)


def check_limits(states: Sequence[HostState], plan: FleetPlan, limit: Limit) -> None:
    """Assert that in no wave more hosts of a domain are unavailable than the limit says."""
    total = Counter(state.domain for state in states)
    silent = Counter(state.domain for state in states if not state.answers)
    for wave in plan.waves:
        for domain, drilled in Counter(host.domain for host in wave.hosts).items():
            most = total[domain] * limit.number / 100 if limit.percent else limit.number
            anywhere = silent[""] if domain else 0
            assert drilled + silent[domain] + anywhere <= most, wave.name


def check_whole(states: Sequence[HostState], plan: FleetPlan) -> None:
    """Assert that each host is in exactly one wave or left out."""
    planned = [host.instance for wave in plan.waves for host in wave.hosts]
    left = [name for names in plan.left_out.values() for name in names]
    assert sorted(planned + left) == sorted(state.instance for state in states)


def check_canaries(plan: FleetPlan) -> None:
    """Assert that each cohort has one canary, in a wave before all batches."""
    kinds = [wave.name.split("-")[0] for wave in plan.waves]
    assert kinds == sorted(kinds, reverse=True)  # canary, then batch
    canaries = Counter(host.group for wave in plan.waves if wave.name[0] == "c" for host in wave.hosts)
    assert set(canaries.values()) <= {1}
    assert canaries.keys() == {host.group for wave in plan.waves for host in wave.hosts}


@given(fleets, limits, st.randoms(use_true_random=False))
@settings(max_examples=EXAMPLES)
def test_any_fleet(states: list[HostState], limit: Limit, shuffle: random.Random) -> None:
    drills = (MASKED, "stop")
    plan = make_plan(states, drills, limit)
    check_limits(states, plan, limit)
    check_whole(states, plan)
    check_canaries(plan)
    known = {state.instance: state for state in states}
    for wave in plan.waves:
        for host in wave.hosts:
            state = known[host.instance]
            assert state.answers
            assert state.ready
            assert not any((state.hazard, state.stale, state.pending))
            assert DrillOutcome.LOST not in {each.outcome for each in state.results.values()}
            for drill in drills:
                assert (drill in host.needs) == (state.results.get(drill) != PASSED)
    shuffle.shuffle(states)
    assert make_plan(states, drills, limit) == plan
    validate("fleet-plan-1", json.loads(json.dumps(plan_document(QUESTION._replace(by=("a", "b")), plan))))


@pytest.mark.parametrize("limit", ["1", "3", "5%", "100%"])
def test_planted_fleet_of_10000(limit: str) -> None:
    states = states_of(make_fleet(10_000))
    plan = make_plan(states, [MASKED], parse_limit(limit))
    check_limits(states, plan, parse_limit(limit))
    check_whole(states, plan)
    check_canaries(plan)
    assert make_plan(list(reversed(states)), [MASKED], parse_limit(limit)) == plan
    needs = Counter(need for wave in plan.waves for host in wave.hosts for need in host.needs.values())
    assert set(needs) == {Need.STALE}  # of the cohort by pseudo-NMI; the others pass, fail or are not ready
    assert plan.left_out[LeftOut.DONE]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"answers": False}, LeftOut.NO_AGENT),
        ({"group": None}, LeftOut.NO_REPORT),
        ({"stale": True}, LeftOut.STALE_REPORT),
        ({"path": NmiPath.NOT_APPLICABLE, "ready": None}, LeftOut.NOT_APPLICABLE),
        ({"ready": None}, LeftOut.UNKNOWN),
        ({"ready": False}, LeftOut.NOT_READY),
        ({"readable": False}, LeftOut.UNREADABLE),
        ({"results": {"stop": Result(DrillOutcome.LOST, stale=True)}}, LeftOut.LOST),
        ({"pending": True}, LeftOut.PENDING),
        ({"hazard": True}, LeftOut.HAZARD),
        ({"results": {MASKED: PASSED}}, LeftOut.DONE),
        ({"instance": "h[1:99]:10113"}, LeftOut.BAD_NAME),
        ({"instance": "-oProxyCommand=x:1"}, LeftOut.BAD_NAME),
        ({"instance": "h2 ansible_host=h3"}, LeftOut.BAD_NAME),
        ({"instance": "{{ x }}"}, LeftOut.BAD_NAME),
    ],
)
def test_each_reason_to_leave_a_host_out(change: dict[str, Any], reason: LeftOut) -> None:
    state = READY._replace(**change)
    plan = make_plan([state], [MASKED], Limit(5, percent=False))
    assert dict(plan.left_out) == {reason: [state.instance]}
    assert not plan.waves


def test_several_targets_of_one_host() -> None:
    plan = make_plan([READY, READY._replace(instance="h1:9100")], [MASKED], Limit(5, percent=False))
    assert list(plan.left_out) == [LeftOut.SAME_NAME]


def test_hosts_that_are_down_take_the_room() -> None:
    down = READY._replace(instance="h2:10113", answers=False)
    assert list(make_plan([READY, down], [MASKED], Limit(1, percent=False)).left_out) == [
        LeftOut.NO_AGENT, LeftOut.NO_ROOM
    ]  # fmt: skip
    assert len(make_plan([READY, down], [MASKED], Limit(2, percent=False)).waves) == 1


def test_host_of_an_unknown_domain_may_be_anywhere() -> None:
    down = READY._replace(instance="h2:10113", domain="", answers=False)
    plan = make_plan([READY, down], [MASKED], Limit(1, percent=False))
    assert list(plan.left_out) == [LeftOut.NO_AGENT, LeftOut.NO_ROOM]
    text = " ".join(to_plain(render_plan(QUESTION, plan)).split())
    assert "1 host needs a drill (backtrace-masked). 0 of them are in 0 waves." in text
    assert "r1 has 1 down, limit 1" in text
    assert len(make_plan([READY, down], [MASKED], Limit(2, percent=False)).waves) == 1


def test_waves_that_are_alike_share_a_line() -> None:
    states = [READY._replace(instance=f"h{number}:1") for number in range(5)]
    text = to_plain(render_plan(QUESTION, make_plan(states, [MASKED], Limit(1, percent=False))))
    assert "canary-1:             1 host (1 never drilled): h0\n" in text
    assert "batch-1 to batch-4:   1 host (1 never drilled) in each: h1, h2, h3 and 1 more\n" in text


def test_canaries_of_one_domain_take_turns() -> None:
    cohorts = [READY._replace(instance=f"h{n}:1", group=(str(n),)) for n in range(3)]
    plan = make_plan(cohorts, [MASKED], Limit(1, percent=False))
    assert [wave.name for wave in plan.waves] == ["canary-1", "canary-2", "canary-3"]


@pytest.mark.parametrize("text", ["0", "-1", "101%", "1.5", "", "%", "\u0661", "5 %", "1" * 12])
def test_limits_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="neither a number of hosts from 1 on"):
        parse_limit(text)


def test_formats_agree() -> None:
    states = states_of(make_fleet(500))
    plan = make_plan(states, [MASKED], Limit(2, percent=False))
    rows = [row.split("\t") for row in plan_list(plan).splitlines()]
    assert rows == [[wave.name, host.name, MASKED] for wave in plan.waves for host in wave.hosts]
    inventory = plan_inventory(QUESTION, plan)
    names = [line.strip(' ":') for line in inventory.splitlines() if line.startswith(" " * 12 + '"')]
    assert names == [row[1] for row in rows]
    text = to_plain(render_plan(QUESTION, plan))
    room = len(plan.left_out.get(LeftOut.NO_ROOM, ()))
    assert f"{len(rows) + room:,} hosts need a drill" in text
    assert f" {len(rows):,} of them are in {len(plan.waves):,} waves." in " ".join(text.split())
    assert plan.waves[0].name in text
    assert plan.waves[-1].name in text
    assert max(map(len, text.splitlines())) <= 80


def test_labels_of_hosts_are_no_templates() -> None:
    state = READY._replace(domain='{{ lookup("pipe", "id") }}\n{% x %}\x7f\u2028"')
    plan = make_plan([state], [MASKED], Limit(1, percent=False))
    (line,) = (line for line in plan_inventory(QUESTION, plan).splitlines() if "sdeictl_domain" in line)
    assert "{" not in line
    assert line.isprintable()
