"""A report of sos: what sos did not copy proves nothing, and its listings have the names of files."""

from __future__ import annotations

from collections.abc import Iterator

from sdeictl.host.paths import ACPI_TABLES, SYSCTLS, VERSION
from sdeictl.host.sos import SosRoot
from sdeictl.klog.words import NmiPath
from sdeictl.probe.collect import collect
from sdeictl.probe.report import build_report
from tests.fuzz.harness import Target
from tests.fuzz.hosts import MemoryRoot, captured
from tests.fuzz.shapes import Dice
from tests.fuzz.targets.host import check_report

FILES = (
    "/sos_commands/kernel/sysctl_-a", "/sos_commands/kernel/uname_-a",
    "/sos_commands/boot/ls_-alZR_.sys.firmware", "/sos_commands/kernel/dmesg",
    "/sos_commands/logs/journalctl_--no-pager_--boot", "/proc/version", "/proc/cpuinfo",
    f"{ACPI_TABLES}/SDEI", f"{SYSCTLS}/panic", "/proc/interrupts",
)  # fmt: skip
CONTENTS = (
    b"fs.x = 1\nkernel.nmi_watchdog = 1\nkernel.panic = 0\nkernel.a.b = 2\nvm.x = 1\n",
    b"Linux node7 7.3.4 #1 SMP aarch64 GNU/Linux\n",
    f"{ACPI_TABLES}:\ntotal 0\n-r--. 1 root root ? 36 Jan  1 00:00 SDEI\n-r-- FACP\n\n/sys/x:\n".encode(),
    b"[    0.000000] Booting Linux on physical CPU 0x0000000000 [0x411fd070]\n",
)
WORDS = ("\nkernel.", " = ", "\nfs.", "\nvm.", f"{ACPI_TABLES}:\n", "\n-r-- SDEI", "\n\n", "Linux n 7.3.4 ")


def seeds() -> Iterator[bytes]:
    yield from (bytes([number, min(len(text), 255)]) + text[:255] for number, text in enumerate(CONTENTS))


def check(data: bytes) -> None:
    """An input is a list of files: the number of the file, the length of its content, and the content."""
    dice = Dice(data)
    files = {"/sos_commands/x": b"", "/proc/cpuinfo": captured("dt-sdei")[0]["/proc/cpuinfo"]}
    while dice:
        path = dice.pick(FILES)
        files[path] = dice.piece()
    root = SosRoot(MemoryRoot(files))
    for path in (ACPI_TABLES, SYSCTLS, "/sys/kernel"):
        try:
            names = root.names(path)
        except OSError:
            continue
        assert names == tuple(sorted(set(names)))
    try:
        assert root.read(VERSION)[:6] == b"Linux " or VERSION in files
    except OSError:
        assert VERSION not in files
    report = build_report(collect(root))
    check_report(report)
    if not any("dmesg" in path or "journalctl" in path for path in files):
        assert report["verdict"]["nmi_path"] in (NmiPath.UNKNOWN, NmiPath.NOT_APPLICABLE)


TARGET = Target(check, seeds, (SosRoot.read,), WORDS, 1024)
