"""Renew tests/hosts from booted guests: `make hosts`.

For each machine: root/ is its unpacked capture, console.log and record.json
are what the wedge story left, drills/ what the drills stored, ORIGIN says where
it all comes from.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from sdeictl.probe.kernel import CONFIG_SYMBOLS
from tests.lab.build import PROJECT, Lab
from tests.lab.machines import MACHINES_WITH_PEERS, Machine
from tests.lab.stories import observe_host, wedge_cpu
from tests.lab.vm import emulator

HOSTS = PROJECT / "tests" / "hosts"
_CONFIG = re.compile(rb"CONFIG_(?:%b)\b" % "|".join(CONFIG_SYMBOLS).encode())
# 60,000 to 250,000 symbols and 13,000 options a host are too many for a repository.
KEPT = {
    "proc/kallsyms": re.compile(rb"sdei|nmi|ghes_probe|_stext|_etext|_einittext|_end"),
    "lib/modules/*/config": _CONFIG,
    "boot/config-*": _CONFIG,
}


def renew(machine: Machine, lab: Lab, work: Path) -> None:
    """Boot one machine twice and store what it showed."""
    observed = observe_host(machine, lab=lab, directory=work / "observe")
    wedged = wedge_cpu(machine, lab=lab, directory=work / "wedge")
    host = HOSTS / machine.name
    shutil.rmtree(host, ignore_errors=True)
    (host / "root").mkdir(parents=True)
    subprocess.run(["tar", "-C", host / "root", "-xf", observed.share / "capture.tar.gz"], check=True)
    reduce_files(host / "root")
    shutil.copy(wedged.console, host / "console.log")
    shutil.copy(wedged.share / "record.json", host)
    (host / "drills").mkdir()
    store_drills(observed.share, host / "drills")
    version_of = [*emulator(machine, lab), "--version"]
    qemu = subprocess.run(version_of, capture_output=True, text=True, check=True)
    version = (lab.part(machine.kernel) / "version").read_text().strip()
    (host / "ORIGIN").write_text(
        f"The lab's emulated host {machine.name}: {machine.about}.\n"
        f"Linux {version}, Trusted Firmware-A of Debian trixie, {qemu.stdout.splitlines()[0]}.\n"
        "root/ is its capture (kallsyms and config reduced to the lines that matter here);\n"
        "console.log is its serial console while record.json was done to it;\n"
        "drills/ is what `sdeictl drill backtrace` stored there. Times are emulated.\n"
    )


def store_drills(share: Path, directory: Path) -> None:
    """Keep each drill's result and log slice, named after the way the CPU was masked."""
    for drill in json.loads((share / "drills.json").read_text()):
        result = drill["result"]
        if result["outcome"] != "refused":
            name = result["window"]["provider"] if result["window"] else "plain"
            (directory / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")
            shutil.copy(share / "drills" / f"{result['id']}.log", directory / f"{name}.log")


def reduce_files(root: Path) -> None:
    """Reduce the large files of a captured tree to the lines that the checks can ask for."""
    for pattern, kept in KEPT.items():
        for path in root.glob(pattern):
            lines = path.read_bytes().splitlines(keepends=True)
            path.write_bytes(b"".join(filter(kept.search, lines)))


def main() -> int:
    """Renew the hosts named on the command line, or all of them."""
    lab = Lab()
    for name in sys.argv[1:] or MACHINES_WITH_PEERS:
        with tempfile.TemporaryDirectory(prefix="sdeictl-hosts-") as work:
            print(f"hosts: {name}", file=sys.stderr, flush=True)
            renew(MACHINES_WITH_PEERS[name], lab, Path(work))
    return 0


if __name__ == "__main__":
    sys.exit(main())
