"""Runs in a guest with systemd and kdump-tools, in each boot anew: one end of a boot after the other.

    crashes.py END...        lockup, panic, reset, clean, or cut (then the other side cuts the power)

Goes on where the last boot was left. Leaves /lab/crashes.json: what it did to each boot, written before it
does it; and in the last boot /lab/postmortem.json, what `sdeictl postmortem` says of them, and
/lab/sdeictl.prom, what the agent exports.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from wedge import VICTIM, wedge_victim

PROGRESS = Path("/var/lib/crashes.json")
METRICS = Path("/run/metrics/sdeictl.prom")
KDUMP = """\
USE_KDUMP=1
KDUMP_KERNEL=/boot/crash-kernel
KDUMP_INITRD=
KDUMP_KEXEC_ARGS=-s
KDUMP_COREDIR=/var/crash
"""
SETTLE_SECONDS = 2.0
RECORDS = 5
LONG_SECONDS = 600.0


def prepare_kdump() -> None:
    """Load a crash kernel as kdump-tools does; the first boot installs the kernel."""
    kernel = Path("/boot/crash-kernel")
    if not kernel.exists():
        kernel.write_bytes(Path("/lab/Image").read_bytes())
        Path("/etc/default/kdump-tools").write_text(KDUMP)
        if os.sysconf("SC_PAGESIZE") == 4096:
            # It cannot read this kernel, and kdump-tools would leave an empty dump. Without it, it copies.
            Path("/usr/bin/makedumpfile").unlink()
        os.sync()
    subprocess.run(["systemctl", "restart", "kdump-tools.service"], check=True)
    assert Path("/sys/kernel/kexec_crash_loaded").read_text() == "1\n"
    Path("/proc/sys/kernel/panic").write_text("5")


def store(boots: list[dict[str, Any]]) -> None:
    new = PROGRESS.with_suffix(".new")
    new.write_text(json.dumps(boots, indent=1))
    os.sync()
    new.rename(PROGRESS)
    Path("/lab/crashes.json").write_text(json.dumps(boots, indent=1))
    os.sync()


def end_boot(end: str) -> None:
    """End this boot. Everything here stays on CPU 0."""
    # A host that has run for a while has records of the kernel after those of its boot.
    for _ in range(RECORDS):
        Path("/proc/sys/vm/drop_caches").write_text("1")
        time.sleep(0.1)
    # What the journal has by now is on the disk.
    subprocess.run(["journalctl", "--sync"], check=True)
    if end == "clean":
        subprocess.run(["systemctl", "reboot"], check=True)
    elif end == "cut":
        Path("/lab/said").write_text("cut")
    elif end == "lockup":
        Path("/proc/sys/kernel/hardlockup_panic").write_text("1")
        wedge_victim()
    elif end == "panic":
        Path("/proc/sysrq-trigger").write_text("c")
    else:
        assert end == "reset"
        wedge_victim()
        time.sleep(SETTLE_SECONDS)
        Path("/proc/sysrq-trigger").write_text("b")
    time.sleep(LONG_SECONDS)


def exported() -> str:
    """Return what the agent exports of the earlier boots: the collector and the exporter run as they are."""
    subprocess.run([sys.executable, "-m", "sdeictl_agent.collector"], check=True)
    METRICS.parent.mkdir()
    command = [sys.executable, "-m", "sdeictl_agent.exporter", "--textfile", str(METRICS.parent)]
    with subprocess.Popen(command) as exporter:
        end = time.monotonic() + LONG_SECONDS
        while not METRICS.exists() and time.monotonic() < end:
            time.sleep(0.5)
        exporter.terminate()
    return METRICS.read_text()


def main() -> None:
    os.sched_setaffinity(0, {0})
    ends = sys.argv[1:]
    boots = json.loads(PROGRESS.read_text()) if PROGRESS.exists() else []
    if len(boots) < len(ends):
        prepare_kdump()
        end = ends[len(boots)]
        boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip().replace("-", "")
        wedged = VICTIM if end in ("lockup", "reset") else None
        boots.append({"boot_id": boot_id, "end": end, "wedged": wedged})
        store(boots)
        end_boot(end)
    Path("/lab/crashes.json").write_text(json.dumps(boots, indent=1))
    for form, name in (("json", "postmortem.json"), ("text", "postmortem.txt")):
        command = [sys.executable, "-m", "sdeictl", "postmortem", "--boots", "10", "--format", form]
        with Path("/lab", name).open("wb") as out:
            done = subprocess.run(command, stdout=out, check=False)
    Path("/lab/sdeictl.prom").write_text(exported())
    os.sync()
    Path("/lab/postmortem.status").write_text(str(done.returncode))


if __name__ == "__main__":
    main()
