"""What a CPU runs that a window would hold up, and that a chosen CPU with such a load must be accepted."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sdeictl.drill.backtrace import refusals_for_backtrace
from sdeictl.drill.plan import make_plan, risk_lines
from sdeictl.host.directory import DirectoryRoot
from sdeictl.host.paths import SYSCTLS
from sdeictl.interlock import load
from sdeictl.interlock.load import Thread, parse_thread, read_loads
from sdeictl.interlock.survey import default_target
from sdeictl.interlock.window import WindowRequest
from tests.support.drill_story import SURVEY, survey_with_setting

KERNEL_FLAGS, USER_FLAGS = 0x208040, 0x400100
FIFO, DEADLINE, NORMAL = 1, 6, 0


def stat_line(pid: int, name: str, cpu: int, flags: int = USER_FLAGS) -> str:
    fields = ["S", *["0"] * 5, str(flags), *["0"] * 29, str(cpu), "0"]
    return f"{pid} ({name}) {' '.join(fields)}\n"


class FakeHost:
    """A host with threads, interrupts and control groups, as files and as answers of the scheduler."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.directory = directory
        self.policies: dict[int, int] = {}
        self.allowed: dict[int, set[int]] = {}
        (directory / "proc").mkdir()
        (directory / "cgroup").mkdir()
        monkeypatch.setattr(load, "PROC", str(directory / "proc"))
        monkeypatch.setattr(load, "CGROUPS", str(directory / "cgroup"))
        monkeypatch.setattr(os, "sched_getscheduler", lambda pid: self.policies[pid])
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid: self.allowed[pid])

    def add_thread(self, pid: int, name: str, cpu: int, policy: int = NORMAL, **more: object) -> None:
        place = self.directory / f"proc/{pid}/task/{pid}"
        place.mkdir(parents=True)
        flags = KERNEL_FLAGS if more.get("kernel") else USER_FLAGS
        (place / "stat").write_text(stat_line(pid, name, cpu, flags))
        self.policies[pid] = policy
        allowed = more.get("allowed", {0, 1, 2, 3})
        assert isinstance(allowed, set)
        self.allowed[pid] = allowed

    def add_group(self, name: str, cpus: str) -> None:
        place = self.directory / "cgroup" / name
        place.mkdir(parents=True)
        (place / "cpuset.cpus").write_text(cpus + "\n")

    def add_interrupt(self, number: int, name: str, counts: str, affinity: str) -> None:
        table = self.directory / "proc/interrupts"
        before = table.read_text() if table.exists() else "           CPU0       CPU1       CPU2       CPU3\n"
        table.write_text(f"{before} {number}: {counts}  GICv3 {number} Level     {name}\n")
        place = self.directory / f"proc/irq/{number}"
        place.mkdir(parents=True)
        (place / "effective_affinity_list").write_text(affinity + "\n")

    def loads(self, *isolated: int) -> dict[int, tuple[str, ...]]:
        return dict(read_loads(DirectoryRoot(str(self.directory)), (0, 1, 2, 3), isolated))


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHost:
    return FakeHost(tmp_path, monkeypatch)


def test_each_kind_of_load(host: FakeHost) -> None:
    host.add_thread(1, "systemd", 0)
    host.add_thread(20, "ptp4l", 2, FIFO)
    host.add_thread(21, "radio", 0, DEADLINE | 0x40000000, allowed={3})
    host.add_thread(22, "CPU 0/KVM", 1)
    host.add_thread(23, "migration/3", 3, FIFO, kernel=True)
    host.add_thread(24, "bash", 1)
    host.add_interrupt(44, "nvme0q3", "0 0 0 991", "3")
    host.add_interrupt(45, "idle", "0 0 0 0", "3")
    host.add_interrupt(46, "arch_timer", "5 5 5 5", "0-3")
    host.add_group("pod1", "1")
    host.add_group("system.slice", "0-3")
    assert host.loads(2) == {
        1: ("virtual CPU CPU 0/KVM", "CPU of the control group pod1"),
        2: ("reserved by isolcpus= or nohz_full=", "real-time task ptp4l"),
        3: ("deadline task radio", "device interrupt nvme0q3"),
    }


def test_pid_1_counts_where_it_must_run(host: FakeHost) -> None:
    host.add_thread(1, "systemd", 2, allowed={2})
    assert host.loads() == {2: ("PID 1 systemd",)}


def test_many_of_a_kind_are_counted(host: FakeHost) -> None:
    for number in range(5):
        host.add_interrupt(50 + number, f"eth0-{number}", "1 0 0 0", "0")
    assert host.loads() == {0: ("device interrupt eth0-0, eth0-1, eth0-2 and 2 more",)}


def test_name_of_a_thread_may_hold_anything() -> None:
    assert parse_thread(stat_line(7, "a) (b", 3)) == Thread(7, "a) (b", False, 3)
    for text in ("", "7", "7 (a", "7 (a) S 1", "x (a) S " + "0 " * 40):
        with pytest.raises((ValueError, IndexError)):
            parse_thread(text)


def test_default_is_the_cpu_with_least() -> None:
    survey = SURVEY._replace(loads={3: ("a", "b"), 2: ("a",), 1: ("a", "b", "c")})
    assert default_target(survey) == 0
    assert default_target(survey._replace(loads={0: ("a",)})) == 3
    assert default_target(survey._replace(loads={}, isolated=(0, 1, 3))) == 2
    assert default_target(survey._replace(isolated=(0, 1, 2, 3))) == 0


LOADED = SURVEY._replace(loads={2: ("real-time task ptp4l", "device interrupt nvme0q3")})
TEXT = "real-time task ptp4l; device interrupt nvme0q3"


@pytest.mark.parametrize(
    ("cpu", "accepted", "refused"),
    [
        (2, None, True), (2, "yes", True), (2, "real-time task ptp4l", True), (2, TEXT, False),
        (2, f" {TEXT.replace(' ', '  ')} ", False), (3, None, False), (None, None, False),
    ],
)  # fmt: skip
def test_load_of_a_chosen_cpu_is_accepted(cpu: int | None, accepted: str | None, refused: bool) -> None:
    request = WindowRequest(masked=True, cpu=cpu, accepted_load=accepted)
    reasons = list(refusals_for_backtrace(LOADED, request))
    assert bool(reasons) is refused
    if refused:
        assert reasons[0].text.startswith(f"CPU 2 is in use: {TEXT}.")
        assert f"--accept-load '{TEXT}'" in reasons[0].text


def test_plan_names_what_is_held_up() -> None:
    request = WindowRequest(masked=True, cpu=2, accepted_load=TEXT)
    target = make_plan(request, LOADED).target
    assert ("risk", f"this is held up: {TEXT}") in risk_lines(LOADED, target)
    assert risk_lines(LOADED, 3) == []


def test_plan_names_requests_to_all() -> None:
    survey = survey_with_setting(f"{SYSCTLS}/softlockup_all_cpu_backtrace", "1")
    text = "softlockup_all_cpu_backtrace is set: a report makes the kernel ask every CPU"
    assert risk_lines(survey, 3) == [("risk", text)]
