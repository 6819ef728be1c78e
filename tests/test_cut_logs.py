"""A log that is cut anywhere never shows more than the whole log: the wordings of deployed kernels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from sdeictl.klog.analysis import Source, analyze_files
from sdeictl.klog.episodes import (
    Analysis,
    Backtrace,
    CpuAnswer,
    CrashKernel,
    CsdLock,
    Episode,
    HardLockup,
    RcuStall,
    Stop,
)
from sdeictl.klog.words import CpuState, NmiPath
from tests.test_wordings import CRASH, FILLER, registers

Lines = Sequence[tuple[float, str]]


def at(start: float, *texts: str) -> list[tuple[float, str]]:
    return [(start + index / 100_000, text) for index, text in enumerate(texts)]


BOOT = at(
    0.02, "Linux version 6.8.4 (a@b) #1",
    "GICv3: Pseudo-NMIs enabled using relaxed ICC_PMR_EL1 synchronisation",
)  # fmt: skip
OWN_STACK = (
    "CPU: 1 PID: 9 Comm: sh Not tainted 6.8.4 #1", "Call trace:", " dump_backtrace+0x94/0x114",
    " nmi_trigger_cpumask_backtrace+0x14c/0x178", " arch_trigger_cpumask_backtrace+0x20/0x40",
)  # fmt: skip
LOGS: dict[str, Lines] = {
    "pseudo-nmi of 6.8": [
        *BOOT,
        *at(50, "watchdog: BUG: soft lockup - CPU#1 stuck for 26s! [sh:9]", FILLER),
        *at(51, *OWN_STACK, "Sending NMI from CPU 1 to CPUs 0,2-3:"),
        *at(51.1, "NMI backtrace for cpu 2", *registers(2, "6.8.4", "pmr_save: 00000060")),
        *at(51.2, "NMI backtrace for cpu 0 skipped: idling at cpu_do_idle+0x10/0x20"),
        *at(51.3, "NMI backtrace for cpu 3", *registers(3, "6.8.4", "pmr_save: 000000e0")),
        *at(70, FILLER),
    ],
    "silent CPU of 6.12": [
        *at(20, "sysrq: Show backtrace of all active CPUs", "Sending NMI from CPU 0 to CPUs 1-2:"),
        *at(20.1, "NMI backtrace for cpu 2", *registers(2, "6.12.3", pstate="604000c5")),
        *at(33, "Sending NMI from CPU 0 to CPUs 2:"),
        *at(33.1, "NMI backtrace for cpu 2", *registers(2, "6.12.3", pstate="604000c5")),
        *at(60, FILLER),
    ],
    "hard lockup before 6.14": [
        *at(90, "watchdog: Watchdog detected hard LOCKUP on cpu 5", "Modules linked in: nfs"),
        *at(90.1, *registers(5, "6.6.9", "pmr_save: 00000060")),
        *at(90.2, "Kernel panic - not syncing: Hard LOCKUP", "CPU: 5 PID: 77 Comm: a Not tainted 6.6.9 #1"),
        *at(90.3, "SMP: stopping secondary CPUs"),
        *at(91.3, "SMP: failed to stop secondary CPUs 2,5", FILLER),
    ],
    "crash path before 6.12": [
        *at(90, "Kernel panic - not syncing: boom", "CPU: 3 PID: 77 Comm: load Not tainted 6.6.9 #1"),
        *at(90.3, "SMP: stopping secondary CPUs"),
        *at(91.3, "SMP: failed to stop secondary CPUs 0-3", CRASH),
        *at(91.4, "Some CPUs may be stale, kdump will be unreliable.", "Bye!"),
    ],
    "stop of 6.12": [
        *at(10, "Linux version 6.12.3 (a@b) #1"),
        *at(90, "sysrq: Resetting", "SMP: stopping secondary CPUs"),
        *at(91, "SMP: retry stop with NMI for CPUs 1,4", "SMP: failed to stop secondary CPUs 4", FILLER),
    ],
    "stalls": [
        *at(40, "rcu: INFO: rcu_sched detected stalls on CPUs/tasks:"),
        *at(40.1, "rcu: \t5-....: (1 GPs behind) idle=7db/2/0"),
        *at(40.2, "rcu: \tTasks blocked on level-0 rcu_node (CPUs 0-7): P12"),
        *at(41, "rcu: INFO: rcu_preempt detected expedited stalls on CPUs/tasks: { 1-...D P7 } 77 jiffies"),
        *at(42, "smp: csd: Detected non-responsive CSD lock (#1) on CPU#2, waiting 500 ns for CPU#06 do_x"),
        *at(43, "BUG: workqueue lockup - pool cpus=3 node=0 flags=0x0 nice=0 stuck for 31s!"),
    ],
    "sysrq-l without NMIs": [
        *at(40, "sysrq: Show backtrace of all active CPUs", "sysrq: CPU2:"),
        *at(40.05, "CPU: 2 PID: 1 Comm: sh Not tainted 5.10.0 #1"),
        *at(40.1, "sysrq: CPU0: backtrace skipped as idling", "sysrq: CPU3:", "Task dump for CPU 1:"),
    ],
}  # fmt: skip


def read(lines: Lines) -> Analysis:
    log = "".join(f"[{moment:12.6f}] {text}\n" for moment, text in lines)
    return analyze_files([Source("log", [log.encode()], lambda: ())])


def requests(analysis: Analysis) -> dict[object, Backtrace]:
    return {found.at: found for found in analysis.episodes if isinstance(found, Backtrace)}


def false_claims(cut: Analysis, whole: Analysis) -> Iterator[str]:
    """Yield each claim in the analysis of a cut log that the whole log contradicts or does not make."""
    for found in cut.episodes:
        if isinstance(found, Backtrace):
            yield from _false_about_request(found, whole)
        else:
            peers = [peer for peer in whole.episodes if type(peer) is type(found)]
            if not any(_says_no_more(found, peer) for peer in peers):
                yield f"{found} instead of {peers}"


def _false_about_request(found: Backtrace, whole: Analysis) -> Iterator[str]:
    known = requests(whole)
    peers = [known[found.at]] if found.at in known else list(known.values())
    if found.path not in (NmiPath.UNKNOWN, *(peer.path for peer in peers)):
        yield f"path {found.path}"
    for cpu in found.cpus:
        same = [other for peer in peers for other in peer.cpus if other.cpu == cpu.cpu]
        if not any(_agrees(cpu, other) for other in same):
            yield f"{cpu} instead of {same}"


def _agrees(cpu: CpuAnswer, other: CpuAnswer) -> bool:
    registers_agree = cpu.masked in (None, other.masked) and cpu.pc in (None, other.pc)
    # Without the line of sysrq-l, the CPU that prints itself first may be any.
    softer = {CpuState.SELF: CpuState.BACKTRACE}.get(other.state)
    return registers_agree and cpu.state in (other.state, CpuState.PENDING, softer)


def _says_no_more(found: Episode, peer: Episode) -> bool:
    if isinstance(found, HardLockup) and isinstance(peer, HardLockup):
        fields = ("detected_by", "masked", "pc", "path")
        softer = all(getattr(found, name) in (None, NmiPath.UNKNOWN, getattr(peer, name)) for name in fields)
        return softer and found.cpu == peer.cpu and (peer.has_stack or not found.has_stack)
    if isinstance(found, Stop) and isinstance(peer, Stop):
        if found.failed_exact:
            return set(found.failed) <= set(peer.failed) and (peer.failed_exact or not found.failed)
        return set(peer.failed) <= set(found.failed)
    if isinstance(found, RcuStall) and isinstance(peer, RcuStall):
        return set(found.cpus) <= set(peer.cpus) and set(found.tasks) <= set(peer.tasks)
    if isinstance(found, CrashKernel) and isinstance(peer, CrashKernel):
        return peer.handed_over or not found.handed_over
    if isinstance(found, CsdLock):
        return found == peer
    return True


@pytest.mark.parametrize("name", LOGS)
def test_every_beginning(name: str) -> None:
    whole = read(LOGS[name])
    for end in range(len(LOGS[name])):
        assert list(false_claims(read(LOGS[name][:end]), whole)) == [], f"the first {end} lines"


@pytest.mark.parametrize("name", LOGS)
def test_every_end(name: str) -> None:
    whole = read(LOGS[name])
    for start in range(len(LOGS[name])):
        assert list(false_claims(read(LOGS[name][start:]), whole)) == [], f"from line {start}"
