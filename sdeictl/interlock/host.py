"""What a drill must know of the running host, beyond the probe's facts."""

import errno
import os
import struct
from string import hexdigits
from typing import NamedTuple

from sdeictl.formats.cpulist import parse_cpulist
from sdeictl.host.root import Root
from sdeictl.interlock.bpf import BpfWindow

CPUS = "/sys/devices/system/cpu"
CONSOLE_LEVEL = "/proc/sys/kernel/printk"
WATCHDOG_THRESH = "/proc/sys/kernel/watchdog_thresh"
HARDLOCKUP_PANIC = "/proc/sys/kernel/hardlockup_panic"
CHANGEABLE = (CONSOLE_LEVEL, WATCHDOG_THRESH, HARDLOCKUP_PANIC)
"""The settings that drills change, and nothing else may be put back."""
CPU_LATENCY = "/dev/cpu_dma_latency"
SYSRQ_TRIGGER = "/proc/sysrq-trigger"
MODULE_SUFFIXES = ("", ".gz", ".xz", ".zst")
_SIGNATURE = b"~Module signature appended~\n"
"""How a signed module ends, kernel/module/signing.c."""


class ModuleFile(NamedTuple):
    """A kernel module that could be loaded."""

    path: str
    compressed: bool


class DrillHost(NamedTuple):
    """The state of the running host before a drill."""

    privileged: bool
    online: tuple[int, ...]
    moving: tuple[int, ...]
    """CPUs on their way on or off line."""
    isolated: tuple[int, ...]
    """CPUs kept free for some work: isolcpus= or nohz_full=."""
    watchdog_thresh: int | None
    """Seconds; 0 where the detectors are off, None where the kernel has none."""
    console_level: int | None
    deep_idle: bool
    """There are idle states other than the first."""
    has_cpu_latency: bool
    has_sysrq: bool
    test_lockup: ModuleFile | None = None
    no_test_lockup: str = ""
    """Why the module cannot be used, a sentence; "" where it can."""
    no_bpf: str = ""
    """Why the kernel does not take the BPF program, a sentence; "" where it does."""


def read_drill_host(root: Root, release: str | None, *, masked: bool) -> DrillHost:
    """Read the state of the running host; with `masked`, also what could mask a CPU there."""
    online = read_online(root)
    isolated = {
        cpu for name in ("isolated", "nohz_full") for cpu in parse_cpulist(_text(root, f"{CPUS}/{name}"))
    }
    host = DrillHost(
        privileged=os.geteuid() == 0,
        online=online,
        moving=tuple(cpu for cpu in online if _is_moving(root, cpu)),
        isolated=tuple(sorted(isolated)),
        watchdog_thresh=read_setting(root, WATCHDOG_THRESH),
        console_level=read_setting(root, CONSOLE_LEVEL),
        deep_idle=any(read_idle_usage(root, online)),
        has_cpu_latency=os.path.exists(CPU_LATENCY),
        has_sysrq=os.path.exists(SYSRQ_TRIGGER),
    )
    if not masked:
        return host
    module, problem = _find_test_lockup(root, release)
    return host._replace(test_lockup=module, no_test_lockup=problem, no_bpf=_try_bpf(root))


def read_online(root: Root) -> tuple[int, ...]:
    """Return the CPUs that are online, () if that cannot be read."""
    return parse_cpulist(_text(root, f"{CPUS}/online"))


def read_idle_usage(root: Root, cpus: tuple[int, ...]) -> dict[tuple[int, str], str]:
    """Return how often each CPU has been in each of its idle states but the first."""
    usage = {}
    for cpu in cpus:
        directory = f"{CPUS}/cpu{cpu}/cpuidle"
        for state in _names(root, directory):
            if state != "state0":
                usage[cpu, state] = _text(root, f"{directory}/{state}/usage").strip()
    return usage


def read_setting(root: Root, path: str) -> int | None:
    """Return the first number of a file of /proc/sys; None if it is not there."""
    fields = _text(root, path).split()
    return _number(fields[0]) if fields else None


def read_boot_id(root: Root) -> str:
    """Return what tells one boot of this host from another; "" if unknown."""
    return _text(root, "/proc/sys/kernel/random/boot_id").strip()


def read_places(root: Root, cpus: tuple[int, ...]) -> dict[int, int]:
    """Return the physical address at which each CPU leaves its registers when the kernel crashes."""
    found = {}
    for cpu in cpus:
        text = _text(root, f"{CPUS}/cpu{cpu}/crash_notes").strip()
        if text and all(digit in hexdigits for digit in text):
            found[cpu] = int(text, 16)
    return found


def _is_moving(root: Root, cpu: int) -> bool:
    states = [_text(root, f"{CPUS}/cpu{cpu}/hotplug/{name}") for name in ("state", "target")]
    return states[0] != states[1]


def _find_test_lockup(root: Root, release: str | None) -> tuple[ModuleFile | None, str]:
    base = f"/lib/modules/{release}/kernel/lib/test_lockup.ko"
    for suffix in MODULE_SUFFIXES:
        try:
            data = root.read(base + suffix)
        except OSError:
            continue
        return ModuleFile(base + suffix, bool(suffix)), _module_problem(root, data, compressed=bool(suffix))
    return None, f"there is no module test_lockup for this kernel ({base}; CONFIG_TEST_LOCKUP)"


def _module_problem(root: Root, data: bytes, *, compressed: bool) -> str:
    if _number(_text(root, "/proc/sys/kernel/modules_disabled")):
        return "the loading of modules is disabled until the next boot (kernel.modules_disabled)"
    lockdown = "[none]" not in (_text(root, "/sys/kernel/security/lockdown") or "[none]")
    enforced = _text(root, "/sys/module/module/parameters/sig_enforce").startswith("Y")
    if (lockdown or enforced) and not data.endswith(_SIGNATURE) and not compressed:
        return "test_lockup.ko is not signed, and this kernel takes signed modules only"
    if compressed and not _text(root, "/sys/module/compression"):
        return "test_lockup.ko is compressed, and this kernel does not unpack modules"
    return ""


def _try_bpf(root: Root) -> str:
    """Load the program and drop it again: nothing else tells whether this kernel takes it."""
    if not (_number(_text(root, "/proc/sys/net/core/bpf_jit_enable"))):
        return "the BPF compiler is off or missing (net.core.bpf_jit_enable)"
    try:
        BpfWindow(1.0).close()
    except OSError as error:
        if error.errno == errno.EPERM:
            return "the kernel does not let this process load a BPF program"
        return f"the kernel does not take the BPF program: {error.strerror}"
    return ""


def _text(root: Root, path: str) -> str:
    try:
        return root.read(path).decode("utf-8", "replace")
    except OSError:
        return ""


def _names(root: Root, path: str) -> tuple[str, ...]:
    try:
        return root.names(path)
    except OSError:
        return ()


def _number(text: str) -> int | None:
    return int(text) if text.strip().isdecimal() else None


def latency_request(microseconds: int) -> bytes:
    """Return what /dev/cpu_dma_latency takes (Documentation/power/pm_qos_interface.rst)."""
    return struct.pack("=i", microseconds)
