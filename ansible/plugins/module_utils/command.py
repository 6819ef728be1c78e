# Copyright: the sdeictl project
# Apache License 2.0 (see LICENSE)
"""Runs sdeictl on a host and reads its JSON."""

from __future__ import annotations

import json

FAILED, UNKNOWN, REFUSED = 1, 3, 4
"""Exit statuses of sdeictl; 0 is good."""
ENDED = (0, FAILED, UNKNOWN, REFUSED)


def run_json(module, arguments):
    """Run a command of sdeictl with --format json.

    Return its exit status and its document; end the module with a failure if it prints none.
    """
    command = [module.params["executable"], *arguments, "--format", "json"]
    status, output, errors = module.run_command(command)
    if status not in ENDED:
        module.fail_json(msg=f"{' '.join(command)} ended with status {status}: {errors.strip()}", rc=status)
    try:
        document = json.loads(output)
    except ValueError:
        said = errors.strip() or "it printed no JSON"
        module.fail_json(msg=f"{' '.join(command)} ended with status {status}: {said}", rc=status)
    return status, document
