"""What a drill could use on this host, and what would carry its evidence across a reset."""

import re
from collections.abc import Iterator

from sdeictl.probe.checks.check import Check, Witness, configured, number
from sdeictl.probe.facts import HostFacts
from sdeictl.probe.settings import BPF_JIT, CONSOLES, DEBUGFS, INTERRUPTS, LOCKDOWN, PSTORE_BACKEND, SYSCTLS

BPF_CPUS, MODULE_CPUS = 3, 2
"""How many CPUs a drill needs: the target, the trigger, and with BPF a caller."""
_SYSRQ_ALL, _SYSRQ_DUMP = 1, 8
# Virtual terminals and consoles that only swallow; every other one is a port of some kind.
_NO_PORT = re.compile(r"tty\d*|ttynull\d*|netcon.*|ramoops.*|pstore.*")


def _can_mask(facts: HostFacts) -> Iterator[Witness]:
    drills = facts.drills
    online = facts.interrupts.cpus if facts.interrupts else None
    if not drills or online is None:
        return
    if online == 1:
        yield Witness(False, "one CPU is online, there is no other to ask", INTERRUPTS)
    bpf = drills.bpf_jit and not any(w.holds is False for w in configured(facts, "BPF_EVENTS"))
    if bpf and online >= BPF_CPUS:
        yield Witness(True, "by BPF: its compiler is on", BPF_JIT)
    if drills.test_lockup and online >= MODULE_CPUS:
        seen = "by test_lockup: there is a module" + (
            ", but a locked-down kernel takes signed ones" if drills.lockdown != "none" else ""
        )
        yield Witness(None if drills.lockdown != "none" else True, seen, "/lib/modules")
    if drills.bpf_jit is False and drills.test_lockup is False:
        seen = "BPF's compiler is off, and there is no module test_lockup"
        yield Witness(False, seen, BPF_JIT, owner="admin")
    elif drills.bpf_jit and not bpf and drills.test_lockup is False:
        yield Witness(False, "BPF programs cannot be run, and there is no module test_lockup", "/lib/modules")


def _can_wedge(facts: HostFacts) -> Iterator[Witness]:
    if facts.drills and facts.drills.lockdown not in (None, "none"):
        yield Witness(False, f"the kernel is locked down ({facts.drills.lockdown})", LOCKDOWN)
    if facts.drills and facts.drills.lkdtm is not None:
        there = facts.drills.lkdtm
        seen = f"debugfs has {'' if there else 'no '}provoke-crash"
        if there and facts.drills.lockdown is None:
            yield Witness(None, f"{seen}; whether the kernel is locked down could not be seen", LOCKDOWN)
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
    serial = [name for name in evidence.consoles if not _NO_PORT.fullmatch(name)]
    if serial:
        yield Witness(True, f"the console {serial[0]} is a serial port: somebody must record it", CONSOLES)
    if evidence.pstore:
        yield Witness(
            True, f"pstore ({evidence.pstore}) keeps the end of the log, at a panic", PSTORE_BACKEND
        )
    if not (netconsole or serial or evidence.pstore):
        names = ", ".join(evidence.consoles) or "none"
        yield Witness(False, f"the consoles are: {names}", CONSOLES)


def _sysrq(facts: HostFacts) -> Iterator[Witness]:
    path = f"{SYSCTLS}/sysrq"
    mask = number(facts, path)
    if mask is not None:
        yield Witness(mask == _SYSRQ_ALL or bool(mask & _SYSRQ_DUMP), f"kernel.sysrq is {mask}", path)


EVIDENCE_CHECKS = (
    Check(
        "drill-can-mask", "", "A drill can mask a CPU here for a bounded time",
        "Only the stack of a CPU that had its interrupts masked proves the verdict: sdeictl drill backtrace"
        " --masked.",
        "BPF's compiler and three CPUs, or the module test_lockup and two",
        "Set net.core.bpf_jit_enable=1; or build the kernel with CONFIG_TEST_LOCKUP=m.",
        "kernel", _can_mask,
    ),
    Check(
        "drill-can-wedge", "", "A drill can wedge a CPU here for good",
        "A CPU that never comes back shows what the detectors, the stop ladder and kdump do.",
        "LKDTM (debugfs provoke-crash), and no lockdown",
        "On a host that is meant for drills: a kernel with CONFIG_LKDTM, debugfs mounted, no lockdown.",
        "kernel", _can_wedge,
    ),
    Check(
        "evidence-survives", "", "A channel carries the kernel's last words across a reset",
        "What a kernel says when it stops its CPUs is in no file: it must reach a console that is recorded,"
        " or memory that survives.",
        "a serial console, netconsole, or a backend of pstore",
        "Boot with a serial console that the BMC records, or set up netconsole or pstore.",
        "admin", _survives_reset,
    ),
    Check(
        "sysrq-dump", "", "The console's sysrq-l is allowed",
        "By a keyboard or a serial BREAK the request for backtraces needs a bit of kernel.sysrq, which Debian"
        " leaves off. /proc/sysrq-trigger, and so a drill, does without.",
        "kernel.sysrq is 1, or has bit 8",
        "Set kernel.sysrq to 1, or add 8 to it, where the console is trusted.",
        "admin", _sysrq,
    ),
)  # fmt: skip
