"""Runs in a guest whose systemd feeds a hardware watchdog: drills beside it, each refused or survived.

    watchdog.py ROUNDS

Leaves /lab/watchdog.json. If the watchdog bites, the guest is reset, and nothing is left.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from observe import leave, look_at_cpus, sdeictl

CLASS = Path("/sys/class/watchdog/watchdog0")
SETTLE_SECONDS = 60.0


def read(name: str) -> str:
    return (CLASS / name).read_text().strip()


def drill(*arguments: str) -> dict[str, Any]:
    done: dict[str, Any] = sdeictl("drill", *arguments, "--format", "json")
    return done


def main() -> None:
    rounds = int(sys.argv[1])
    deadline = time.monotonic() + SETTLE_SECONDS
    while read("state") != "active" and time.monotonic() < deadline:
        time.sleep(0.5)
    story: dict[str, Any] = {"found": {name: read(name) for name in ("identity", "state", "timeout")}}
    timeout = int(read("timeout"))
    longest = 0.4 * timeout
    story["plan"] = drill("backtrace", "--masked", "--dry-run")
    story["too long"] = drill("backtrace", "--masked", "--seconds", f"{longest + 0.2:g}")
    sdeictl("drill", "arm", "--for", "30m")
    story["lockup"] = drill("lockup", "--host", "lab", "--dry-run")
    story["crash"] = drill("crash", "--host", "lab", "--way-back", "a switch", "--dry-run")
    story["stop"] = drill("stop", "--host", "lab", "--dry-run")
    story["survived"] = [drill("backtrace", "--masked", "--seconds", f"{longest:g}") for _ in range(rounds)]
    story["cpus"] = look_at_cpus(8.0)
    story["after"] = read("state")
    leave("watchdog", story)


main()
