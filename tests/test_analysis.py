"""Stories on real console logs: the analysis must find what the wedge story did to the host."""

from __future__ import annotations

import pytest

from sdeictl.klog.analysis import analyze
from sdeictl.klog.document import analysis_document
from sdeictl.klog.episodes import (
    Analysis,
    Backtrace,
    CpuAnswer,
    CsdLock,
    HardLockup,
    RcuStall,
    Stop,
    WorkqueueLockup,
)
from sdeictl.klog.log import parse_log
from sdeictl.klog.requests import is_masked
from sdeictl.klog.words import StopReason
from tests.conftest import HOST_NAMES, TESTS, CapturedHost, Golden, load_host, validate
from tests.lab.machines import MACHINES
from tests.support.wedge_story import check_wedge_story, is_reached


def read(log: bytes) -> Analysis:
    return analyze(parse_log(log))


def backtraces(analysis: Analysis) -> list[Backtrace]:
    return [episode for episode in analysis.episodes if isinstance(episode, Backtrace)]


def cpu_of(episode: Backtrace, number: int) -> CpuAnswer:
    return next(cpu for cpu in episode.cpus if cpu.cpu == number)


def test_wedge_story_of_each_host(host: CapturedHost, golden: Golden) -> None:
    document = analysis_document(check_wedge_story(host.name, host.console, host.wedged, host.function))
    validate("analysis-1", document)
    golden.check(f"{host.name}.analysis.json", document)


STALLED = [name for name in HOST_NAMES if (TESTS / "hosts" / name / "stalls.log").exists()]


@pytest.mark.parametrize("name", STALLED)
def test_stall_story_of_each_kernel(name: str, golden: Golden) -> None:
    """CPU 1 is wedged, CPU 2 waits for it in a call, CPU 3 for its work and for a grace period."""
    analysis = read((TESTS / "hosts" / name / "stalls.log").read_bytes())
    document = analysis_document(analysis)
    validate("analysis-1", document)
    golden.check(f"{name}.stalls.json", document)
    found = analysis.episodes
    assert {(each.cpu, each.target) for each in found if isinstance(each, CsdLock)} == {(2, 1)}
    assert any(1 in each.cpus for each in found if isinstance(each, WorkqueueLockup))
    stalls = [each for each in found if isinstance(each, RcuStall)]
    # Before 6.13 an expedited grace period waits for the CPU in a call, which the story avoids.
    assert {each.expedited for each in stalls} == ({False, True} if name == "dt-sdei" else {False})
    assert all(set(each.cpus) <= {1, 2, 3} for each in stalls)
    (stop,) = (each for each in found if isinstance(each, Stop))
    assert (stop.failed, stop.retried) == (((), (1,)) if is_reached(MACHINES[name]) else ((1,), ()))


@pytest.mark.parametrize(
    ("pstate", "pmr", "masked"),
    [
        ("600000c5", None, True),
        ("60000005", None, False),
        ("60000005", "000000c0", True),
        ("60000005", "000000e0", False),
        ("60000005", "000000f0", True),
        ("60000005", "00000000", None),
        ("600000c5", "00000000", True),
        (None, None, None),
    ],
)
def test_masked(pstate: str | None, pmr: str | None, masked: bool | None) -> None:
    assert is_masked(pstate, pmr) is masked


def lines(*texts: str, start: float = 100.0) -> bytes:
    return "".join(f"[{start + index / 1000:12.6f}] {text}\n" for index, text in enumerate(texts)).encode()


SELF = ("NMI backtrace for cpu 0", "CPU: 0 UID: 0 PID: 9 Comm: sh", "Call trace:")
SELF_IPI = (*SELF, " arch_trigger_cpumask_backtrace+0x34/0x40")
SELF_SDEI = (
    *SELF,
    " sdei_nmi_trigger_cpumask_backtrace+0x24/0x34",
    " arch_trigger_cpumask_backtrace+0x18/0x40",
)
SYSRQ = "sysrq: Show backtrace of all active CPUs"
TIMEOUT = "After 10 seconds, these CPUS still haven't responded to the NMI: 1"


def block(cpu: int, pc: str = "spin+0x8/0x24", pstate: str = "600000c5") -> tuple[str, ...]:
    return (
        f"NMI backtrace for cpu {cpu}", f"CPU: {cpu} UID: 0 PID: 81 Comm: sh Not tainted 7.3.4",
        f"pstate: {pstate} (nZCv daIF -PAN -UAO)", f"pc : {pc}", "lr : f+0x1/0x2", "sp : ffff800081fa3cf0",
        "x29: ffff800081fa3cf0", "Call trace:", f" {pc} (P)",
    )  # fmt: skip


def test_initiator_stack_shows_the_path() -> None:
    # Without the lines of the boot a pseudo-NMI looks like a plain IPI: the path is unknown.
    (plain_ipi,) = backtraces(read(lines(SYSRQ, *SELF_IPI, "Sending NMI from CPU 0 to CPUs 1:", TIMEOUT)))
    assert (plain_ipi.path, cpu_of(plain_ipi, 1).state) == ("none", "silent")
    (sdei,) = backtraces(read(lines(SYSRQ, *SELF_SDEI, "Sending NMI from CPU 0 to CPUs 1:", *block(1))))
    assert (sdei.path, cpu_of(sdei, 1).masked) == ("sdei", True)
    (nothing,) = backtraces(read(lines("Sending NMI from CPU 0 to CPUs 1:", TIMEOUT)))
    assert nothing.path == "unknown"


def test_late_answer_and_own_dump() -> None:
    asked = (SYSRQ, *SELF_IPI, "Sending NMI from CPU 0 to CPUs 1-2:", *block(2, pstate="60000005"), TIMEOUT)
    (late,) = backtraces(read(lines(*asked, *block(1, pstate="60000005"))))
    assert [cpu.state for cpu in late.cpus] == ["self", "late", "backtrace"]
    # CPU 1 recovers and sends a request: its own dump does not answer the first request.
    own = tuple(line.replace("cpu 0", "cpu 1").replace("CPU: 0", "CPU: 1") for line in SELF_IPI)
    again = read(lines(*asked, SYSRQ, *own, "Sending NMI from CPU 1 to CPUs 0,2:", *block(0), *block(2)))
    first, second = backtraces(again)
    assert [cpu.state for cpu in first.cpus] == ["self", "silent", "backtrace"]
    assert [cpu.state for cpu in second.cpus] == ["backtrace", "self", "backtrace"]


@pytest.mark.parametrize(("seconds", "state"), [(0.1, "answered"), (8.0, "answered"), (12.0, "silent")])
def test_next_request_ends_the_wait(seconds: float, state: str) -> None:
    asked = (SYSRQ, *SELF_IPI, "Sending NMI from CPU 0 to CPUs 1:")
    (pending,) = backtraces(read(lines(*asked)))
    assert cpu_of(pending, 1).state == "pending"
    first, second = backtraces(read(lines(*asked) + lines(*asked, start=100.0 + seconds)))
    assert (cpu_of(first, 1).state, cpu_of(second, 1).state) == (state, "pending")


def test_untimed_next_request_proves_nothing() -> None:
    asked = ("sysrq: Show backtrace of all active CPUs", "Sending NMI from CPU 0 to CPUs 1:")
    first, _second = backtraces(read("".join(f"{line}\n" for line in (*asked, *asked)).encode()))
    assert states(first) == ["self", "pending"]


def test_detector_waiting_is_secondary() -> None:
    analysis = read(
        lines(
            "watchdog: CPU0: Watchdog detected hard LOCKUP on cpu 1", "Modules linked in:",
            "Sending NMI from CPU 0 to CPUs 1:",
            "watchdog: CPU3: Watchdog detected hard LOCKUP on cpu 0", TIMEOUT,
            "watchdog: CPU3: Watchdog detected hard LOCKUP on cpu 0",
        )
    )  # fmt: skip
    lockups = [episode for episode in analysis.episodes if isinstance(episode, HardLockup)]
    assert [episode.secondary_to for episode in lockups] == [None, 1, None]
    assert backtraces(analysis)[0].trigger == "hard-lockup"


def test_perf_detector_dumps_its_cpu() -> None:
    report = "watchdog: CPU2: Watchdog detected hard LOCKUP on cpu 2"
    (lockup,) = read(lines(report, "Modules linked in:", *block(2)[1:])).episodes
    assert isinstance(lockup, HardLockup)
    assert lockup.has_stack


def test_warning_inside_a_block() -> None:
    warning = ("CPU: 3 UID: 0 PID: 5 Comm: kworker/3:1", *block(3, pc="elsewhere+0x0/0x8")[2:])
    for intruder in (("watchdog: CPU0: Watchdog detected hard LOCKUP on cpu 5",), warning):
        answer = block(1)
        for at in range(1, len(answer)):
            asked = ("Sending NMI from CPU 0 to CPUs 1-2:", *answer[:at], *intruder, *answer[at:])
            (episode,) = backtraces(read(lines(*asked)))
            assert [cpu.state for cpu in episode.cpus] == ["self", "backtrace", "pending"]
            assert cpu_of(episode, 1).pc in (None, "spin+0x8/0x24")


def test_warning_after_damaged_header() -> None:
    for header, state in (("NMI backtrace for cpu 1", "backtrace"), ("NMI backtrace for cpu 1#2", "pending")):
        (episode,) = backtraces(read(lines("Sending NMI from CPU 0 to CPUs 1,12:", header, *block(12)[1:])))
        assert (cpu_of(episode, 1).state, cpu_of(episode, 1).pc) == (state, None)


def test_stalls_hung_tasks_crash_kernel() -> None:
    document = analysis_document(
        read(
            lines(
                "rcu: INFO: rcu_sched detected stalls on CPUs/tasks:",
                "rcu: \t1-...0: (3 ticks this GP) idle=dc2c", "rcu: \t12-...0: (3 ticks this GP)",
                "rcu: \t(detected by 2, t=5256 jiffies, g=-767, q=75 ncpus=4)",
                "Sending NMI from CPU 2 to CPUs 1:", *block(1),
                "watchdog: BUG: soft lockup - CPU#3 stuck for 26s! [kworker/3:1:42]",
                "INFO: task my task:77 blocked in I/O wait for more than 120 seconds.",
                "Kernel panic - not syncing: Hard LOCKUP", "SMP: stopping secondary CPUs",
                "SMP: retry stop with NMI for CPUs 1-2", "SMP: retry stop with SDEI NMI for CPUs 2",
                "SMP: failed to stop secondary CPUs 2", "Starting crashdump kernel...", "Bye!",
            )
        )
    )  # fmt: skip
    kinds = {episode["kind"]: episode for episode in document["episodes"]}
    assert kinds["rcu-stall"]["cpus"] == [1, 12]
    assert kinds["backtrace"]["trigger"] == "rcu-stall"
    assert (kinds["soft-lockup"]["cpu"], kinds["soft-lockup"]["task"]) == (3, "kworker/3:1:42")
    assert (kinds["hung-task"]["task"], kinds["hung-task"]["pid"]) == ("my task", 77)
    assert kinds["stop"]["rungs"] == ["ipi", "pseudo-nmi", "sdei"]
    assert (kinds["stop"]["retried"], kinds["stop"]["failed"]) == ([1, 2], [2])
    assert kinds["crash-kernel"]["handed_over"]


def test_plain_kexec_is_no_crash() -> None:
    assert read(lines("reboot: Restarting system", "SMP: stopping secondary CPUs", "Bye!")).episodes[
        0
    ] == Stop(0, 100.001, StopReason.REBOOT, ("ipi",), (), (), True, False)


def test_boots_keep_their_numbers() -> None:
    analysis = read(load_host("dt-none").console + load_host("dt-sdei").console)
    assert {(e.boot, e.path) for e in backtraces(analysis)} == {(0, "none"), (1, "sdei")}


# Each of these logs once gave a wrong answer.

ASKED_12 = "Sending NMI from CPU 0 to CPUs 1-2:"
BOOTING = "[    0.000000] Booting Linux on physical CPU 0x0000000000 [0x411fd070]\n"
INIT = "[    0.700000] Run /init as init process\n"
IDLE_1 = "NMI backtrace for cpu 1 skipped: idling at cpu_do_idle+0x20/0x74"


def kmsg(*texts: str | int) -> bytes:
    """Return records with consecutive numbers; a number stands for that many lost records."""
    out, sequence = "", 0
    for text in texts:
        if isinstance(text, int):
            sequence += text
        else:
            out += f"6,{sequence},{100_000_000 + sequence * 1000},-;{text}\n"
            sequence += 1
    return out.encode()


def states(episode: Backtrace) -> list[str]:
    return [cpu.state for cpu in episode.cpus]


def test_registers_after_lost_records() -> None:
    for log in (
        kmsg(ASKED_12, "NMI backtrace for cpu 1", 40, *block(2)[2:]),
        lines(ASKED_12, "NMI backtrace for cpu 1")
        + b"** 40 printk messages dropped **\n"
        + lines(*block(2)[2:], start=101),
    ):
        (episode,) = backtraces(read(log))
        assert [cpu.pc for cpu in episode.cpus] == [None, None, None]
        assert states(episode) == ["self", "backtrace", "pending"]


def test_cut_initiator_stack_hides_path() -> None:
    (episode,) = backtraces(read(kmsg(SYSRQ, *SELF, 1, SELF_IPI[-1], "Sending NMI from CPU 0 to CPUs 1:")))
    assert episode.path == "unknown"


def test_dropped_lines_make_boot_incomplete() -> None:
    boot = f"{BOOTING}[    0.100000] x\n** 57 printk messages dropped **\n{INIT}".encode()
    (episode,) = backtraces(read(boot + lines("Sending NMI from CPU 0 to CPUs 1:")))
    assert episode.path == "unknown"


def test_answers_to_an_unseen_request() -> None:
    asked = ("Sending NMI from CPU 0 to CPUs 1:", TIMEOUT)
    report = "watchdog: CPU0: Watchdog detected hard LOCKUP on cpu 1"
    for after in ((40, IDLE_1), (report, *block(1)), (SYSRQ, *block(1))):
        (episode,) = backtraces(read(kmsg(*asked, *after)))
        assert states(episode) == ["self", "silent"]


def test_block_before_the_timeout_counts() -> None:
    begun, rest = block(1)[:2], block(1)[2:]
    (episode,) = backtraces(read(lines("Sending NMI from CPU 0 to CPUs 1:", *begun, TIMEOUT, *rest)))
    assert states(episode) == ["self", "backtrace"]


def test_report_claims_its_own_request() -> None:
    report = lines("watchdog: CPU0: Watchdog detected hard LOCKUP on cpu 1")
    asked = lines(SYSRQ, *SELF_IPI, "Sending NMI from CPU 0 to CPUs 1:", *block(1), start=500)
    lockup = read(report + asked).episodes[0]
    assert isinstance(lockup, HardLockup)
    assert not lockup.has_stack


def test_old_request_makes_no_secondary() -> None:
    log = lines("Sending NMI from CPU 0 to CPUs 1:")
    log += lines("watchdog: CPU3: Watchdog detected hard LOCKUP on cpu 0", start=900)
    lockup = read(log).episodes[1]
    assert isinstance(lockup, HardLockup)
    assert lockup.secondary_to is None


def test_requests_of_a_long_stall() -> None:
    log = lines("rcu: INFO: rcu_sched detected expedited stalls on CPUs/tasks: {")
    for cpu in (1, 2, 3, 4):
        log += lines(f"Sending NMI from CPU 0 to CPUs {cpu}:", start=100 + 12 * cpu)
    assert {episode.trigger for episode in backtraces(read(log))} == {"rcu-stall"}


def test_quoted_boot_line_is_no_fact() -> None:
    pseudo_nmi = "[    0.000000] GICv3: Pseudo-NMIs enabled using relaxed ICC_PMR_EL1 synchronisation\n"
    first = f"{BOOTING}{pseudo_nmi}[    0.500000] a\n{INIT}"
    second = f"{BOOTING}[    0.400000] b\n{INIT.replace('7', '6')}"
    asked = "[   10.000000] Sending NMI from CPU 0 to CPUs 1:\n"
    (quoted,) = backtraces(read(f"{first}{second}{pseudo_nmi}{asked}".encode()))
    assert (quoted.boot, quoted.path) == (1, "none")
    (before_reset,) = backtraces(read(f"{first}{pseudo_nmi}{second}{asked}".encode()))
    assert (before_reset.boot, before_reset.path) == (1, "none")


def test_damaged_quotation_is_no_answer() -> None:
    first, second = block(1), block(2)[:2]
    stamped = [line + b"\n" for line in lines(ASKED_12, *first, *second).splitlines()]
    quote = [line.replace(b"daIF", b"d?IF").replace(b"pc : s", b"pc : ?s") for line in stamped[1:10]]
    (episode,) = backtraces(read(b"".join(stamped + quote)))
    assert cpu_of(episode, 2).pc is None
    assert cpu_of(episode, 2).state == "backtrace"  # its first line is there


@pytest.mark.parametrize(
    "forged",
    [
        "lab login: user  :notice: [  100.100000] ",
        "Nov 23 13:00:06 host app[7]: [  100.100000] ",
        "2026-11-23T13:00:06.123456+00:00 host app: [  100.100000] ",
        "4>[  100.100000] ",
    ],
)
def test_foreign_lines_are_no_evidence(forged: str) -> None:
    (episode,) = backtraces(read(lines("Sending NMI from CPU 0 to CPUs 1:") + f"{forged}{IDLE_1}\n".encode()))
    assert states(episode) == ["self", "pending"]


def test_foreign_syslog_lines_are_no_evidence() -> None:
    log = "Nov 23 13:00:05 host kernel: Sending NMI from CPU 0 to CPUs 1:\n"
    log += f"Nov 23 13:00:06 host app[7]: fake kernel: {IDLE_1}\n"
    (episode,) = backtraces(read(log.encode()))
    assert states(episode) == ["self", "pending"]


@pytest.mark.parametrize("text", ["0-65535", "1,1-", "0-1", "2,1"])
def test_damaged_target_list_ends_request(text: str) -> None:
    asked = "Sending NMI from CPU 0 to CPUs 1:"
    first, unseen = backtraces(read(lines(asked, f"Sending NMI from CPU 0 to CPUs {text}:", IDLE_1)))
    assert states(first) == ["self", "pending"]
    assert (unseen.initiator, states(unseen)) == (None, ["idle"])


def test_only_ascii_digits_are_cpus() -> None:
    asked = "Sending NMI from CPU 0 to CPUs 1:"
    (episode,) = backtraces(read(lines(asked, IDLE_1.replace("cpu 1", "cpu \N{ARABIC-INDIC DIGIT ONE}"))))
    assert states(episode) == ["self", "pending"]
