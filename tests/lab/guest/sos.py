"""Runs in a guest: a report of sos(1) with a fixed list of plugins, and the probe of the same boot.

Leaves /lab/sos.tar.xz and /lab/probe.json.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from observe import finish, leave, start

TREE = Path("/tmp/sos")
PLUGINS = "boot,hardware,kernel,logs,processor"


def main() -> None:
    leave("probe", finish(start("probe", "--format", "json", name="probe"), "probe")["result"])
    TREE.mkdir()
    subprocess.run(["tar", "-C", TREE, "-xf", "/lab/sos.tar"], check=True)
    packages = TREE / "usr/lib/python3/dist-packages"
    environment = os.environ | {
        "PYTHONPATH": str(packages),
        "LD_LIBRARY_PATH": str(TREE / "usr/lib/aarch64-linux-gnu"),
        "MAGIC": str(TREE / "usr/lib/file/magic.mgc"),
    }
    command = f"python3 {TREE}/usr/bin/sos report --batch --config-file {TREE}/etc/sos/sos.conf"
    options = f"--only-plugins {PLUGINS} --tmp-dir /tmp --threads 2 --compression-type xz"
    subprocess.run(f"{command} {options}".split(), check=True, env=environment)
    (made,) = Path("/tmp").glob("sosreport-*.tar.xz")
    shutil.copy(made, "/lab/sos.tar.xz")


main()
