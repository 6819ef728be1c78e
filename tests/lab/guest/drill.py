"""Runs in a guest: `drill backtrace`, plain and masked by each provider, then a look at the CPUs.

    drill.py [ROUNDS [SECONDS]]

Leaves /lab/drills.json, /lab/cpus.json and, in /lab/drills, what the drills stored.
"""

import shutil
import sys

from observe import leave, look_at_cpus, sdeictl

COMMANDS = (
    (),
    ("--masked", "--provider", "bpf"),
    ("--masked", "--provider", "test_lockup"),
)


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    # Many rounds: every other one masked, by the provider that serves without being asked for.
    commands = [((), ("--masked",))[index % 2] for index in range(2 * rounds)] or COMMANDS
    done = [sdeictl("drill", "backtrace", "--format", "json", *arguments) for arguments in commands]
    leave("drills", done)
    leave("cpus", look_at_cpus(float(sys.argv[2]) if len(sys.argv) > 2 else 8.0))
    leave("status", sdeictl("drill", "status", "--format", "json"))
    shutil.copytree("/var/lib/sdeictl/drills", "/lab/drills", dirs_exist_ok=True)


main()
