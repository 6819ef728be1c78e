#!/usr/bin/python
# Copyright: the sdeictl project
# Apache License 2.0 (see LICENSE)
"""Runs `sdeictl bench run` on a host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: bench
short_description: Time system calls on a host
description:
  - Runs C(sdeictl bench run) and returns its result. As root, sdeictl also stores the result on the host.
options:
  calls:
    description: The system calls to time; getppid if there is none.
    type: list
    elements: str
    default: []
  seconds:
    description: How long to time each call.
    type: int
  executable:
    description: The command.
    type: str
    default: sdeictl
author:
  - The sdeictl project (@sdeictl)
attributes:
  check_mode:
    description: Nothing is timed.
    support: full
"""

EXAMPLES = r"""
- name: Time two calls
  become: true
  sdeictl.fleet.bench:
    calls: [getppid, read]
    seconds: 10
"""

RETURN = r"""
result:
  description: The result, C(sdeictl.bench/1).
  type: dict
  returned: success, not in check mode
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sdeictl.fleet.plugins.module_utils.command import run_json


def main():
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "calls": {"type": "list", "elements": "str", "default": []},
            "seconds": {"type": "int"},
            "executable": {"type": "str", "default": "sdeictl"},
        },
        supports_check_mode=True,
    )
    arguments = ["bench", "run"]
    if module.params["seconds"] is not None:
        arguments += ["--seconds", str(module.params["seconds"])]
    arguments += module.params["calls"]
    if module.check_mode:
        module.exit_json(changed=False, msg=f"not run: {' '.join(arguments)}")
    status, document = run_json(module, arguments)
    if status:
        module.fail_json(msg=f"nothing was timed, status {status}", rc=status)
    module.exit_json(changed=True, result=document)


if __name__ == "__main__":
    main()
