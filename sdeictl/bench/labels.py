"""Labels: the conditions that are bad for a benchmark, as sentences."""

from __future__ import annotations

import psutil

from sdeictl.bench.conditions import HostConditions
from sdeictl.bench.words import LoopKind, PseudoNmi
from sdeictl.text import NamedTuple

IDLE_LOAD_PER_CPU = 0.1
MAX_STEAL = 0.01
_Label = tuple[bool, str]
"""(it applies, sentence)"""


class Activity(NamedTuple):
    """The other work of the host during a run."""

    load: float
    """The load average of the last minute."""
    steal: float
    """The fraction of the CPU time that a hypervisor withheld."""


class ActivityWatch:
    """Observes the activity of the host from the moment it is made."""

    def __init__(self) -> None:
        self._before = psutil.cpu_times()

    def see(self) -> Activity:
        """Return the activity until now."""
        now = psutil.cpu_times()
        spent = sum(now) - sum(self._before)
        steal = getattr(now, "steal", 0.0) - getattr(self._before, "steal", 0.0)
        return Activity(round(psutil.getloadavg()[0], 2), round(steal / spent, 4) if spent > 0 else 0.0)


def condition_labels(conditions: HostConditions, before: Activity, after: Activity) -> list[str]:
    """Return the bad conditions of a run. An empty list does not prove that the run was undisturbed."""
    found = (
        *_pseudo_nmi_labels(conditions),
        *_host_labels(conditions, before, after),
        *_call_labels(conditions),
    )
    return [label for holds, label in found if holds]


def _pseudo_nmi_labels(conditions: HostConditions) -> tuple[_Label, ...]:
    state = conditions["pseudo_nmi"]
    return (
        (
            state is None,
            "The state of pseudo-NMI is unknown: run as root, so that sdeictl can read the kernel log.",
        ),
        (
            state == PseudoNmi.ON and conditions["pmr_sync"] is None,
            "Pseudo-NMI is on, but the kernel log no longer shows how the kernel synchronises PMR writes.",
        ),
    )


def _host_labels(conditions: HostConditions, before: Activity, after: Activity) -> tuple[_Label, ...]:
    cpus, governor = conditions["cpus_online"] or 1, conditions["governor"]
    return (
        (
            governor not in (None, "performance"),
            f"The cpufreq governor is {governor}: the clock frequency may change with the load.",
        ),
        (
            before.load > IDLE_LOAD_PER_CPU * cpus,
            f"The host was busy before the run: load {before.load:.1f} on {cpus} CPUs.",
        ),
        (
            after.steal > MAX_STEAL,
            f"A hypervisor withheld {100 * after.steal:.1f} % of the CPU time (steal time).",
        ),
        (
            bool(conditions["virtual"]),
            "This host is a virtual machine: it may share its CPUs, and an emulated CPU does not have the"
            " timing of real hardware.",
        ),
    )


def _call_labels(conditions: HostConditions) -> tuple[_Label, ...]:
    """Return the labels of the loop, and of the system calls in it."""
    cpus, affinity = conditions["cpus_online"] or 1, conditions["affinity"]
    return (
        (
            conditions["loop"] == LoopKind.PYTHON,
            "The loop runs in Python and is 10 to 20 % too slow: sdeictl was installed without a C compiler.",
        ),
        (affinity < cpus, f"This process may use only {affinity} of {cpus} CPUs."),
        (bool(conditions["audit"]), "The kernel audits system calls."),
        (bool(conditions["seccomp"]), "A seccomp filter checks every system call."),
        (
            bool(conditions["debug_priority_masking"]),
            "CONFIG_ARM64_DEBUG_PRIORITY_MASKING is set: the kernel checks each change of the priority mask.",
        ),
    )
