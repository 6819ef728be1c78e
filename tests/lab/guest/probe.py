"""Runs in a guest: what a drill will see is predicted before, by the probe, as root and as nobody.

Leaves /lab/capture.tar.gz, /lab/probe.{txt,err,status,json} and /lab/nobody.{json,err,status}; then it is
drill.py.
"""

from __future__ import annotations

import os
import runpy
import shutil
from pathlib import Path

from observe import become_nobody, start


def keep(pid: int, name: str, form: str) -> None:
    """Wait for a command, and keep what it said."""
    _pid, status = os.waitpid(pid, 0)
    Path(f"/lab/{name}.status").write_text(f"{os.waitstatus_to_exitcode(status)}\n")
    shutil.copy(f"/tmp/{name}.out", f"/lab/{name}.{form}")
    shutil.copy(f"/tmp/{name}.err", f"/lab/{name}.err")


_pid, _status = os.waitpid(start("capture", "/lab/capture.tar.gz", name="capture"), 0)
assert _status == 0, Path("/tmp/capture.err").read_text()
keep(start("probe", "--format", "json", name="probe"), "probe", "json")
keep(start("probe", name="probe"), "probe", "txt")
Path("/proc/sys/kernel/dmesg_restrict").write_text("1")
keep(start("probe", "--format", "json", name="nobody", become=become_nobody), "nobody", "json")
runpy.run_path("/lab/guest/drill.py")
