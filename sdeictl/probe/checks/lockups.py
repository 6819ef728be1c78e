"""The kernel's lockup detectors: which of them run, and what they have counted."""

from __future__ import annotations

from collections.abc import Iterator

from sdeictl.formats.cmdline import wants_pseudo_nmi
from sdeictl.formats.cpulist import parse_cpulist
from sdeictl.host.paths import CMDLINE, COUNTERS, KMSG, RCU, SYSCTLS
from sdeictl.klog.messages.sdei import WATCHDOG_REGISTERED
from sdeictl.probe.checks.check import Check, Witness, configured
from sdeictl.probe.facts import HostFacts
from sdeictl.probe.settings import lacks, number, setting
from sdeictl.probe.words import Owner

HARD_LOCKUP_CHECK = "hard-lockup-detector"
_COUNTERS = ("hardlockup_count", "softlockup_count", "rcu_stall_count")


def _hard(facts: HostFacts) -> Iterator[Witness]:
    log = facts.bootlog
    if log and log.sdei_watchdog and WATCHDOG_REGISTERED in log.sdei_watchdog:
        yield Witness(True, "the boot log says that the SDEI NMI watchdog is registered", KMSG)
    path = f"{SYSCTLS}/nmi_watchdog"
    running = number(facts, path)
    yield from _no_threshold(facts)
    off = log.detector_off if log and not log.detector_on else None
    if running == 0:
        why = f"; the boot log says: {off}" if off else ""
        yield Witness(False, f"kernel.nmi_watchdog reads 0{why}", path, owner=None if off else Owner.ADMIN)
    elif running is not None:
        yield Witness(True, f"kernel.nmi_watchdog reads {running}{_left_out(facts)}", path)
    elif lacks(facts, path):
        yield Witness(False, "the kernel does not have kernel.nmi_watchdog", path)
    if log and log.detector_on:
        yield Witness(True, f"the boot log says: {log.detector_on}", KMSG)
    elif off:
        yield Witness(False, f"the boot log says: {off}", KMSG)
    for witness in configured(facts, "HARDLOCKUP_DETECTOR"):
        if witness.holds is False:
            yield witness
    yield from _perf_without_nmi(facts)


def _perf_without_nmi(facts: HostFacts) -> Iterator[Witness]:
    """The perf detector starts only if its interrupt is an NMI (arch/arm64/kernel/watchdog_hld.c)."""
    asked = None if facts.command_line is None else wants_pseudo_nmi(facts.command_line)
    for witness in configured(facts, "HARDLOCKUP_DETECTOR_PERF"):
        if witness.holds and asked is False:
            seen = "the perf detector needs pseudo-NMI, and the command line does not ask for it"
            yield Witness(False, f"{witness.seen}: {seen}", CMDLINE, owner=Owner.ADMIN)


def _no_threshold(facts: HostFacts) -> Iterator[Witness]:
    """A threshold of 0 stops the detectors, whatever the other sysctls read (kernel/watchdog.c)."""
    path = f"{SYSCTLS}/watchdog_thresh"
    if number(facts, path) == 0:
        yield Witness(False, "kernel.watchdog_thresh is 0", path, owner=Owner.ADMIN)


def _left_out(facts: HostFacts) -> str:
    """Return which CPUs the detectors watch if they skip some, as on hosts with nohz_full=."""
    mask = setting(facts, f"{SYSCTLS}/watchdog_cpumask")
    online = facts.interrupts.cpus if facts.interrupts else None
    watched = len(parse_cpulist(mask)) if mask else None
    return f"; the detector watches only CPUs {mask}" if watched and online and watched < online else ""


def hard_lockup_detector(facts: HostFacts) -> str:
    """Return the hard-lockup detector: `sdei-watchdog`, `buddy`, `perf`, `none` or `unknown`."""
    log = facts.bootlog
    if log and log.sdei_watchdog and WATCHDOG_REGISTERED in log.sdei_watchdog:
        return "sdei-watchdog"
    runs = next((witness.holds for witness in _hard(facts) if witness.holds is not None), None)
    if not runs:
        return "unknown" if runs is None else "none"
    if log and log.detector_on:
        return "perf"
    for kind in ("BUDDY", "PERF"):
        if any(witness.holds for witness in configured(facts, f"HARDLOCKUP_DETECTOR_{kind}")):
            return kind.lower()
    return "unknown"


def _soft(facts: HostFacts) -> Iterator[Witness]:
    path = f"{SYSCTLS}/soft_watchdog"
    running = number(facts, path)
    yield from _no_threshold(facts)
    if running is not None:
        yield Witness(bool(running), f"kernel.soft_watchdog reads {running}", path)
    elif lacks(facts, path):
        yield Witness(False, "the kernel does not have kernel.soft_watchdog", path)


def _hung_task(facts: HostFacts) -> Iterator[Witness]:
    path = f"{SYSCTLS}/hung_task_timeout_secs"
    seconds = number(facts, path)
    if seconds is not None:
        yield Witness(bool(seconds), f"kernel.hung_task_timeout_secs is {seconds}", path)
    elif lacks(facts, path):
        yield Witness(False, "the kernel does not have kernel.hung_task_timeout_secs", path)


def _rcu_stall(facts: HostFacts) -> Iterator[Witness]:
    suppressed = number(facts, f"{RCU}/rcu_cpu_stall_suppress")
    seconds = number(facts, f"{RCU}/rcu_cpu_stall_timeout")
    if suppressed:
        yield Witness(False, "rcupdate.rcu_cpu_stall_suppress is set", f"{RCU}/rcu_cpu_stall_suppress")
    elif suppressed is not None and seconds is not None:
        yield Witness(True, f"RCU reports a stall after {seconds} s", f"{RCU}/rcu_cpu_stall_timeout")


def _seen(facts: HostFacts) -> Iterator[Witness]:
    counts = [(name, number(facts, f"{COUNTERS}/{name}")) for name in _COUNTERS]
    known = [(name, count) for name, count in counts if count is not None]
    for name, count in known:
        if count:
            yield Witness(False, f"{name} is {count}", f"{COUNTERS}/{name}")
    if all(lacks(facts, f"{COUNTERS}/{name}") for name in _COUNTERS):
        yield Witness(None, "this kernel does not count lockups", COUNTERS)
    if known and not any(count for _, count in known):
        yield Witness(True, f"{', '.join(name for name, _ in known)} read 0", COUNTERS)


LOCKUP_CHECKS = (
    Check(
        HARD_LOCKUP_CHECK, None, "A hard-lockup detector runs",
        "A CPU that is stuck with its interrupts masked cannot report itself: another CPU (buddy), a"
        " performance counter's interrupt (perf) or firmware must detect it. A kernel with"
        " CONFIG_ARM64_PSEUDO_NMI=y and without CONFIG_HARDLOCKUP_DETECTOR_PREFER_BUDDY has no hard-lockup"
        " detector unless it boots with pseudo-NMI.",
        "kernel.nmi_watchdog reads 1",
        "Build the kernel with CONFIG_HARDLOCKUP_DETECTOR=y and CONFIG_HARDLOCKUP_DETECTOR_PREFER_BUDDY=y."
        " If it has them, boot without nowatchdog and nmi_watchdog=0, and set kernel.nmi_watchdog to 1 and"
        " kernel.watchdog_thresh to 10.",
        Owner.KERNEL, _hard,
    ),
    Check(
        "soft-lockup-detector", None, "The soft-lockup detector runs",
        "It detects a CPU that takes interrupts but does not schedule.",
        "kernel.soft_watchdog reads 1",
        "Build the kernel with CONFIG_SOFTLOCKUP_DETECTOR=y. If it has it, set kernel.soft_watchdog to 1 and"
        " kernel.watchdog_thresh to 10.",
        Owner.ADMIN, _soft,
    ),
    Check(
        "rcu-stall-detector", None, "The kernel reports RCU stalls",
        "With the report the kernel asks the stuck CPU for its backtrace, by the NMI path of the verdict.",
        "rcupdate.rcu_cpu_stall_suppress is 0",
        "Boot without rcupdate.rcu_cpu_stall_suppress.",
        Owner.ADMIN, _rcu_stall,
    ),
    Check(
        "hung-task-detector", None, "The kernel reports hung tasks",
        "Tasks that wait for a lock of a stuck CPU are often its first sign.",
        "kernel.hung_task_timeout_secs is above 0",
        "Build the kernel with CONFIG_DETECT_HUNG_TASK=y, and set kernel.hung_task_timeout_secs (default:"
        " 120).",
        Owner.ADMIN, _hung_task,
    ),
    Check(
        "no-lockup-seen", None, "The kernel has counted no lockup since the boot",
        "The kernel log has the reports of the detectors: sdeictl analyze shows whether the CPU answered.",
        "the counters of hard lockups, soft lockups and RCU stalls read 0",
        "Read the kernel log: sdeictl analyze /dev/kmsg.",
        Owner.ADMIN, _seen,
    ),
)  # fmt: skip
