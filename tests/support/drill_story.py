"""What a drill must find on each machine, on a stored result and on a fresh one."""

import re
from collections.abc import Mapping
from typing import Any

from tests.lab.machines import MACHINES
from tests.support.wedge_story import is_reached, masked_by_registers

MODULE_REFUSED = re.compile(r"stock-|lockdown$")
"""The machines whose kernel has no test_lockup, or does not load it."""


def check_drill(name: str, status: int, result: Mapping[str, Any]) -> None:
    """Assert that a drill's result is what the machine is known to do."""
    if MODULE_REFUSED.search(name) and "test_lockup" in str(result["reasons"]):
        assert (status, result["outcome"]) == (3, "refused")
        return
    reached = is_reached(MACHINES[name])
    assert result["path"] == MACHINES[name].nmi_path, result
    assert (status, result["outcome"]) == ((0, "pass") if reached else (1, "fail")), result
    assert (result["lost_cpus"], result["records_lost"]) == ([], 0)
    assert [cpu["cpu"] for cpu in result["cpus"]] == list(range(MACHINES[name].cpus))
    assert sum(cpu["state"] == "self" for cpu in result["cpus"]) == 1
    assert {cpu["state"] for cpu in result["cpus"]} <= {"self", "idle", "backtrace"}
    if result["variant"] != "masked":
        assert result["window"] is result["target"] is None
        return
    assert result["window"]["opened"]
    assert result["window"]["closed"]
    assert result["target"]["in_window"] is reached
    if reached:
        assert result["target"]["state"] == "backtrace"
        assert result["target"]["masked"] is masked_by_registers(MACHINES[name])
