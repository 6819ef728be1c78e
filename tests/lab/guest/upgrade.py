"""Runs in a guest with systemd: the first release with all that it keeps, and the installation of this one.

Leaves /lab/upgrade.json.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from observe import counters, run, wait_for

Json = dict[str, Any]
FIRST, NEW = "/lab/first.deb", "/lab/new.deb"
RUN, WATCH = Path("/run/sdeictl"), Path("/run/sdeictl-watch")
KEPT = (Path("/var/lib/sdeictl"), Path("/etc/sdeictl"))
JOURNAL = Path("/var/lib/sdeictl/drills/journal.json")
PRINTK = Path("/proc/sys/kernel/printk")
CONFIG = "[exporter]\ntextfile_seconds = 30\n"
UNITS = ("sdeictl-agent.socket", "sdeictl-watch.service", "sdeictl-collect.timer")
MASKED = ("drill", "backtrace", "--masked")
# The programs of the package, not those that the lab shares with its guests.
os.environ.clear()
os.environ.update(PATH="/usr/sbin:/usr/bin:/sbin:/bin", LC_ALL="C.UTF-8")


def sdeictl(*arguments: str) -> Json:
    command = ("/usr/bin/sdeictl", *arguments, "--format", "json")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return {"status": done.returncode, "result": json.loads(done.stdout), "said": done.stderr}


def kept() -> dict[str, str]:
    """Return what an upgrade must keep, by its path."""
    return {str(path): path.read_text() for each in KEPT for path in each.rglob("*") if path.is_file()}


def kill_a_drill() -> None:
    """Kill a drill that has begun: its journal stays."""
    command = ("/usr/bin/sdeictl", *MASKED)
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as drill:
        wait_for("journal", JOURNAL.exists, every=0.02)
        drill.kill()


run("apt-get", "install", "--yes", "--no-install-recommends", FIRST)
wait_for("report", (RUN / "report.json").exists)
wait_for("watcher", (RUN / "watch.json").exists)
KEPT[1].mkdir(exist_ok=True)
(KEPT[1] / "config.toml").write_text(CONFIG)
before_drills = PRINTK.read_text()
first = sdeictl(*MASKED)
wait_for("count", lambda: counters(RUN)["backtrace_requests"] >= 1)
kill_a_drill()
run("systemctl", "stop", UNITS[1])  # it has written all that it counted
before, counted = kept(), counters(RUN)

run("dpkg", "--install", NEW)
wait_for("watcher", (WATCH / "watch.json").exists)
run("systemctl", "start", "sdeictl-collect.service")
seen: Json = {
    "first": first, "before": before, "counted": counted, "after": kept(), "counts": counters(WATCH),
    "active": {unit: run("systemctl", "is-active", unit).strip() for unit in UNITS},
    "status": sdeictl("drill", "status"), "resume": sdeictl("drill", "resume"),
    "printk": (before_drills, PRINTK.read_text()), "again": sdeictl(*MASKED), "end": kept(),
}  # fmt: skip
Path("/lab/upgrade.json").write_text(json.dumps(seen))
