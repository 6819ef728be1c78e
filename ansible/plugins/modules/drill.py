#!/usr/bin/python
# Copyright: the sdeictl project
# Apache License 2.0 (see LICENSE)
"""Runs a drill of sdeictl on a host, or ends one that a reset interrupted."""

from __future__ import annotations

DOCUMENTATION = r"""
module: drill
short_description: Prove by a drill that a masked CPU can be reached
description:
  - Runs C(sdeictl drill). sdeictl decides on the host whether the drill may begin.
  - sdeictl puts back what it changed.
  - The module fails unless the drill passes.
options:
  name:
    description:
      - The drill and its variant. All but V(backtrace) and V(backtrace-masked) can cost the host.
      - The drills that reset the host end the connection. Wait for the host, then use O(state=ended).
    type: str
    default: backtrace-masked
    choices:
      - backtrace
      - backtrace-masked
      - lockup
      - lockup-permanent
      - stop
      - crash-wedged
      - crash-all-masked
      - crash-hardlockup-panic
  state:
    description:
      - V(done) runs the drill. See O(only_if_needed).
      - V(ended) runs C(sdeictl drill resume), which ends a drill or judges it after a reset.
        Then it returns the last result of the drill.
      - V(known) returns the last result of the drill, and whether the drill is needed. No result makes it
        fail.
    type: str
    default: done
    choices: [done, ended, known]
  only_if_needed:
    description: Do nothing if the drill has passed on the kernel and firmware that the host runs.
    type: bool
    default: true
  allow_reset:
    description: Allow a drill that can cost the host. The module then arms the host for five minutes.
    type: bool
    default: false
  cpu:
    description: The CPU to mask. By default sdeictl chooses the one with the least load.
    type: int
  accept_load:
    description: Accept what the chosen CPU runs, as the refusal names it.
    type: str
  host:
    description: The name of the host, which a drill that can cost it needs.
    type: str
  way_back:
    description: How somebody resets the host if it hangs, such as the address of its BMC.
    type: str
  evidence:
    description: The file on the host that holds, or will hold, what survives a reset.
    type: path
  executable:
    description: The command.
    type: str
    default: sdeictl
author:
  - The sdeictl project (@sdeictl)
attributes:
  check_mode:
    description: Returns the plan of C(--dry-run). Fails with every reason if sdeictl would refuse the drill.
    support: full
"""

EXAMPLES = r"""
- name: Drill the host unless it has passed already
  become: true
  sdeictl.fleet.drill:

- name: Reset the host with a masked CPU
  become: true
  sdeictl.fleet.drill:
    name: stop
    allow_reset: true
    host: "{{ inventory_hostname }}"
    way_back: "{{ bmc_address }}"
"""

RETURN = r"""
needed:
  description: Whether the drill had to run.
  type: bool
  returned: always
outcome:
  description: How the drill ended.
  type: str
  returned: when it has a result
  sample: pass
result:
  description: The result, C(sdeictl.drill/1).
  type: dict
  returned: when it has a result
plan:
  description: The plan, or the reasons to refuse, C(sdeictl.plan/1).
  type: dict
  returned: in check mode
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sdeictl.fleet.plugins.module_utils.command import run_json

# The words after `sdeictl drill`, by name.
COMMANDS = {
    "backtrace": ["backtrace"],
    "backtrace-masked": ["backtrace", "--masked"],
    "lockup": ["lockup"],
    "lockup-permanent": ["lockup", "--permanent"],
    "stop": ["stop"],
    "crash-wedged": ["crash", "--variant", "wedged"],
    "crash-all-masked": ["crash", "--variant", "all-masked"],
    "crash-hardlockup-panic": ["crash", "--variant", "hardlockup-panic"],
}
HARMLESS = ("backtrace", "backtrace-masked")
OPTIONS = ("cpu", "accept_load", "host", "way_back", "evidence")


def last_result(module, name):
    """Return the last result of a drill; None if there is none."""
    _status, document = run_json(module, ["drill", "status"])
    for result in document["results"]:
        if "-".join(filter(None, (result["drill"], result["variant"]))) == name:
            return result
    return None


def end_with(module, result, **more):
    """End the module with a result: a failure unless the drill passed."""
    passed = result["outcome"] == "pass"
    found = {"outcome": result["outcome"], "result": result, **more}
    if passed:
        module.exit_json(**found)
    reasons = "; ".join(result["reasons"]) or "no reason is given"
    module.fail_json(msg=f"the drill ended as {result['outcome']}: {reasons}", **found)


def run_drill(module, name):
    """Run a drill, or plan it in check mode."""
    if not module.check_mode and name not in HARMLESS:
        status, _output, errors = module.run_command(
            [module.params["executable"], "drill", "arm", "--for", "5m"]
        )
        if status:
            module.fail_json(msg=f"the host cannot be armed: {errors.strip()}", needed=True)
    arguments = ["drill", *COMMANDS[name]]
    for option in OPTIONS:
        if module.params[option] is not None:
            arguments += [f"--{option.replace('_', '-')}", str(module.params[option])]
    if module.check_mode:
        arguments.append("--dry-run")
    _status, document = run_json(module, arguments)
    if module.check_mode:
        reasons = "; ".join(reason["text"] for reason in document["reasons"])
        if reasons:
            module.fail_json(msg=f"sdeictl would refuse the drill: {reasons}", plan=document, needed=True)
        module.exit_json(changed=True, plan=document, needed=True)
    end_with(module, document, changed=document["outcome"] != "refused", needed=True)


def main():
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "default": "backtrace-masked", "choices": list(COMMANDS)},
            "state": {"type": "str", "default": "done", "choices": ["done", "ended", "known"]},
            "only_if_needed": {"type": "bool", "default": True},
            "allow_reset": {"type": "bool", "default": False},
            "cpu": {"type": "int"},
            "accept_load": {"type": "str"},
            "host": {"type": "str"},
            "way_back": {"type": "str"},
            "evidence": {"type": "path"},
            "executable": {"type": "str", "default": "sdeictl"},
        },
        supports_check_mode=True,
    )
    name = module.params["name"]
    if name not in HARMLESS and not module.params["allow_reset"]:
        module.fail_json(msg=f"the drill {name} can cost the host: set allow_reset", needed=True)
    if module.params["state"] == "ended":
        if not module.check_mode:
            evidence = module.params["evidence"]
            run_json(module, ["drill", "resume", *(["--evidence", evidence] if evidence else [])])
        result = last_result(module, name)
        if result is None:
            module.fail_json(msg=f"the drill {name} has no result", needed=True)
        end_with(module, result, changed=not module.check_mode, needed=True)
    result = last_result(module, name)
    passed = bool(result) and result["outcome"] == "pass" and not result["stale"]
    if module.params["state"] == "known":
        found = {"outcome": result["outcome"], "result": result} if result else {}
        module.exit_json(changed=False, needed=not passed, **found)
    if passed and module.params["only_if_needed"]:
        end_with(module, result, changed=False, needed=False)
    run_drill(module, name)


if __name__ == "__main__":
    main()
