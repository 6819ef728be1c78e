"""Runs in a guest: `drill backtrace`, plain and masked by each provider, then a look at the CPUs.

    drill.py [ROUNDS [SECONDS]]

Leaves /lab/drills.json, /lab/cpus.json and, in /lab/drills, what the drills stored.
"""

from __future__ import annotations

import shutil
import sys
from typing import Any

from observe import leave, look_at_cpus, sdeictl

COMMANDS = (
    (),
    ("--masked", "--provider", "bpf"),
    ("--masked", "--provider", "test_lockup"),
)


ATTEMPTS = 3
COULD_NOT_TELL = 3


def drill(arguments: tuple[str, ...]) -> dict[str, Any]:
    """Run a drill; again if the masked time was over before the request was sent.

    A busy machine can hold up its guest for longer than a drill masks a CPU. The drill then says that
    it could not tell, which is right, and no finding about the guest.
    """
    for _ in range(ATTEMPTS):
        done: dict[str, Any] = sdeictl("drill", "backtrace", "--format", "json", *arguments)
        window = done["result"]["window"]
        if done["status"] != COULD_NOT_TELL or not (window and window["opened"]) or window["held"]:
            break
    return done


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    # Many rounds: masked, by the provider that serves without being asked for.
    commands = [(), *[("--masked",)] * rounds] if rounds else COMMANDS
    leave("drills", [drill(arguments) for arguments in commands])
    leave("cpus", look_at_cpus(float(sys.argv[2]) if len(sys.argv) > 2 else 8.0))
    leave("status", sdeictl("drill", "status", "--format", "json"))
    shutil.copytree("/var/lib/sdeictl/drills", "/lab/drills", dirs_exist_ok=True)


main()
