"""What runs on each CPU and would not run while that CPU is masked: a reason to choose another one.

Real-time and deadline tasks, virtual CPUs, interrupts of devices, CPUs that belong to a control group, CPUs
that the administrator reserved, and PID 1 if it may run nowhere else. Threads of the kernel do not count.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping

from sdeictl.formats.cpulist import parse_cpulist
from sdeictl.host.paths import CGROUPS, INTERRUPTS, IRQS, PROC
from sdeictl.host.root import Root
from sdeictl.text import NamedTuple, lines_of

_POLICIES = {1: "real-time task", 2: "real-time task", 6: "deadline task"}
"""SCHED_FIFO, SCHED_RR and SCHED_DEADLINE (include/uapi/linux/sched.h)."""
_RESET_ON_FORK = 0x40000000
_KERNEL_THREAD = 0x200000
"""PF_KTHREAD in the flags of /proc/PID/stat (include/linux/sched.h)."""
_VCPU = re.compile(r"CPU \d+/KVM|vcpu\d+|fc_vcpu \d+", re.ASCII)
"""How QEMU, crosvm and Firecracker name the thread of a virtual CPU."""
_IRQ_ROW = re.compile(r"\s*(\d+):((?:\s+\d+)+)\s+(\S.*)", re.ASCII)
_FLAGS, _PROCESSOR = 6, 36
"""Places behind the name in /proc/PID/stat (fields 9 and 39 of proc(5))."""
_RESERVED = "reserved by isolcpus= or nohz_full="
MAX_NAMES = 3
"""So many of a kind are named."""

Loads = Mapping[int, tuple[str, ...]]
"""What runs on each CPU, clauses; a CPU on which nothing of that kind runs is missing."""
_Found = tuple[str, str, Iterable[int]]
"""A kind of load, its name, and the CPUs that it is on."""


class Thread(NamedTuple):
    """What /proc/PID/stat says of a thread."""

    pid: int
    name: str
    of_kernel: bool
    cpu: int
    """Where it ran last."""


def read_loads(root: Root, cpus: Iterable[int], isolated: Iterable[int]) -> Loads:
    """Return what masking each of these CPUs would hold up."""
    online = frozenset(cpus)
    found: dict[int, dict[str, set[str]]] = {cpu: {} for cpu in sorted(online)}
    reserved: list[_Found] = [(_RESERVED, "", isolated)]
    for kind, name, where in (*reserved, *_threads(), *_interrupts(root), *_control_groups(online)):
        for cpu in online & set(where):
            found[cpu].setdefault(kind, set()).add(name)
    return {cpu: tuple(map(_clause, kinds.items())) for cpu, kinds in found.items() if kinds}


def _clause(kind_and_names: tuple[str, set[str]]) -> str:
    kind, names = kind_and_names[0], sorted(filter(None, kind_and_names[1]))
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return f"{kind} {', '.join(names[:MAX_NAMES])}{more}" if names else kind


def _threads() -> Iterator[_Found]:
    for thread in _all_threads():
        if thread.of_kernel:
            continue
        with contextlib.suppress(OSError):
            allowed = os.sched_getaffinity(thread.pid)
            where = allowed if len(allowed) == 1 else (thread.cpu,)
            policy = os.sched_getscheduler(thread.pid) & ~_RESET_ON_FORK
            if thread.pid == 1:
                if len(allowed) == 1:
                    yield "PID 1", thread.name, where
            elif _VCPU.fullmatch(thread.name):
                yield "virtual CPU", thread.name, where
            elif policy in _POLICIES:
                yield _POLICIES[policy], thread.name, where


def _all_threads() -> Iterator[Thread]:
    for process in filter(str.isdecimal, os.listdir(PROC)):
        with contextlib.suppress(OSError):
            for name in os.listdir(f"{PROC}/{process}/task"):
                with contextlib.suppress(OSError, ValueError, IndexError):
                    yield parse_thread(_value(f"{PROC}/{process}/task/{name}/stat"))


def parse_thread(stat: str) -> Thread:
    """Return what /proc/PID/stat says; raise ValueError or IndexError if it is no such line."""
    pid, _, rest = stat.partition(" (")
    name, _, fields = rest.rpartition(") ")
    words = fields.split()
    return Thread(int(pid), name, bool(int(words[_FLAGS]) & _KERNEL_THREAD), int(words[_PROCESSOR]))


def _interrupts(root: Root) -> Iterator[_Found]:
    """Yield each interrupt that has come and that one CPU takes; a timer interrupts every CPU."""
    try:
        text = root.read(INTERRUPTS).decode("utf-8", "replace")
    except OSError:
        return
    for match in map(_IRQ_ROW.fullmatch, lines_of(text)):
        if match and any(map(int, match[2].split())):
            with contextlib.suppress(OSError):
                data = root.read(f"{IRQS}/{match[1]}/effective_affinity_list")
                cpus = parse_cpulist(data.decode("ascii", "replace").strip())
                if len(cpus) == 1:
                    yield "device interrupt", match[3].split()[-1], cpus


def _control_groups(online: frozenset[int]) -> Iterator[_Found]:
    """Yield each control group that has CPUs of its own, as containers with exclusive CPUs do."""
    for directory, _names, files in os.walk(CGROUPS):
        name = os.path.relpath(directory, CGROUPS)
        given = _value(f"{directory}/cpuset.cpus") if "cpuset.cpus" in files and name != "." else ""
        cpus = frozenset(parse_cpulist(given)) if given else frozenset()
        if cpus and not cpus >= online:
            yield "CPU of the control group", name, cpus


def _value(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""
