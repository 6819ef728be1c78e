"""Who would notice a stuck CPU: the kernel's detectors, and what they have counted."""

from collections.abc import Iterator

from sdeictl.formats.cpulist import parse_cpulist
from sdeictl.probe.checks.check import Check, Witness, configured, lacks, number, setting
from sdeictl.probe.facts import KMSG, HostFacts
from sdeictl.probe.settings import COUNTERS, RCU, SYSCTLS

_COUNTERS = ("hardlockup_count", "softlockup_count", "rcu_stall_count")


def _hard(facts: HostFacts) -> Iterator[Witness]:
    log = facts.bootlog
    if log and log.sdei_watchdog and "registered successfully" in log.sdei_watchdog:
        yield Witness(True, "the boot log says: SDEI NMI watchdog registered", KMSG)
    path = f"{SYSCTLS}/nmi_watchdog"
    running = number(facts, path)
    yield from _no_threshold(facts)
    if running == 0:
        why = f"; the boot log says: {log.hard_watchdog}" if log and log.hard_watchdog else ""
        owner = "admin" if log is None or not log.hard_watchdog else None
        yield Witness(False, f"kernel.nmi_watchdog reads 0{why}", path, owner=owner)
    elif running is not None:
        yield Witness(True, f"kernel.nmi_watchdog reads {running}{_left_out(facts)}", path)
    elif lacks(facts, path):
        yield Witness(False, "the kernel has no kernel.nmi_watchdog", path)
    for witness in configured(facts, "HARDLOCKUP_DETECTOR"):
        if witness.holds is False:
            yield witness


def _no_threshold(facts: HostFacts) -> Iterator[Witness]:
    """With a threshold of 0 nothing runs, whatever the other sysctls read (kernel/watchdog.c)."""
    path = f"{SYSCTLS}/watchdog_thresh"
    if number(facts, path) == 0:
        yield Witness(False, "kernel.watchdog_thresh is 0", path, owner="admin")


def _left_out(facts: HostFacts) -> str:
    """Return which CPUs the detectors leave out, as on hosts with nohz_full=."""
    mask = setting(facts, f"{SYSCTLS}/watchdog_cpumask")
    online = facts.interrupts.cpus if facts.interrupts else None
    watched = len(parse_cpulist(mask)) if mask else None
    return f"; only CPUs {mask} are watched" if watched and online and watched < online else ""


def hard_lockup_detector(facts: HostFacts) -> str:
    """Return what notices a CPU stuck with interrupts masked: sdei-watchdog, buddy, perf, none, unknown."""
    log = facts.bootlog
    if log and log.sdei_watchdog and "registered successfully" in log.sdei_watchdog:
        return "sdei-watchdog"
    running = number(facts, f"{SYSCTLS}/nmi_watchdog")
    if number(facts, f"{SYSCTLS}/watchdog_thresh") == 0:
        return "none"
    if not running:
        return "none" if running == 0 or lacks(facts, f"{SYSCTLS}/nmi_watchdog") else "unknown"
    if log and log.hard_watchdog and "Enabled" in log.hard_watchdog:
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
        yield Witness(False, "the kernel has no kernel.soft_watchdog", path)


def _hung_task(facts: HostFacts) -> Iterator[Witness]:
    path = f"{SYSCTLS}/hung_task_timeout_secs"
    seconds = number(facts, path)
    if seconds is not None:
        yield Witness(bool(seconds), f"kernel.hung_task_timeout_secs is {seconds}", path)
    elif lacks(facts, path):
        yield Witness(False, "the kernel has no kernel.hung_task_timeout_secs", path)


def _rcu_stall(facts: HostFacts) -> Iterator[Witness]:
    suppressed = number(facts, f"{RCU}/rcu_cpu_stall_suppress")
    seconds = number(facts, f"{RCU}/rcu_cpu_stall_timeout")
    if suppressed:
        yield Witness(False, "rcupdate.rcu_cpu_stall_suppress is set", f"{RCU}/rcu_cpu_stall_suppress")
    elif suppressed is not None and seconds is not None:
        yield Witness(True, f"after {seconds} s", f"{RCU}/rcu_cpu_stall_timeout")


def _seen(facts: HostFacts) -> Iterator[Witness]:
    counts = [(name, number(facts, f"{COUNTERS}/{name}")) for name in _COUNTERS]
    known = [(name, count) for name, count in counts if count is not None]
    for name, count in known:
        if count:
            yield Witness(False, f"{name} is {count}", f"{COUNTERS}/{name}")
    if all(lacks(facts, f"{COUNTERS}/{name}") for name in _COUNTERS):
        yield Witness(None, "this kernel does not count them", COUNTERS)
    if known and not any(count for _, count in known):
        yield Witness(True, f"{', '.join(name for name, _ in known)} read 0", COUNTERS)


LOCKUP_CHECKS = (
    Check(
        "hard-lockup-detector", "", "A hard-lockup detector runs",
        "A CPU that is stuck with its interrupts masked says nothing by itself: another CPU (buddy), a"
        " counter's interrupt (perf) or firmware must notice. A kernel with pseudo-NMI built but"
        " CONFIG_HARDLOCKUP_DETECTOR_PREFER_BUDDY off has no detector at all unless it is booted with"
        " pseudo-NMI.",
        "kernel.nmi_watchdog reads 1",
        "Build the kernel with CONFIG_HARDLOCKUP_DETECTOR=y and CONFIG_HARDLOCKUP_DETECTOR_PREFER_BUDDY=y;"
        " where it is built, boot without nowatchdog and nmi_watchdog=0, and set kernel.nmi_watchdog=1"
        " and kernel.watchdog_thresh to 10.",
        "kernel", _hard,
    ),
    Check(
        "soft-lockup-detector", "", "The soft-lockup detector runs",
        "It notices a CPU that takes interrupts but schedules nothing.",
        "kernel.soft_watchdog reads 1",
        "Build the kernel with CONFIG_SOFTLOCKUP_DETECTOR=y; where it is built, set kernel.soft_watchdog=1"
        " and kernel.watchdog_thresh to 10.",
        "admin", _soft,
    ),
    Check(
        "rcu-stall-detector", "", "RCU stalls are reported",
        "The report asks the stuck CPU for its backtrace: by the path of the verdict.",
        "rcupdate.rcu_cpu_stall_suppress is 0",
        "Boot without rcupdate.rcu_cpu_stall_suppress.",
        "admin", _rcu_stall,
    ),
    Check(
        "hung-task-detector", "", "Hung tasks are reported",
        "Tasks that wait for what a stuck CPU holds are often the first sign of it.",
        "kernel.hung_task_timeout_secs above 0",
        "Set kernel.hung_task_timeout_secs, 120 by default; build the kernel with CONFIG_DETECT_HUNG_TASK=y.",
        "admin", _hung_task,
    ),
    Check(
        "no-lockup-seen", "", "No lockup was counted since the boot",
        "What the detectors have found in this boot is in the kernel log: sdeictl analyze tells whether the"
        " CPU answered.",
        "the counters of hard lockups, soft lockups and RCU stalls read 0",
        "Read the kernel log: sdeictl analyze /dev/kmsg.",
        "admin", _seen,
    ),
)  # fmt: skip
