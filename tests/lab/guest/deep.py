"""Runs in a guest: the kernel's log is pushed out of its ring, with and without a journal that kept it.

Leaves /lab/{rotated,journal,kcore}.json: what `probe` says after the log has
rotated, what `probe --deep` says then, and what without the journal; deep.trace
is what strace(1) saw of `probe --deep`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

SHARE = Path("/lab")
JOURNALD = "/usr/lib/systemd/systemd-journald"
PATIENCE_SECONDS = 60
RECORD = b"<6>sdeictl-lab: a line to fill the ring" + b" ." * 400 + b"\n"


TRACE = ("strace", "-f", "-e", "trace=%file,%process,%network", "-o", SHARE / "deep.trace")


def probe(name: str, *arguments: str, trace: Sequence[str | Path] = ()) -> None:
    # The interpreter's own cache is not the probe's doing: -B.
    command = [*trace, sys.executable, "-B", "-m", "sdeictl", "probe", "--format", "json", *arguments]
    with (SHARE / f"{name}.json").open("wb") as output:
        subprocess.run(command, check=False, stdout=output)


def is_in_journal(text: str) -> bool:
    done = subprocess.run(["journalctl", "-k", "-b", "0", "-g", text], check=False, capture_output=True)
    return done.returncode == 0


def push_out_of_ring() -> None:
    Path("/proc/sys/kernel/printk_devkmsg").write_text("on\n")
    kmsg = os.open("/dev/kmsg", os.O_WRONLY)
    while b"Run /lab-init" in subprocess.run(["dmesg"], check=True, capture_output=True).stdout:
        for _ in range(100):
            os.write(kmsg, RECORD)
    os.close(kmsg)


def main() -> None:
    subprocess.run(["mount", "-t", "cgroup2", "cgroup", "/sys/fs/cgroup"], check=True)
    journald = subprocess.Popen([JOURNALD])
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_in_journal("Booting Linux") and time.monotonic() < deadline:
        time.sleep(0.5)
    push_out_of_ring()
    probe("rotated")
    probe("journal", "--deep", trace=TRACE)
    journald.terminate()
    journald.wait()
    shutil.rmtree("/run/log/journal")
    probe("kcore", "--deep")


main()
