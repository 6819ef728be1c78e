"""The conditions of a benchmark run, and which of them must be the same in a comparison."""

from __future__ import annotations

import os
import re
import socket
import struct
from collections.abc import Iterator, Mapping
from typing import TypedDict

import psutil

from sdeictl import __version__
from sdeictl.bench.words import LoopKind, PseudoNmi
from sdeictl.formats.cmdline import PSEUDO_NMI, PUBLIC_PARAMETERS, parse_parameters
from sdeictl.formats.kconfig import gunzip, parse_kconfig
from sdeictl.host.paths import (
    CLOCKSOURCE,
    CMDLINE,
    CONFIG_GZ,
    CPU_DEVICES,
    CPUINFO,
    KMSG,
    OWN_STATUS,
    VERSION,
    VULNERABILITIES,
    config_files,
    cpu_device,
)
from sdeictl.host.root import Root
from sdeictl.interlock.survey import read_online
from sdeictl.klog.log import parse_log
from sdeictl.klog.messages.boot import FEATURE
from sdeictl.klog.messages.pseudo_nmi import MASKING_FEATURES
from sdeictl.klog.words import NmiPath
from sdeictl.probe.collect import collect
from sdeictl.probe.document import CoreDocument, HostDocument
from sdeictl.probe.facts import HostFacts
from sdeictl.probe.report import describe_host
from sdeictl.probe.verdict import judge_registered
from sdeictl.probe.words import Outcome

KSTACK = "randomize_kstack_offset"
KSTACK_OPTION = "RANDOMIZE_KSTACK_OFFSET_DEFAULT"
DEBUG_OPTION = "ARM64_DEBUG_PRIORITY_MASKING"
_COSTLY = re.compile(
    r"mitigations|kpti|ssbd|nospectre|spectre|arm64\.|init_on_|slub_|slab_|page_poison|page_alloc|debug_"
    r"|audit$|randomize_kstack|nokaslr|preempt|threadirqs|rcu|nohz|idle|cpufreq|cpuidle|transparent_hugepage"
    r"|hugepage|default_hugepagesz|numa_balancing|kasan|kfence|lsm$|security$|selinux|apparmor|irqaffinity"
    r"|skew_tick|clocksource|hz|trace|ftrace|kprobe|psi|cgroup|maxcpus|nr_cpus|nosmt|nosmp|iommu|sched"
)
"""How the names of kernel parameters begin that can change the cost of a call."""
_AUDIT_GET = 1000

VARIABLE = ("pseudo_nmi", "pmr_sync")
"""The conditions that a comparison is about."""
MUST_BE_SAME = (
    "architecture", "kernel", "kernel_build", "command_line", "cpu_features", "mitigations",
    "kstack_randomized", "debug_priority_masking", "exception_level", "firmware", "model", "midr", "cores",
    "cpus_online", "virtual", "page_size", "lse", "clocksource", "governor", "max_khz", "isolated",
    "nohz_full", "audit", "seccomp", "loop", "sdeictl",
)  # fmt: skip
"""The conditions that must be equal in all runs of a comparison, in the order of its refusals."""


class HostConditions(TypedDict):
    """The conditions that the host sets before a run. None: unknown."""

    pseudo_nmi: str | None
    pmr_sync: str | None
    kernel_build: str | None
    command_line: str
    cpu_features: list[str] | None
    mitigations: str | None
    kstack_randomized: bool | None
    debug_priority_masking: bool | None
    page_size: int
    lse: bool | None
    clocksource: str | None
    governor: str | None
    max_khz: str | None
    isolated: str | None
    nohz_full: str | None
    audit: bool | None
    seccomp: bool | None
    loop: str
    sdeictl: str
    affinity: int
    current_mhz: int | None
    architecture: str | None
    kernel: str | None
    exception_level: int | None
    firmware: str | None
    model: str | None
    midr: str | None
    cores: list[CoreDocument]
    virtual: str | None
    cpus_online: int | None


class ConditionsDocument(HostConditions):
    """All conditions of a run."""

    load_before: float
    load_after: float
    steal: float


def read_conditions(root: Root, loop: LoopKind) -> HostConditions:
    """Read the conditions on the running host, for a run with a loop of this kind."""
    facts = collect(root)
    host = describe_host(facts)
    line, cpuinfo = _text(root, CMDLINE) or "", _text(root, CPUINFO) or ""
    options = dict(_read_options(root, facts.release))
    return {
        "pseudo_nmi": pseudo_nmi_state(facts),
        "pmr_sync": facts.bootlog.pseudo_nmi if facts.bootlog else None,
        "kernel_build": _build(_text(root, VERSION)),
        "command_line": costly_part(line),
        "cpu_features": _read_features(root, facts),
        "mitigations": _read_mitigations(root),
        "kstack_randomized": _is_kstack_randomized(line, options),
        "debug_priority_masking": _is_set(options.get(DEBUG_OPTION, "n")) if options else None,
        "page_size": os.sysconf("SC_PAGESIZE"),
        "lse": " atomics" in cpuinfo if "Features" in cpuinfo else None,
        "clocksource": _text(root, CLOCKSOURCE),
        "governor": _read_each_cpu(root, "cpufreq/scaling_governor"),
        "max_khz": _read_each_cpu(root, "cpufreq/scaling_max_freq"),
        "isolated": _text(root, f"{CPU_DEVICES}/isolated"),
        "nohz_full": _text(root, f"{CPU_DEVICES}/nohz_full"),
        "audit": read_audit(),
        "seccomp": _read_seccomp(root),
        "loop": loop,
        "sdeictl": __version__,
        "affinity": len(os.sched_getaffinity(0)),
        "current_mhz": _read_mhz(),
        "architecture": host["architecture"],
        "kernel": host["kernel"],
        "exception_level": host["exception_level"],
        "firmware": host["firmware"],
        "model": _model(host, cpuinfo),
        "midr": host["midr"],
        "cores": host["cores"],
        "virtual": _virtual(host, cpuinfo),
        "cpus_online": os.cpu_count(),
    }


def pseudo_nmi_state(facts: HostFacts) -> PseudoNmi | None:
    """Return the state of pseudo-NMI in this boot; None if it is unknown."""
    if facts.architecture not in (None, "arm64"):
        return PseudoNmi.NOT_APPLICABLE
    states = {Outcome.PASS: PseudoNmi.ON, Outcome.FAIL: PseudoNmi.OFF}
    return states.get(judge_registered(facts, NmiPath.PSEUDO_NMI))


def costly_part(line: str) -> str:
    """Return the parameters of a command line that can change the cost of a call, except pseudo-NMI."""
    parameters = [(name.replace("-", "_"), value) for name, value in parse_parameters(line)]
    return " ".join(
        name if value is None else f"{name}={value}"
        for name, value in sorted(parameters, key=str)
        if name != PSEUDO_NMI and (name in PUBLIC_PARAMETERS or _COSTLY.match(name))
    )


def _build(version: str | None) -> str | None:
    """Return the part of /proc/version that identifies a build without its builder: `#1 SMP PREEMPT ...`."""
    return version[version.index("#") :] if version and "#" in version else None


def _read_features(root: Root, facts: HostFacts) -> list[str] | None:
    """Read from the boot log which CPU features and errata the kernel uses; None from an incomplete log."""
    if not facts.bootlog or not facts.bootlog.complete:
        return None
    texts = [record.text for record in parse_log(root.read(KMSG)).records]
    found = {text.removeprefix(FEATURE) for text in texts if text.startswith(FEATURE)}
    return sorted(found.difference(MASKING_FEATURES))


def _read_mitigations(root: Root) -> str | None:
    """Read how the kernel handles each vulnerability of the CPU."""
    try:
        names = root.names(VULNERABILITIES)
    except OSError:
        return None
    return "; ".join(f"{name}: {_text(root, f'{VULNERABILITIES}/{name}')}" for name in names)


def _read_options(root: Root, release: str | None) -> Iterator[tuple[str, str]]:
    """Yield (symbol, value) from the first kernel configuration that can be read."""
    for path in (CONFIG_GZ, *config_files(str(release))):
        try:
            data = root.read(path)
            yield from parse_kconfig(
                gunzip(data) if path == CONFIG_GZ else data, (KSTACK_OPTION, DEBUG_OPTION)
            )
        except (OSError, ValueError):
            continue
        else:
            return


def _is_kstack_randomized(line: str, options: Mapping[str, str]) -> bool | None:
    given = [value for name, value in parse_parameters(line) if name == KSTACK]
    return given[-1] in ("1", "y", "on", None) if given else _is_set(options.get(KSTACK_OPTION))


def _is_set(value: str | None) -> bool | None:
    return {"y": True, "n": False}.get(value or "")


def _read_each_cpu(root: Root, name: str) -> str | None:
    """Read a file of each online CPU; return the different values."""
    values = {_text(root, cpu_device(cpu, name)) for cpu in read_online(root)}
    return ", ".join(sorted(value for value in values if value)) or None


def _read_seccomp(root: Root) -> bool | None:
    found = re.search(r"^Seccomp:\s*(\d)", _text(root, OWN_STATUS) or "", re.MULTILINE)
    return found[1] != "0" if found else None


def _read_mhz() -> int | None:
    try:
        found = psutil.cpu_freq()
    except (OSError, NotImplementedError, ValueError):  # psutil takes the number of a policy for a CPU
        return None
    return round(found.current) if found else None


def _model(host: HostDocument, cpuinfo: str) -> str | None:
    if host["architecture"] == "arm64":
        return host["model"]
    model = re.search(r"^model name\s*: (.*)$", cpuinfo, re.MULTILINE)
    return model[1] if model else None


def _virtual(host: HostDocument, cpuinfo: str) -> str | None:
    if host["architecture"] == "arm64":
        return host["virtual"]
    return "a hypervisor, by cpuinfo" if " hypervisor" in cpuinfo else None


def _text(root: Root, path: str) -> str | None:
    try:
        return root.read(path).decode("utf-8", "replace").strip()
    except OSError:
        return None


def read_audit() -> bool | None:
    """Ask the kernel whether it audits system calls; None without an answer (linux/audit.h, audit_status)."""
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
