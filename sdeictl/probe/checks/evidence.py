"""What drills can use on this host, and what carries their evidence across a reset."""

from __future__ import annotations

from collections.abc import Iterator

from sdeictl.host.paths import (
    BPF_JIT,
    CONSOLES,
    DEBUGFS,
    INTERRUPTS,
    LOCKDOWN,
    MODULES,
    PSTORE_BACKEND,
    SYSCTLS,
)
from sdeictl.probe.checks.check import Check, Witness, configured
from sdeictl.probe.facts import HostFacts
from sdeictl.probe.settings import number
from sdeictl.probe.words import Owner

BPF_CPUS, MODULE_CPUS = 3, 2
"""How many CPUs a drill needs: the target, the trigger, and with BPF a caller."""
_SYSRQ_ALL, _SYSRQ_DUMP = 1, 8
_NO_PORTS = ("ttynull", "netcon", "ramoops", "pstore")
"""Consoles that drop or keep their output."""


def _is_no_port(console: str) -> bool:
    """Tell whether a console is a virtual terminal or one of _NO_PORTS; all others are ports of some kind."""
    return console.startswith(_NO_PORTS) or (console[:3] == "tty" and console[3:].strip("0123456789") == "")


def _can_mask(facts: HostFacts) -> Iterator[Witness]:
    drills = facts.drills
    online = facts.interrupts.cpus if facts.interrupts else None
    if not drills or online is None:
        return
    if online == 1:
        yield Witness(False, "only one CPU is online, so it has no other CPU to ask", INTERRUPTS)
    bpf = drills.bpf_jit and not any(w.holds is False for w in configured(facts, "BPF_EVENTS"))
    if bpf and online >= BPF_CPUS:
        yield Witness(True, "a drill can use BPF: the kernel's BPF compiler is on", BPF_JIT)
    if drills.test_lockup and online >= MODULE_CPUS:
        seen = "a drill can use the module test_lockup" + (
            ", but a locked-down kernel accepts only signed modules" if drills.lockdown != "none" else ""
        )
        yield Witness(None if drills.lockdown != "none" else True, seen, MODULES)
    if drills.bpf_jit is False and drills.test_lockup is False:
        seen = "the BPF compiler is off, and the module test_lockup does not exist"
        yield Witness(False, seen, BPF_JIT, owner=Owner.ADMIN)
    elif drills.bpf_jit and not bpf and drills.test_lockup is False:
        yield Witness(
            False, "this kernel cannot run BPF programs, and the module test_lockup does not exist", MODULES
        )


def _can_wedge(facts: HostFacts) -> Iterator[Witness]:
    if facts.drills and facts.drills.lockdown not in (None, "none"):
        yield Witness(False, f"the kernel is locked down ({facts.drills.lockdown})", LOCKDOWN)
    if facts.drills and facts.drills.lkdtm is not None:
        there = facts.drills.lkdtm
        seen = f"debugfs has {'' if there else 'no '}provoke-crash"
        if there and facts.drills.lockdown is None:
            yield Witness(None, f"{seen}; the lockdown state could not be read", LOCKDOWN)
        else:
            yield Witness(there, seen, DEBUGFS)
    for witness in configured(facts, "LKDTM"):
        if witness.holds is False:
            yield witness


def _survives_reset(facts: HostFacts) -> Iterator[Witness]:
    evidence = facts.evidence
    if not evidence:
        return
    ramoops = evidence.pstore == "ramoops" and evidence.ramoops_console
    if ramoops:
        yield Witness(True, f"ramoops keeps {ramoops} bytes of the console", PSTORE_BACKEND)
    netconsole = any(name.startswith("netcon") for name in evidence.consoles)
    if netconsole:
        yield Witness(True, "netconsole is on", CONSOLES)
    serial = [name for name in evidence.consoles if not _is_no_port(name)]
    if serial:
        yield Witness(
            True, f"the console {serial[0]} is a serial port, which another machine must record", CONSOLES
        )
    if evidence.pstore:
        yield Witness(True, f"pstore ({evidence.pstore}) keeps the end of the log at a panic", PSTORE_BACKEND)
    if not (netconsole or serial or evidence.pstore):
        names = ", ".join(evidence.consoles) or "none"
        yield Witness(False, f"no channel survives a reset; the consoles are: {names}", CONSOLES)


def _sysrq(facts: HostFacts) -> Iterator[Witness]:
    path = f"{SYSCTLS}/sysrq"
    mask = number(facts, path)
    if mask is not None:
        yield Witness(mask == _SYSRQ_ALL or bool(mask & _SYSRQ_DUMP), f"kernel.sysrq is {mask}", path)


EVIDENCE_CHECKS = (
    Check(
        "drill-can-mask", None, "A drill can mask a CPU here for a bounded time",
        "Only the stack of a CPU that had its interrupts masked proves the verdict: sdeictl drill backtrace"
        " --masked.",
        "the BPF compiler and three CPUs, or the module test_lockup and two",
        "Set net.core.bpf_jit_enable=1, or build the kernel with CONFIG_TEST_LOCKUP=m.",
        Owner.KERNEL, _can_mask,
    ),
    Check(
        "drill-can-wedge", None, "A drill can wedge a CPU here for good",
        "Only a CPU that never comes back shows what the detectors, the stop ladder and kdump do.",
        "debugfs has provoke-crash (LKDTM), and the kernel is not locked down",
        "On a host for drills, use a kernel with CONFIG_LKDTM, mount debugfs, and boot without lockdown.",
        Owner.KERNEL, _can_wedge,
    ),
    Check(
        "evidence-survives", None, "A channel carries the last lines of the kernel across a reset",
        "No file gets what the kernel logs while it stops its CPUs. The lines must reach a console that"
        " another machine records, or memory that survives the reset.",
        "a serial console, netconsole, or a pstore backend",
        "Boot with a serial console that the BMC records, or set up netconsole or pstore.",
        Owner.ADMIN, _survives_reset,
    ),
    Check(
        "sysrq-dump", None, "The console's sysrq-l is allowed",
        "A backtrace request from a keyboard or a serial BREAK needs a bit of kernel.sysrq that Debian"
        " leaves off. /proc/sysrq-trigger, which drills use, does not need it.",
        "kernel.sysrq is 1, or has bit 8",
        "Set kernel.sysrq to 1, or add 8 to it, if the console is trusted.",
        Owner.ADMIN, _sysrq,
    ),
)  # fmt: skip
