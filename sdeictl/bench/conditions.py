"""Under what conditions a benchmark ran: what must be the same in a comparison, and what is bad for it."""

import os
import re
import socket
import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

import psutil

from sdeictl import __version__
from sdeictl.formats.cmdline import PSEUDO_NMI, PUBLIC_PARAMETERS, parse_parameters
from sdeictl.formats.kconfig import gunzip, parse_kconfig
from sdeictl.host.root import Root
from sdeictl.interlock.host import read_online
from sdeictl.klog.log import parse_log
from sdeictl.probe.checks.check import FAIL, PASS
from sdeictl.probe.collect import CPUINFO, VERSION, collect
from sdeictl.probe.facts import KMSG, HostFacts
from sdeictl.probe.kernel import CMDLINE, CONFIG_GZ, CPU_DEVICES
from sdeictl.probe.report import host_json
from sdeictl.probe.verdict import judge_registered

Json = dict[str, Any]
VULNERABILITIES = f"{CPU_DEVICES}/vulnerabilities"
"""KPTI is how meltdown is met."""
CLOCKSOURCE = "/sys/devices/system/clocksource/clocksource0/current_clocksource"
KSTACK = "randomize_kstack_offset"
OPTIONS = ("RANDOMIZE_KSTACK_OFFSET_DEFAULT", "ARM64_DEBUG_PRIORITY_MASKING")
_COSTLY = re.compile(
    r"mitigations|kpti|ssbd|nospectre|spectre|arm64\.|init_on_|slub_|slab_|page_poison|page_alloc|debug_"
    r"|audit$|randomize_kstack|nokaslr|preempt|threadirqs|rcu|nohz|idle|cpufreq|cpuidle|transparent_hugepage"
    r"|hugepage|default_hugepagesz|numa_balancing|kasan|kfence|lsm$|security$|selinux|apparmor|irqaffinity"
    r"|skew_tick|clocksource|hz|trace|ftrace|kprobe|psi|cgroup|maxcpus|nr_cpus|nosmt|nosmp|iommu|sched"
)
"""Names of parameters, as they begin, that can change what a call costs."""
_FEATURE = "CPU features: detected: "
_MASKING = ("IRQ priority masking", "GICv3 CPU interface", "GIC system register CPU interface")
"""Features that come and go with pseudo-NMI, or belong to it."""
_AUDIT_GET = 1000
MAX_LOAD_A_CPU = 0.1
MAX_STEAL = 0.01

VARIABLE = ("pseudo_nmi", "pmr_sync")
"""What a comparison is about, by default."""
MUST_BE_SAME = (
    "architecture", "kernel", "kernel_build", "command_line", "cpu_features", "mitigations",
    "kstack_randomized", "debug_priority_masking", "exception_level", "firmware", "model", "midr", "cores",
    "cpus_online", "virtual", "page_size", "lse", "clocksource", "governor", "max_khz", "isolated",
    "nohz_full", "audit", "seccomp", "loop", "sdeictl",
)  # fmt: skip


class Surroundings(NamedTuple):
    """What else the machine did meanwhile."""

    load: float
    steal: float
    """The part of the CPUs' time that a hypervisor gave to others."""


def read_conditions(root: Root, loop: str) -> Json:
    """Read the conditions on this host, for a loop of this kind."""
    facts = collect(root)
    host = host_json(facts)
    line = _text(root, CMDLINE) or ""
    features = _features(root, facts)
    options = dict(_options(root, facts.release))
    cpuinfo = _text(root, CPUINFO) or ""
    conditions = {
        "pseudo_nmi": pseudo_nmi_state(facts),
        "pmr_sync": facts.bootlog.pseudo_nmi if facts.bootlog else None,
        "kernel_build": _build(_text(root, VERSION)),
        "command_line": costly_part(line),
        "cpu_features": features,
        "mitigations": _vulnerabilities(root),
        "kstack_randomized": _kstack(line, options),
        "debug_priority_masking": {"y": True, "n": False}.get(
            options.get("ARM64_DEBUG_PRIORITY_MASKING", "n")
        )
        if options
        else None,
        "page_size": os.sysconf("SC_PAGESIZE"),
        "lse": " atomics" in cpuinfo if "Features" in cpuinfo else None,
        "clocksource": _text(root, CLOCKSOURCE),
        "governor": _each_cpu(root, "cpufreq/scaling_governor"),
        "max_khz": _each_cpu(root, "cpufreq/scaling_max_freq"),
        "isolated": _text(root, f"{CPU_DEVICES}/isolated"),
        "nohz_full": _text(root, f"{CPU_DEVICES}/nohz_full"),
        "audit": read_audit(),
        "seccomp": _seccomp(root),
        "loop": loop,
        "sdeictl": __version__,
        "affinity": len(os.sched_getaffinity(0)),
        "current_mhz": _current_mhz(),
    }
    names = ("architecture", "kernel", "exception_level", "firmware", "model", "midr", "cores", "virtual")
    named = {name: host[name] for name in names}
    if facts.architecture != "arm64":
        model = re.search(r"^model name\s*: (.*)$", cpuinfo, re.MULTILINE)
        named |= {"model": model[1] if model else None}
        named |= {"virtual": "a hypervisor, by cpuinfo" if " hypervisor" in cpuinfo else None}
    return conditions | named | {"cpus_online": os.cpu_count()}


def pseudo_nmi_state(facts: HostFacts) -> str | None:
    """Return `on` or `off`, `not-applicable` off arm64, None where it cannot be told."""
    if facts.architecture not in (None, "arm64"):
        return "not-applicable"
    return {PASS: "on", FAIL: "off"}.get(judge_registered(facts, "pseudo-nmi"))


def costly_part(line: str) -> str:
    """Return the parameters of a command line that can change what a call costs, but for the variable."""
    parameters = [(name.replace("-", "_"), value) for name, value in parse_parameters(line)]
    return " ".join(
        name if value is None else f"{name}={value}"
        for name, value in sorted(parameters, key=str)
        if name != PSEUDO_NMI and (name in PUBLIC_PARAMETERS or _COSTLY.match(name))
    )


def _vulnerabilities(root: Root) -> str | None:
    """Return how the kernel meets each of the CPU's weaknesses."""
    try:
        names = root.names(VULNERABILITIES)
    except OSError:
        return None
    return "; ".join(f"{name}: {_text(root, f'{VULNERABILITIES}/{name}')}" for name in names)


def _build(version: str | None) -> str | None:
    """Return what tells two builds of a release apart, without who built it: `#1 SMP PREEMPT ...`."""
    return version[version.index("#") :] if version and "#" in version else None


def _features(root: Root, facts: HostFacts) -> list[str] | None:
    """Return the CPU features and errata the kernel works with, by its log; None unless it is whole."""
    if not facts.bootlog or not facts.bootlog.complete:
        return None
    texts = [record.text for record in parse_log(root.read(KMSG)).records]
    found = {text.removeprefix(_FEATURE) for text in texts if text.startswith(_FEATURE)}
    return sorted(found.difference(_MASKING))


def _options(root: Root, release: str | None) -> Iterator[tuple[str, str]]:
    for path in (CONFIG_GZ, f"/boot/config-{release}", f"/lib/modules/{release}/config"):
        try:
            data = root.read(path)
            yield from parse_kconfig(gunzip(data) if path == CONFIG_GZ else data, OPTIONS)
        except (OSError, ValueError):
            continue
        else:
            return


def _kstack(line: str, options: Json) -> bool | None:
    given = [value for name, value in parse_parameters(line) if name == KSTACK]
    if given:
        return given[-1] in ("1", "y", "on", None)
    return {"y": True, "n": False}.get(options.get(OPTIONS[0], ""))


def _each_cpu(root: Root, name: str) -> str | None:
    """Return what the online CPUs have in a file, each value once."""
    values = {_text(root, f"{CPU_DEVICES}/cpu{cpu}/{name}") for cpu in read_online(root)}
    return ", ".join(sorted(value for value in values if value)) or None


def _current_mhz() -> int | None:
    try:
        found = psutil.cpu_freq()
    except (OSError, NotImplementedError, ValueError):  # psutil mistakes the number of a policy for a CPU's
        return None
    return round(found.current) if found else None


def _seccomp(root: Root) -> bool | None:
    found = re.search(r"^Seccomp:\s*(\d)", _text(root, "/proc/self/status") or "", re.MULTILINE)
    return found[1] != "0" if found else None


def _text(root: Root, path: str) -> str | None:
    try:
        return root.read(path).decode("utf-8", "replace").strip()
    except OSError:
        return None


def read_audit() -> bool | None:
    """Tell whether system calls are audited; None if it may not be asked (linux/audit.h, audit_status)."""
    request = struct.pack("=IHHII", 16, _AUDIT_GET, 1, 0, 0)
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 9) as audit:
            audit.settimeout(1)
            audit.sendto(request, (0, 0))
            reply = audit.recv(4096)
    except OSError:
        return None
    kind = struct.unpack_from("=H", reply, 4)[0] if len(reply) >= 24 else None
    return struct.unpack_from("=I", reply, 20)[0] != 0 if kind == _AUDIT_GET else None


class Watch:
    """Sees what else the machine does, from its making on."""

    def __init__(self) -> None:
        self._before = psutil.cpu_times()

    def see(self) -> Surroundings:
        """Return what it has done since."""
        now = psutil.cpu_times()
        spent = sum(now) - sum(self._before)
        steal = getattr(now, "steal", 0.0) - getattr(self._before, "steal", 0.0)
        return Surroundings(round(psutil.getloadavg()[0], 2), round(steal / spent, 4) if spent > 0 else 0.0)


def labels(conditions: Json, before: Surroundings, after: Surroundings) -> list[str]:
    """Return what is bad about the conditions, as sentences; an empty list is a good sign and no promise."""
    cpus = conditions["cpus_online"] or 1
    found = {
        "Whether pseudo-NMI is on is not known: read the kernel log as root.": conditions["pseudo_nmi"]
        is None,
        "Pseudo-NMI is on, and how PMR writes are synchronised is not known (the log has rotated).": (
            conditions["pseudo_nmi"] == "on" and conditions["pmr_sync"] is None
        ),
        f"The governor is {conditions['governor']}: the clock may follow the load.": (
            conditions["governor"] not in (None, "performance")
        ),
        f"The host was at work before: load {before.load:.1f} on {cpus} CPUs.": (
            before.load > MAX_LOAD_A_CPU * cpus
        ),
        f"A hypervisor gave {after.steal:.1%} of the CPUs' time to others.": after.steal > MAX_STEAL,
        "It is a virtual machine: others share its CPUs, and an emulated one has no time of its own.": bool(
            conditions["virtual"]
        ),
        "The loop is Python's, which is 10 to 20 % too slow: sdeictl was installed without a C compiler.": (
            conditions["loop"] == "python"
        ),
        f"It may use {conditions['affinity']} of {cpus} CPUs.": conditions["affinity"] < cpus,
        "System calls are audited.": bool(conditions["audit"]),
        "A seccomp filter looks at every system call.": bool(conditions["seccomp"]),
        "CONFIG_ARM64_DEBUG_PRIORITY_MASKING checks every change of the mask.": bool(
            conditions["debug_priority_masking"]
        ),
    }
    return [sentence for sentence, holds in found.items() if holds]
