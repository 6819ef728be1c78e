"""Names that drivers, firmware and users choose: the known ones appear in a report, others do not. No I/O.

A report and a capture leave the host. So a name appears in them only if it is one of a known vocabulary. The
patterns are text: most probes need few of them, and to compile all takes time.
"""

from __future__ import annotations

import re
from functools import cache

OTHER = "(another name)"
"""What a report shows instead of a name that it does not know."""

_IDLE_DRIVERS = frozenset(
    (
        "psci_idle", "acpi_idle", "arm_idle", "haltpoll_idle", "intel_idle", "little_idle", "big_idle",
        "apple_idle", "spm_idle", "qcom_spm", "sbi_idle", "none",
    )
)  # fmt: skip
_IDLE_WORDS = (
    "cpus?|core|cluster|package|socket|system|soc|big|little|gold|silver|prime|wfi|poll|lpi|arm|idle|standby|sleep"
    r"|deep|light|hotplug|retention|ret|power|powerdown|pwrdn|down|off|collapse|rail|state|pc|c|\d{1,3}"
)
_USUAL_STATES = frozenset(
    ("WFI", "LPI-0", "LPI-1", "LPI-2", "LPI-3", "cpu-sleep", "cluster-sleep", "standby")
)
_IDLE_STATE = rf"(?:(?:{_IDLE_WORDS})(?![a-z])[-_ .+]?){{1,8}}"
_PORTS = (
    "AMA|S|MSM|PS|LP|USB|GS|HS|MXC|mxc|THS|UL|WMT|PCH|SC|O|AML|LF|MV|SA|BMC|HSL|FIQ|SIF|STM|AS|HV|NVT|SG"
    "|ACM|R|SAC|JU"
)
_USUAL_CONSOLES = frozenset(("tty0", "ttyS0", "ttyAMA0", "hvc0", "ttyS1", "ttyAMA1"))
"""sdeictl knows these without a pattern: to compile one takes as long as to read a small host."""
_CONSOLE = rf"tty\d{{0,3}}|tty(?:{_PORTS})\d{{1,3}}|(?:hvc|hvsi|lp|xvc)\d{{1,3}}"
_CONSOLE_KINDS = ("netcon", "ramoops", "pstore", "ttynull")
"""Consoles that are no ports; a number or more follows."""
PSTORE_BACKENDS = frozenset(("ramoops", "efi_pstore", "efi", "erst", "nvram", "pstore_blk", "pstore_zone"))
LOCKDOWN_LEVELS = ("none", "integrity", "confidentiality")
_HYPERVISORS = ("xen", "linux,kvm", "qemu", "vmware", "microsoft,hyperv", "hafnium", "arm,ffa")
METHODS = ("smc", "hvc")
"""How the SDEI node of a device tree says to call firmware."""
NODE = r"sdei(?:@[0-9a-f]{1,16})?"
"""The name of an SDEI node."""
DEVICE_BEGINS = ("sdei.", "GHES.", "agdi.", "firmware:")
PLATFORM_DEVICE = rf"(?:sdei|GHES|agdi)\.\d{{1,5}}|firmware:{NODE}"
"""The platform devices that the ACPI tables SDEI, HEST and AGDI describe, and the node of a device tree."""


def idle_driver(name: str) -> str:
    """Return the name of a driver of cpuidle."""
    return name if name in _IDLE_DRIVERS else OTHER


def idle_state(name: str | None, directory: str) -> str:
    """Return the name of an idle state; without a known one that of its directory, such as `state1`."""
    return name if name and is_idle_state(name) else directory


@cache
def is_idle_state(name: str) -> bool:
    """Tell whether an idle state has a usual name, such as `WFI`, `LPI-1` or `cpu-sleep-0`."""
    return name in _USUAL_STATES or re.fullmatch(_IDLE_STATE, name, re.ASCII | re.IGNORECASE) is not None


def console(name: str) -> str:
    """Return the name of a console. It stays of the same kind: a port, or none."""
    if name in _USUAL_CONSOLES or re.fullmatch(_CONSOLE, name, re.ASCII):
        return name
    return next((kind for kind in _CONSOLE_KINDS if name.startswith(kind)), OTHER)


def pstore_backend(name: str) -> str:
    """Return the name of a backend of pstore."""
    return name if name in PSTORE_BACKENDS else OTHER


def lockdown_level(name: str) -> str:
    """Return the level of the kernel's lockdown."""
    return name if name in LOCKDOWN_LEVELS else OTHER


def hypervisor(name: str) -> str:
    """Return the name of a hypervisor, without its version."""
    return next((known for known in _HYPERVISORS if name.startswith(known)), OTHER)


def method(name: str) -> str:
    """Return a property `method` of an SDEI node."""
    return name if name in METHODS else OTHER


def node(name: str) -> str:
    """Return the name of a node of a device tree that may be the one of SDEI."""
    return name if re.fullmatch(NODE, name, re.ASCII) else OTHER
