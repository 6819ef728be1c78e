"""A recorded host with what a drill asks of a running one, which no capture holds."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.conftest import load_host

CPUS = range(4)
BOOT_ID = "d1266f0a-2098-47ba-8daa-af63d6ba2275"
SUPERVISOR = (
    "1 (systemd) S 0 1 1 0 -1 4194560 1 0 0 0 1 1 0 0 20 0 1 0 1 1 1 1 1 1 1 1 1 0 0 0 0 0 0 0 17 0 0 0\n"
)
CPU_TIMES = "cpu  100 0 100 1000 0 0 0 0 0 0\nbtime 1700000000\n"


def make_drillable(place: Path, name: str = "dt-sdei") -> Path:
    """Return PLACE/host, a tree on which nothing speaks against `drill backtrace --masked`."""
    tree = place / "host"
    shutil.copytree(load_host(name).root, tree, symlinks=True)
    cpus = tree / "sys/devices/system/cpu"
    last_state = (cpus / "hotplug/states").read_text().splitlines()[-1].partition(":")[0].strip()
    write(cpus / "online", f"{CPUS[0]}-{CPUS[-1]}\n")
    for cpu in CPUS:
        for file in ("state", "target"):
            write(cpus / f"cpu{cpu}/hotplug/{file}", f"{last_state}\n")
    write(tree / "proc/sysrq-trigger", "")
    write(tree / "dev/cpu_dma_latency", "")
    write(tree / "proc/sys/net/core/bpf_jit_enable", "1\n")
    write(tree / "proc/sys/kernel/tainted", "0\n")
    write(tree / "proc/sys/kernel/random/boot_id", f"{BOOT_ID}\n")
    write(tree / "proc/self/mountinfo", f"22 1 254:0 / {tree} rw - ext4 /dev/vda rw\n")
    write(tree / "proc/stat", CPU_TIMES)
    write(tree / "proc/self/stat", SUPERVISOR)
    add_process(tree, 1, SUPERVISOR)
    return tree


def add_process(tree: Path, pid: int, stat: str) -> None:
    """Let a process run on the host; `stat` is its line as in proc(5)."""
    write(tree / f"proc/{pid}/stat", stat)
    write(tree / f"proc/{pid}/task/{pid}/stat", stat)
    write(tree / f"proc/{pid}/cmdline", "")
    (tree / f"proc/{pid}/fd").mkdir(exist_ok=True)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
