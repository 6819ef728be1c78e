#!/usr/bin/python
# Copyright: the sdeictl project
# Apache License 2.0 (see LICENSE)
"""Runs `sdeictl probe` on a host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: probe
short_description: Can this host reach a CPU that is stuck with its interrupts masked?
description:
  - Runs C(sdeictl probe) and returns its report. It changes nothing on the host.
options:
  executable:
    description: The command.
    type: str
    default: sdeictl
  deep:
    description: Also read the kernel's memory, where the log has wrapped.
    type: bool
    default: false
  require_ready:
    description: Fail unless the host is known to be ready.
    type: bool
    default: false
author:
  - The sdeictl project (@sdeictl)
attributes:
  check_mode:
    description: Runs as without check mode, because it changes nothing.
    support: full
"""

EXAMPLES = r"""
- name: Probe the host
  become: true
  sdeictl.fleet.probe:
  register: probed

- name: Show the path
  ansible.builtin.debug:
    var: probed.nmi_path
"""

RETURN = r"""
report:
  description: The report, C(sdeictl.report/1).
  type: dict
  returned: success
ready:
  description: Whether a masked CPU can be reached; null if that is unknown.
  type: bool
  returned: success
nmi_path:
  description: By which path.
  type: str
  returned: success
  sample: sdei
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sdeictl.fleet.plugins.module_utils.command import run_json


def main():
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "executable": {"type": "str", "default": "sdeictl"},
            "deep": {"type": "bool", "default": False},
            "require_ready": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    _status, report = run_json(module, ["probe", *(["--deep"] if module.params["deep"] else [])])
    verdict = report["verdict"]
    result = {"report": report, "ready": verdict["ready"], "nmi_path": verdict["nmi_path"]}
    if module.params["require_ready"] and verdict["ready"] is not True:
        module.fail_json(msg=verdict["summary"], **result)
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
