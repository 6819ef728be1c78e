"""The wordings of kernels from 4.19 to 7.3: each kind of message, and what a naive reading would claim."""

from __future__ import annotations

from typing import Any

import pytest

from sdeictl.klog.analysis import Source, analyze, analyze_files
from sdeictl.klog.document import analysis_document
from sdeictl.klog.log import parse_log
from tests.conftest import validate

REQUEST = "Sending NMI from CPU 1 to CPUs 3:"
OLD = "CPU: 0 PID: 9 Comm: sh Not tainted 5.15.0 #1"
NEW = "CPU: 0 UID: 0 PID: 9 Comm: sh Not tainted 6.12.3 #1"
CRASH = "Starting crashdump kernel..."
FILLER = "usb 2-1: new high-speed USB device"


def document(*texts: str, seconds: tuple[float, ...] = ()) -> dict[str, Any]:
    """Return the analysis of lines 10 us apart; `seconds` sets the times of the last lines."""
    times = [50.0 + index / 100_000 for index in range(len(texts))]
    times[len(times) - len(seconds) :] = seconds
    log = "".join(f"[{at:12.6f}] {text}\n" for at, text in zip(times, texts))
    found = dict(analysis_document(analyze_files([Source("log", [log.encode()], lambda: ())])))
    validate("analysis-1", found)
    # The reader of files leaves out lines that no episode needs.
    assert found["episodes"] == analysis_document(analyze(parse_log(log.encode())))["episodes"]
    return found


def episodes(*texts: str, seconds: tuple[float, ...] = ()) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = document(*texts, seconds=seconds)["episodes"]
    return found


def registers(cpu: int, release: str, *mask: str, pstate: str = "20400005") -> tuple[str, ...]:
    return (
        f"CPU: {cpu} PID: 77 Comm: load Not tainted {release} #1", f"pstate: {pstate} (nzCv daif +PAN -UAO)",
        "pc : busy_wait+0x1c/0x60", "lr : worker+0x8/0x90", "sp : ffff80001234be80", *mask,
        "x29: ffff80001234be80 x28: 0000000000000000", "Call trace:", " busy_wait+0x1c/0x60",
    )  # fmt: skip


def states(episode: dict[str, Any]) -> list[tuple[int, str]]:
    return [(cpu["cpu"], cpu["state"]) for cpu in episode["cpus"]]


@pytest.mark.parametrize("name", ["pmr_save", "pmr"])
@pytest.mark.parametrize(("value", "masked"), [("00000060", True), ("000000a0", True), ("000000e0", False)])
def test_priority_mask_has_two_names(name: str, value: str, *, masked: bool) -> None:
    answer = ("NMI backtrace for cpu 3", *registers(3, "6.8.4", f"{name}: {value}"))
    (found,) = episodes(REQUEST, *answer)
    cpu = found["cpus"][1]
    assert (found["path"], cpu["pmr"], cpu["masked"]) == ("pseudo-nmi", value, masked)


@pytest.mark.parametrize(
    ("lines", "architecture"),
    [
        (("RIP: 0010:busy_wait+0x1c/0x60", "RSP: 0018:ffffc90000a3be80 EFLAGS: 00000246"), "x86"),
        (("epc : busy_wait+0x1c/0x60", " ra : worker+0x8/0x90"), "riscv"),
        (("NIP:  c0000000000a1234 LR: c0000000000a1200 CTR: 0",), "powerpc"),
        ((), None),
    ],
)
def test_header_alone_is_an_answer(lines: tuple[str, ...], architecture: str | None) -> None:
    answer = ("NMI backtrace for cpu 3", "CPU: 3 PID: 77 Comm: load Not tainted 6.8.4 #1", *lines)
    found = document(REQUEST, *answer, FILLER, seconds=(90.0,))
    (request,) = found["episodes"]
    assert states(request) == [(1, "self"), (3, "backtrace")]
    assert (request["cpus"][1]["masked"], request["path"], found["architecture"]) == (
        None,
        "unknown",
        architecture,
    )


@pytest.mark.parametrize(
    ("line", "architecture"),
    [("RIP: 0010:busy_wait+0x1c/0x60", "x86"), ("epc : ffffffff80004b2c ra : ffffffff80004b2c", "riscv")],
)
def test_no_claims_about_other_architectures(line: str, architecture: str) -> None:
    stopped = "watchdog: Watchdog detected hard LOCKUP on cpu 3"
    shown = ("sysrq: Show backtrace of all active CPUs", "sysrq: CPU2:")
    found = document(*shown, REQUEST, "NMI backtrace for cpu 3", *registers(3, "6.8.4"), stopped, line)
    # The block with arm64 registers is forged, so two architectures are seen, and neither is claimed.
    assert found["architecture"] is None
    found = document(*shown, REQUEST, "NMI backtrace for cpu 3", line, stopped)
    assert found["architecture"] == architecture
    assert {episode.get("path") for episode in found["episodes"]} == {"unknown", None}
    assert any("masking and paths are not judged" in note for note in found["notes"])


@pytest.mark.parametrize(
    ("release", "seconds", "state"),
    [
        ("6.8.4", 3.0, "pending"),
        ("6.8.4", 11.0, "silent"),
        ("7.3.4", 11.0, "pending"),
        ("7.3.4", 40.0, "silent"),
    ],
)
def test_log_that_goes_on(release: str, seconds: float, state: str) -> None:
    """Kernels up to 6.18 print no line when they stop waiting; an emulated 7.3 can wait longer than 10 s."""
    line = f"CPU: 1 PID: 9 Comm: sh Not tainted {release} #1"
    (request,) = episodes(line, REQUEST, FILLER, seconds=(60.0, 60.0 + seconds))
    assert states(request) == [(1, "self"), (3, state)]


@pytest.mark.parametrize(("release", "state"), [("6.17.2", "late"), ("7.3.4", "idle")])
def test_answer_after_ten_seconds(release: str, state: str) -> None:
    line = f"CPU: 1 PID: 9 Comm: sh Not tainted {release} #1"
    idle = "NMI backtrace for cpu 3 skipped: idling at cpu_do_idle+0x8/0x10"
    (request,) = episodes(line, REQUEST, idle, seconds=(60.0, 74.0))
    assert states(request) == [(1, "self"), (3, state)]


@pytest.mark.parametrize("prefix", ["watchdog: ", "NMI watchdog: ", ""])
def test_perf_detector_before_it_named_itself(prefix: str) -> None:
    report = (f"{prefix}Watchdog detected hard LOCKUP on cpu 6", "Modules linked in: nfs")
    (found,) = episodes(*report, *registers(6, "6.6.9", "pmr_save: 00000060"))
    wanted = {"cpu": 6, "detected_by": 6, "has_stack": True, "masked": True, "path": "pseudo-nmi"}
    assert {name: found[name] for name in wanted} == wanted
    assert found["pc"] == "busy_wait+0x1c/0x60"


def test_buddy_detector_asks_next() -> None:
    lockup, request = episodes(
        "watchdog: Watchdog detected hard LOCKUP on cpu 3", "Modules linked in:", REQUEST
    )
    assert (lockup["detected_by"], lockup["masked"], lockup["path"]) == (1, None, None)
    assert request["trigger"] == "hard-lockup"
    # Without the request nothing shows which CPU detected it.
    (alone,) = episodes("watchdog: Watchdog detected hard LOCKUP on cpu 3", "Modules linked in:")
    assert (alone["detected_by"], alone["has_stack"], alone["path"]) == (None, False, None)


def test_registers_of_another_cpu() -> None:
    """A dump of CPU 2 after a report about CPU 6 says nothing about CPU 6."""
    (found,) = episodes(
        "watchdog: Watchdog detected hard LOCKUP on cpu 6", *registers(2, "6.6.9", "pmr_save: 000000e0")
    )
    assert (found["detected_by"], found["masked"], found["pc"]) == (None, None, None)


def test_sdei_watchdog_reports_itself() -> None:
    stack = (" watchdog_hardlockup_check+0x1/0x2", " sdei_watchdog_callback+0x3/0x4")
    report = (
        "NMI watchdog: Watchdog detected hard LOCKUP on cpu 6",
        *registers(6, "5.10.0", pstate="804000c5"),
        *stack,
    )
    (found,) = episodes(*report)
    assert (found["path"], found["masked"]) == ("sdei", True)


def test_trigger_is_the_nearest_report() -> None:
    soft = "watchdog: BUG: soft lockup - CPU#1 stuck for 23s! [load:77]"
    hard = "watchdog: Watchdog detected hard LOCKUP on cpu 3"
    assert episodes(soft, hard, REQUEST)[-1]["trigger"] == "hard-lockup"
    assert episodes(hard, soft.replace("CPU#1", "CPU#4"), REQUEST)[-1]["trigger"] == "hard-lockup"
    assert episodes(soft, REQUEST)[-1]["trigger"] == "soft-lockup"
    assert episodes(soft.replace("CPU#1", "CPU#4"), REQUEST)[-1]["trigger"] == "other"


@pytest.mark.parametrize("prefix", ["watchdog: ", "NMI watchdog: ", ""])
def test_soft_lockup_prefixes(prefix: str) -> None:
    (found,) = episodes(f"{prefix}BUG: soft lockup - CPU#4 stuck for 23s! [load:77]")
    assert (found["kind"], found["cpu"], found["seconds"], found["task"]) == ("soft-lockup", 4, 23, "load:77")


@pytest.mark.parametrize(
    "line",
    [
        "rcu: \t3-....: (2100 ticks this GP) idle=1/1/0x4 softirq=9/9 fqs=500",
        "\t3-...: (1 GPs behind) idle=7db/2/0 softirq=4884/4886 fqs=6999",
        "rcu:     3-...!: (0 ticks this GP) idle=1/1/0x4 softirq=9/9 fqs=500",
        "rcu: #0113-...0: (0 ticks this GP) idle=1/1/0x4 softirq=9/9 fqs=500",
        "rcu: \\x093-...0: (0 ticks this GP) idle=1/1/0x4 softirq=9/9 fqs=500",
    ],
)
def test_lines_of_an_rcu_stall(line: str) -> None:
    head = "INFO: rcu_preempt detected stalls on CPUs/tasks:"
    head = f"rcu: {head}" if line.startswith("rcu:") else head
    (found,) = episodes(head, line, "\t(detected by 1, t=5250 jiffies, g=9, q=8)")
    assert (found["cpus"], found["tasks"], found["expedited"]) == ([3], [], False)
    # Without the first line they say nothing, and not for long after it.
    assert episodes(line) == []
    (late,) = episodes(head, line, seconds=(54.0,))
    assert late["cpus"] == []


@pytest.mark.parametrize(
    ("braces", "cpus", "tasks"),
    [("{ 3-.... }", [3], []), ("{ P88 P91 0-...D 3-.... }", [0, 3], [88, 91]), ("{ P88 }", [], [88])],
)
def test_expedited_rcu_stall(braces: str, cpus: list[int], tasks: list[int]) -> None:
    head = (
        f"rcu: INFO: rcu_sched detected expedited stalls on CPUs/tasks: {braces} 30 jiffies s: 5 root: 0x8/T"
    )
    (found,) = episodes(head)
    assert (found["expedited"], found["cpus"], found["tasks"]) == (True, cpus, tasks)


def test_tasks_that_stall_rcu() -> None:
    head = "rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:"
    (found,) = episodes(head, "rcu: \tTasks blocked on level-0 rcu_node (CPUs 0-7): P88/1:b..l P91/2:b..l")
    assert (found["cpus"], found["tasks"]) == ([], [88, 91])


def test_csd_lock_and_stuck_workers() -> None:
    csd = "smp: csd: {} non-responsive CSD lock (#{}) on CPU#1, waiting {} ns for CPU#03 flush+0x0/0x10(0x0)."
    pool = "BUG: workqueue lockup - pool cpus=2-3 flags=0x4 nice=0 stuck for 40s!"
    found = episodes(csd.format("Detected", 1, 5000), REQUEST, csd.format("Continued", 1, 9000), pool)
    assert [(each["kind"], each.get("target")) for each in found][::2] == [
        ("csd-lock", 3),
        ("workqueue-lockup", None),
    ]
    assert found[1]["trigger"] == "csd-lock"
    assert found[2]["cpus"] == [2, 3]


def test_request_for_stuck_workers() -> None:
    """So a booted 7.3 kernel prints it: the request follows from the pool, not from the lockup before."""
    lockup = "watchdog: CPU0: Watchdog detected hard LOCKUP on cpu 1"
    pool = "BUG: workqueue lockup - pool cpus=1 node=0 flags=0x0 nice=0 stuck for 16s!"
    first, again = "Sending NMI from CPU 0 to CPUs 1:", "Sending NMI from CPU 0 to CPUs 2:"
    found = episodes(lockup, first, "NMI backtrace for cpu 1", pool, first, "NMI backtrace for cpu 1", again)
    triggers = [each["trigger"] for each in found if each["kind"] == "backtrace"]
    assert triggers == ["hard-lockup", "other", "other"]


def test_sysrq_before_nmi_backtraces() -> None:
    shown = ("sysrq: CPU1:", "Call trace:", " show_stack+0x1/0x2", "sysrq: CPU0: backtrace skipped as idling")
    asked = ("sysrq: Show backtrace of all active CPUs", *shown, "sysrq: CPU3:")
    (found,) = episodes(*asked, FILLER, seconds=(90.0,))
    assert (found["trigger"], found["path"], found["initiator"]) == ("sysrq-l", "none", 1)
    assert states(found) == [(0, "idle"), (1, "self"), (3, "backtrace")]
    (cut,) = episodes(*shown)
    assert (cut["initiator"], states(cut)) == (None, [(0, "idle"), (1, "backtrace")])


def test_task_dump_is_no_answer() -> None:
    stall, dump = episodes(
        "INFO: rcu_sched self-detected stall on CPU", "\t2-...: (1 GPs behind)", "Task dump for CPU 2:"
    )
    assert (stall["self_detected"], stall["cpus"]) == (True, [2])
    assert (dump["kind"], dump["cpu"]) == ("task-dump", 2)


@pytest.mark.parametrize(
    ("before", "listed", "after", "failed", "exact"),
    [
        # Before 6.12 the list holds the CPU that stops the others.
        ((OLD,), "0,4-5", (FILLER,), [4, 5], True),
        ((), "0,4-5", (FILLER,), [0, 4, 5], False),
        # In the crash path it holds every CPU that was asked.
        ((OLD,), "1-5", (CRASH,), [1, 2, 3, 4, 5], False),
        ((OLD,), "1-5", (), [1, 2, 3, 4, 5], False),
        # From 6.12 on it is exact.
        ((NEW,), "4-5", (CRASH,), [4, 5], True),
        ((NEW,), "4-5", (), [4, 5], True),
        ((), "4", (), [4], True),
    ],
)  # fmt: skip
def test_list_of_unstopped_cpus(
    before: tuple[str, ...], listed: str, after: tuple[str, ...], failed: list[int], *, exact: bool
) -> None:
    ladder = ("SMP: stopping secondary CPUs", f"SMP: failed to stop secondary CPUs {listed}")
    found = episodes("Kernel panic - not syncing: dead", *before, *ladder, *after)
    (stop,) = (episode for episode in found if episode["kind"] == "stop")
    assert (stop["failed"], stop["failed_exact"], stop["failed_unnamed"]) == (failed, exact, False)


def test_unnamed_and_stale_cpus() -> None:
    panic = (
        "Kernel panic - not syncing: dead",
        "SMP: failed to stop secondary CPUs",
        "Starting crashdump kernel...",
    )
    _panic, stop, crash = episodes(*panic, "Some CPUs may be stale, kdump will be unreliable.   ", "Bye!   ")
    assert (stop["failed"], stop["failed_unnamed"]) == ([], True)
    assert (crash["handed_over"], crash["stale_cpus"]) == (True, True)


def test_answers_without_their_request() -> None:
    answer = ("NMI backtrace for cpu 3", *registers(3, "7.3.4", pstate="204000c5"))
    (found,) = episodes(*answer, "NMI backtrace for cpu 4 skipped: idling at cpu_do_idle+0x8/0x10")
    assert (found["initiator"], found["targets"], found["path"]) == (None, [3, 4], "sdei")
    assert states(found) == [(3, "backtrace"), (4, "idle")]
    (timed,) = episodes("After 10 seconds, these CPUS still haven't responded to the NMI: 3,5")
    assert states(timed) == [(3, "silent"), (5, "silent")]
    # A CPU that begins a request prints itself first, without registers.
    own = (
        "NMI backtrace for cpu 1",
        "CPU: 1 PID: 9 Comm: sh Not tainted 7.3.4",
        "Call trace:",
        " dump_stack+0x1/0x2",
    )
    (request,) = episodes(*own, REQUEST)
    assert request["initiator"] == 1


def test_registers_before_linux_4_15() -> None:
    answer = (
        "NMI backtrace for cpu 3", "CPU: 3 PID: 77 Comm: load Not tainted 4.14.0-49.el7a.aarch64 #1",
        "PC is at busy_wait+0x1c/0x60", "LR is at worker+0x8/0x90",
        "pc : [<ffff0000080c1234>] lr : [<ffff0000080c5678>] pstate: 804000c5", "sp : ffff00000a3cbe80",
        "x29: ffff00000a3cbe80 x28: 0000000000000000", "Call trace:",
        "[<ffff0000080c1234>] busy_wait+0x1c/0x60",
    )  # fmt: skip
    found = document(REQUEST, *answer)
    cpu = found["episodes"][0]["cpus"][1]
    assert (cpu["pstate"], cpu["pc"], cpu["masked"]) == ("804000c5", "busy_wait+0x1c/0x60", True)
    assert found["architecture"] == "arm64"


def test_request_before_sdei_was_registered() -> None:
    registered = "sdei_nmi: using SDEI cross-CPU NMI (SDEI_EVENT_SIGNAL, event 0)"
    (early,) = episodes(REQUEST, registered)
    (late,) = episodes(registered, REQUEST)
    assert (early["path"], late["path"]) == ("unknown", "sdei")


STALLS = "rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:"


def test_expedited_stall_between_the_lines_of_another() -> None:
    expedited = "rcu: INFO: rcu_preempt detected expedited stalls on CPUs/tasks: { 3-...D } 21 jiffies s: 77"
    first, second = episodes(STALLS, expedited, "rcu: \t5-....: (900 ticks this GP) idle=ceec/1/0x4")
    assert (first["cpus"], second["cpus"], second["expedited"]) == ([5], [3], True)


@pytest.mark.parametrize("kind", ["stalls", "expedited stalls"])
def test_stall_without_a_list(kind: str) -> None:
    line = f"rcu: INFO: rcu_preempt detected {kind}, but suppressed full report due to a stuck CSD-lock."
    (stall,) = episodes(line)
    assert (stall["kind"], stall["cpus"], stall["expedited"]) == ("rcu-stall", [], kind != "stalls")


def test_answer_after_the_wait_is_not_the_lockup() -> None:
    lockup = "watchdog: CPU4: Watchdog detected hard LOCKUP on cpu 5"
    answer = ("NMI backtrace for cpu 5", *registers(5, "6.17.0", "pmr: 000000e0"))
    times = (100.0, 100.1, *(123.0 + at / 1e5 for at in range(len(answer))), 200.0)
    found = episodes(lockup, "Sending NMI from CPU 4 to CPUs 5:", *answer, FILLER, seconds=times)
    lockup_found, request = found
    assert (lockup_found["has_stack"], lockup_found["masked"], lockup_found["pc"]) == (False, None, None)
    assert states(request) == [(4, "self"), (5, "late")]


@pytest.mark.parametrize("detector", ["", "CPU4: "])
def test_lockup_whose_request_is_cut(detector: str) -> None:
    lockup = f"watchdog: {detector}Watchdog detected hard LOCKUP on cpu 5"
    answer = ("NMI backtrace for cpu 5", *registers(5, "6.12.0", "pmr_save: 000000c0"))
    found, request = episodes(lockup, "Modules linked in:", "Sending NMI from CPU 4 to CPU", *answer)
    assert (found["has_stack"], found["masked"], found["pc"]) == (True, True, "busy_wait+0x1c/0x60")
    assert (request["initiator"], states(request), request["path"]) == (
        None,
        [(5, "backtrace")],
        "pseudo-nmi",
    )


@pytest.mark.parametrize("named", [True, False])
def test_two_lockups_before_their_requests(*, named: bool) -> None:
    reports = (
        f"watchdog: {f'CPU{detector}: ' * named}Watchdog detected hard LOCKUP on cpu {cpu}"
        for detector, cpu in ((4, 5), (1, 2))
    )
    requests = (
        line
        for detector, cpu in ((4, 5), (1, 2))
        for line in (
            f"Sending NMI from CPU {detector} to CPUs {cpu}:", f"NMI backtrace for cpu {cpu}",
            *registers(cpu, "6.12.0", "pmr: 000000c0"),
        )
    )  # fmt: skip
    first, second, *_requests = episodes(*reports, *requests)
    assert [(found["cpu"], found["detected_by"], found["masked"]) for found in (first, second)] == [
        (5, 4, True), (2, 1, True)
    ]  # fmt: skip


def test_oops_names_the_cpu_that_stops_the_others() -> None:
    oops = ("Internal error: Oops: 96000004 [#1] SMP", "CPU: 3 PID: 9 Comm: sh Not tainted 5.15.0 #1")
    panic = "Kernel panic - not syncing: Oops: Fatal exception"
    ladder = (
        "SMP: stopping secondary CPUs",
        "SMP: failed to stop secondary CPUs 3,6",
        "Kernel Offset: disabled",
    )
    stop = episodes(*oops, "Call trace:", panic, *ladder)[-1]
    assert (stop["failed"], stop["failed_exact"]) == ([6], True)
    # Another panic may follow an oops of another CPU.
    stop = episodes(*oops, "Kernel panic - not syncing: hung_task: blocked tasks", *ladder)[-1]
    assert (stop["failed"], stop["failed_exact"]) == ([3, 6], False)


def test_cpu_of_another_task_is_not_the_stopper() -> None:
    lines = (
        ("T77", "Kernel panic - not syncing: hung_task: blocked tasks"),
        ("T88", "CPU: 5 PID: 88 Comm: x Not tainted 5.15.0 #1"),
        ("T77", "CPU: 3 PID: 77 Comm: khungtaskd Not tainted 5.15.0 #1"),
        ("T77", "SMP: stopping secondary CPUs"), ("T77", "SMP: failed to stop secondary CPUs 3,5"),
        ("T77", "Kernel Offset: disabled"),
    )  # fmt: skip
    log = "".join(f"[{100 + at:12.6f}][{caller:>6}] {text}\n" for at, (caller, text) in enumerate(lines))
    _panic, stop = analyze(parse_log(log.encode())).episodes
    assert (getattr(stop, "failed", None), getattr(stop, "failed_exact", None)) == ((5,), True)


def test_compiler_shows_the_architecture() -> None:
    version = "Linux version 6.13.0 (b@h) (riscv64-linux-gnu-gcc (x) 13) #1"
    ladder = ("SMP: stopping secondary CPUs", "SMP: failed to stop secondary CPUs 0-3", "---[ end")
    found = document(version, "Kernel panic - not syncing: x", *ladder)
    assert (found["architecture"], found["episodes"][-1]["failed_exact"]) == ("riscv", False)


def test_request_of_another_cpu_proves_nothing() -> None:
    other = "Sending NMI from CPU 3 to CPUs 2:"
    first, _second = episodes(
        "Sending NMI from CPU 2 to CPUs 0-1:", other, FILLER, seconds=(100.0, 108.0, 200.0)
    )
    assert states(first) == [(0, "silent"), (1, "silent"), (2, "self")]


@pytest.mark.parametrize("blanks", ["\t", "  ", ""])
def test_blanks_after_a_register(blanks: str) -> None:
    answer = ("NMI backtrace for cpu 3", *registers(3, "6.8.4", f"pmr_save:{blanks}000000c0"))
    (found,) = episodes(REQUEST, *answer)
    cpu = found["cpus"][1]
    assert (cpu["pmr"], cpu["masked"]) == ("000000c0", True)


def test_registers_of_arm32_are_not_shown() -> None:
    old = "pc : [<c0108a34>]    lr : [<c0108a30>]    psr: 60000093"
    lines = (
        "NMI backtrace for cpu 3",
        "CPU: 3 PID: 5 Comm: a Not tainted 6.1.0-armmp #1",
        "PC is at idle+0x1/0x2",
        old,
    )
    (found,) = episodes(REQUEST, *lines)
    cpu = found["cpus"][1]
    assert (cpu["state"], cpu["pc"], cpu["pstate"], cpu["masked"]) == ("backtrace", None, None, None)


def test_csd_lock_whose_first_line_is_lost() -> None:
    line = (
        "smp: csd: Continued non-responsive CSD lock (#1) on CPU#12, waiting 900 ns for CPU#03 do_x+0x0/0x9"
    )
    (found,) = episodes(line, line)
    assert (found["cpu"], found["target"]) == (12, 3)


def test_crash_kernel_whose_first_line_is_lost() -> None:
    stale = "Some CPUs may be stale, kdump will be unreliable."
    _panic, found = episodes("Kernel panic - not syncing: x", stale, "Bye!")
    assert (found["kind"], found["stale_cpus"], found["handed_over"]) == ("crash-kernel", True, True)


def test_sysrq_of_linux_4_19() -> None:
    found = episodes("sysrq: SysRq : Show backtrace of all active CPUs", "sysrq: CPU2:", "sysrq: CPU0:")
    assert states(found[0]) == [(0, "backtrace"), (2, "self")]
    stop = episodes("sysrq: SysRq : Resetting", "SMP: stopping secondary CPUs")[0]
    assert stop["reason"] == "reset"


@pytest.mark.parametrize(
    ("pstate", "masked"),
    [
        ("600000c5 (nZCv daIF -PAN -UAO)", True),
        ("60000005 (nZCv daif -PAN -UAO)", False),
        ("1600000c5 (nZCv daIF -PAN -UAO)", True),
        ("100000005 (nZCv daif -PAN -UAO)", False),
        # The console of another program put a digit in.
        ("600000c5a (nZCv daIF -PAN -UAO)", None),
        ("60000005c0 (nZCv daif -PAN -UAO)", None),
        ("600000c5", True),
        ("60000010 (nZCv q A32 LE aif +DIT +SSBS)", False),
    ],
)
def test_digits_and_letters_of_pstate_agree(pstate: str, masked: bool | None) -> None:
    head = ("NMI backtrace for cpu 3", "CPU: 3 PID: 9 Comm: sh Not tainted 7.3.4 #1")
    registers_of = (f"pstate: {pstate}", "pc : spin+0x8/0x24", "x29: 0000000000000000 x28: 0000000000000000")
    (found,) = episodes(REQUEST, *head, *registers_of)
    assert [cpu["masked"] for cpu in found["cpus"] if cpu["cpu"] == 3] == [masked]
