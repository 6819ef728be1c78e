"""Renew tests/hosts from booted guests: `make hosts`.

For each machine: root/ is its unpacked capture, console.log and record.json
are what the wedge story left, drills/ what the drills stored, ORIGIN says where
it all comes from. Some have stalls.log, the console of the stall story, and
sos/, a report of sos.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sdeictl.probe.kernel import CONFIG_SYMBOLS
from tests.lab.build import ORIGIN as KERNEL_ORIGIN
from tests.lab.build import PROJECT, Lab
from tests.lab.machines import MACHINES_WITH_PEERS, Machine
from tests.lab.stories import make_sos_report, observe_host, stall_cpus, wedge_cpu
from tests.lab.vm import emulator

HOSTS = PROJECT / "tests" / "hosts"
_CONFIG = re.compile(rb"CONFIG_(?:%b)\b" % "|".join(CONFIG_SYMBOLS).encode())
# 60,000 to 250,000 symbols and 13,000 options a host are too many for a repository.
KEPT = {
    "proc/kallsyms": re.compile(rb"sdei|nmi|ghes_probe|_stext|_etext|_einittext|_end"),
    "lib/modules/*/config": _CONFIG,
    "boot/config-*": _CONFIG,
}


STALLED = ("dt-sdei", "linux-6.1", "linux-6.12")
"""A kernel of each kind that has LKDTM."""
SOS = ("acpi-sdei", "dt-sdei")
SOS_KEPT = (
    "version.txt", "proc/cmdline", "proc/cpuinfo", "proc/interrupts", "proc/kallsyms", "sos_commands/boot",
    "sos_commands/kernel", "sys/firmware", "sys/module", "sys/devices/system/cpu/hotplug",
)  # fmt: skip
"""What is kept of a report of sos; the rest is about other things."""


def renew(machine: Machine, lab: Lab, work: Path) -> None:
    """Boot one machine for each of its stories and store what it showed."""
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
    if machine.name in STALLED:
        stalled = stall_cpus(machine, lab=lab, directory=work / "stall")
        shutil.copy(stalled.console, host / "stalls.log")
    if machine.name in SOS:
        reported = make_sos_report(machine, lab=lab, directory=work / "sos")
        store_sos(reported.share / "sos.tar.xz", host / "sos")
    version_of = [*emulator(lab), "--version"]
    qemu = subprocess.run(version_of, capture_output=True, text=True, check=True)
    kernel = lab.part(machine.kernel)
    version, packages = ((kernel / name).read_text().strip() for name in ("version", KERNEL_ORIGIN))
    (host / "ORIGIN").write_text(
        f"The lab's emulated host {machine.name}: {machine.about}.\n"
        f"Linux {version} ({packages}), Trusted Firmware-A of Debian trixie, {qemu.stdout.splitlines()[0]}.\n"
        "root/ is its capture (kallsyms and config reduced to the lines that matter here);\n"
        "console.log is its serial console while record.json was done to it;\n"
        "drills/ is what `sdeictl drill backtrace` stored there. Times are emulated.\n"
    )


def store_sos(archive: Path, directory: Path) -> None:
    """Unpack what is kept of a report of sos."""
    directory.mkdir()
    with tarfile.open(archive) as tar:
        for member in tar:
            _top, _, name = member.name.partition("/")
            content = tar.extractfile(member) if name.startswith(SOS_KEPT) and member.isfile() else None
            if content:
                (directory / name).parent.mkdir(parents=True, exist_ok=True)
                (directory / name).write_bytes(content.read())
    reduce_files(directory)


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
    lab.site()

    def renew_one(name: str) -> None:
        with tempfile.TemporaryDirectory(prefix="sdeictl-hosts-") as work:
            renew(MACHINES_WITH_PEERS[name], lab, Path(work))
        print(f"hosts: {name}", file=sys.stderr, flush=True)

    # A guest idles for half of its story: two at once keep two cores busy.
    with ThreadPoolExecutor(max_workers=2) as pool:
        list(pool.map(renew_one, sys.argv[1:] or MACHINES_WITH_PEERS))
    return 0


if __name__ == "__main__":
    sys.exit(main())
