"""Drills without a host: who is chosen, what is refused, and what a log may prove."""

import errno
import json
import mmap
import os
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sdeictl.drill import session
from sdeictl.drill.helper import ENDED_EARLY, Helper, HelperError, find_stuck
from sdeictl.drill.plan import PROVIDERS, Request, make_plan, plan_lines, usable
from sdeictl.drill.result import refused_status
from sdeictl.drill.session import DrillRefusedError, Session, put_back
from sdeictl.drill.signals import InterruptedDrillError
from sdeictl.errors import Status
from sdeictl.host.root import DirectoryRoot, Root
from sdeictl.interlock import bpf
from sdeictl.interlock.bpf import BpfWindow
from sdeictl.interlock.host import CONSOLE_LEVEL, DrillHost, ModuleFile, read_drill_host
from sdeictl.interlock.journal import (
    BusyError,
    Entry,
    JournalError,
    Lock,
    Setting,
    end_journal,
    read_journal,
    read_results,
    store_result,
    write_journal,
)
from sdeictl.interlock.refusals import Reason, guard
from sdeictl.probe.facts import HostFacts

ARM64 = HostFacts(architecture="arm64")
HOST = DrillHost(
    privileged=True, online=(0, 1, 2, 3), moving=(), isolated=(), watchdog_thresh=10, console_level=7,
    deep_idle=True, has_cpu_latency=True, has_sysrq=True, test_lockup=ModuleFile("/t.ko", compressed=False),
)  # fmt: skip
MASKED = Request(masked=True)
PLAIN = Request(masked=False)


def test_nothing_against_a_good_host() -> None:
    assert guard(ARM64, HOST, PLAIN) == guard(ARM64, HOST, MASKED) == ()


@pytest.mark.parametrize(
    ("facts", "host", "request_", "sentence", "status"),
    [
        (HostFacts(architecture="x86"), HOST, PLAIN, "This is no arm64 host (x86)", Status.UNKNOWN),
        (HostFacts(), HOST, PLAIN, "This is no arm64 host (unknown)", Status.UNKNOWN),
        (ARM64, HOST._replace(privileged=False), PLAIN, "run it as root", Status.UNKNOWN),
        (ARM64, HOST._replace(has_sysrq=False), PLAIN, "CONFIG_MAGIC_SYSRQ", Status.UNKNOWN),
        (ARM64, HOST._replace(online=()), PLAIN, "cannot be read", Status.UNKNOWN),
        (ARM64, HOST._replace(online=(5,)), PLAIN, "CPU 5 is the only one online", Status.UNKNOWN),
        (ARM64, HOST._replace(has_cpu_latency=False), PLAIN, "/dev/cpu_dma_latency", Status.REFUSED),
        (ARM64, HOST._replace(moving=(2,)), PLAIN, "CPU 2 is being taken", Status.REFUSED),
        (ARM64, HOST, MASKED._replace(cpu=9), "CPU 9 is not online", Status.REFUSED),
        (ARM64, HOST, MASKED._replace(seconds=5.5), "than 5 s, half of watchdog_thresh", Status.REFUSED),
        (ARM64, HOST._replace(watchdog_thresh=2), MASKED, "longer than 1 s", Status.REFUSED),
        (ARM64, HOST._replace(watchdog_thresh=0), MASKED._replace(seconds=6), "than 5 s", Status.REFUSED),
        (ARM64, HOST, MASKED._replace(seconds=0.1), "too short", Status.REFUSED),
        (ARM64, HOST, MASKED._replace(seconds=-1), "too short", Status.REFUSED),
        (
            ARM64, HOST._replace(no_bpf="no BPF", no_test_lockup="no module"), MASKED,
            "for a bounded time: no BPF; no module.", Status.UNKNOWN,
        ),
        (
            ARM64, HOST._replace(online=(0, 1)), MASKED._replace(provider="bpf"),
            "bpf needs 3 CPUs online, and there are 2", Status.UNKNOWN,
        ),
    ],
)  # fmt: skip
def test_a_refusal_is_a_sentence_and_a_status(
    facts: HostFacts, host: DrillHost, request_: Request, sentence: str, status: Status
) -> None:
    reasons = guard(facts, host, request_)
    assert any(sentence in reason.text for reason in reasons), reasons
    assert all(reason.text[0].isupper() and reason.text.endswith(".") for reason in reasons)
    assert refused_status(reasons) is status


def test_every_reason_is_listed() -> None:
    bad = HOST._replace(
        privileged=False, has_sysrq=False, has_cpu_latency=False, moving=(1,), no_bpf="x", no_test_lockup="y"
    )
    reasons = guard(ARM64, bad, MASKED._replace(cpu=7, seconds=60))
    assert [reason.kind for reason in reasons] == [
        "privilege", "provider", "policy", "policy", "policy", "policy", "provider",
    ]  # fmt: skip


cpu_sets = st.sets(st.integers(0, 300), min_size=2, max_size=12).map(lambda cpus: tuple(sorted(cpus)))


@given(online=cpu_sets, isolated=st.sets(st.integers(0, 300), max_size=6), data=st.data())
def test_nobody_works_on_the_masked_cpu(
    online: tuple[int, ...], isolated: set[int], data: st.DataObject
) -> None:
    host = HOST._replace(online=online, isolated=tuple(isolated))
    request = Request(
        masked=data.draw(st.booleans()),
        cpu=data.draw(st.none() | st.sampled_from(online)),
        provider=data.draw(st.sampled_from([None, "bpf", "test_lockup"])),
    )
    assume(not guard(ARM64, host, request))
    plan = make_plan(request, host)
    chosen = {plan.trigger, plan.watcher, plan.target, plan.caller} - {None}
    assert chosen <= set(online)
    assert plan.target not in (plan.trigger, plan.watcher, plan.caller) or not request.masked
    assert plan.caller not in (plan.trigger, plan.watcher) or plan.caller is None
    assert (plan.target is not None) is request.masked
    if request.masked:
        assert plan.target == (request.cpu if request.cpu is not None else plan.target)
        assert (plan.caller is None) is (plan.provider is not PROVIDERS[0])
    if len(online) > len(chosen):
        assert plan.trigger != plan.watcher
    assert plan_lines(plan, 7)


def test_cpus_set_apart_are_the_last_choice() -> None:
    plan = make_plan(MASKED, HOST._replace(online=tuple(range(8)), isolated=(0, 1, 6, 7)))
    assert (plan.target, plan.watcher, plan.trigger, plan.caller) == (5, 2, 3, 4)


def test_bpf_is_taken_before_the_module_where_a_cpu_is_left_to_watch() -> None:
    assert make_plan(MASKED, HOST).provider is PROVIDERS[0]
    assert make_plan(MASKED, HOST._replace(online=(0, 1, 2))).provider is PROVIDERS[1]
    assert make_plan(MASKED, HOST._replace(no_bpf="x")).module == "/t.ko"
    assert usable(PROVIDERS[1], HOST._replace(no_test_lockup="why")) == "why"


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ([errno.EAGAIN] * 4, None),
        ([errno.EAGAIN, errno.EACCES], errno.EACCES),
        ([errno.EAGAIN] * 5, errno.EAGAIN),
    ],
)
def test_a_signal_while_the_program_is_loaded_is_no_refusal(
    monkeypatch: pytest.MonkeyPatch, answers: list[int], expected: int | None
) -> None:
    """The kernel's verifier gives up with EAGAIN when a signal is pending, and may be asked again."""
    left = iter(answers)

    def kernel(command: int, _: bytes) -> int:
        if command == bpf._PROG_LOAD and (number := next(left, 0)):
            raise OSError(number, os.strerror(number))
        descriptor = os.memfd_create("stand-in")
        os.truncate(descriptor, mmap.PAGESIZE)
        return descriptor

    monkeypatch.setattr(bpf, "_bpf", kernel)
    if expected is None:
        BpfWindow(1.0).close()
    else:
        with pytest.raises(OSError, match=os.strerror(expected)):
            BpfWindow(1.0)
    assert next(left, None) is None


def tree(directory: Path, files: dict[str, str]) -> DirectoryRoot:
    for path, text in files.items():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_text(text)
    return DirectoryRoot(str(directory))


def test_the_state_of_a_host_is_read_from_its_files(tmp_path: Path) -> None:
    cpus = "sys/devices/system/cpu"
    root = tree(tmp_path, {
        f"{cpus}/online": "0-2\n", f"{cpus}/nohz_full": "2\n", f"{cpus}/isolated": "\n",
        f"{cpus}/cpu1/hotplug/state": "100\n", f"{cpus}/cpu1/hotplug/target": "235\n",
        f"{cpus}/cpu0/cpuidle/state1/usage": "4\n",
        "proc/sys/kernel/watchdog_thresh": "10\n", "proc/sys/kernel/printk": "7\t4\t1\t7\n",
        "lib/modules/7.3.4/kernel/lib/test_lockup.ko": "...",
        "sys/kernel/security/lockdown": "none [integrity] confidentiality\n",
    })  # fmt: skip
    host = read_drill_host(root, "7.3.4", masked=True)
    assert (host.online, host.isolated, host.moving) == ((0, 1, 2), (2,), (1,))
    assert (host.watchdog_thresh, host.console_level, host.deep_idle) == (10, 7, True)
    assert "not signed" in host.no_test_lockup
    assert "bpf_jit_enable" in host.no_bpf


MODULE = "lib/modules/r/kernel/lib/test_lockup.ko"


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({}, "there is no module test_lockup"),
        ({MODULE: "x"}, ""),
        ({f"{MODULE}.xz": "x"}, "does not unpack"),
        ({f"{MODULE}.xz": "x", "sys/module/compression": "xz\n"}, ""),
        (
            {MODULE: "x", "proc/sys/kernel/modules_disabled": "1\n"},
            "is disabled",
        ),
        (
            {MODULE: "x", "sys/module/module/parameters/sig_enforce": "Y\n"},
            "not signed",
        ),
        (
            {
                MODULE: "x~Module signature appended~\n",
                "sys/module/module/parameters/sig_enforce": "Y\n",
            },
            "",
        ),
    ],
)  # fmt: skip
def test_why_the_module_cannot_be_used(tmp_path: Path, files: dict[str, str], problem: str) -> None:
    found = read_drill_host(tree(tmp_path, files), "r", masked=True).no_test_lockup
    assert (problem in found) if problem else (found == "")


QUIET = Setting(CONSOLE_LEVEL, 7, 1)
ENTRY = Entry("20261123T000000.000000Z-backtrace", "backtrace", None, "boot", 1, (QUIET,))


def test_the_journal_comes_back_as_it_was_written(tmp_path: Path) -> None:
    directory = str(tmp_path / "state")
    assert read_journal(directory) is None
    write_journal(ENTRY, directory)
    write_journal(ENTRY, directory)
    assert read_journal(directory) == ENTRY
    end_journal(directory)
    end_journal(directory)
    assert read_journal(directory) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"id": 1}', '{"a": 1}', "[" * 100000])
def test_a_damaged_journal_is_never_taken_for_an_empty_one(tmp_path: Path, text: str) -> None:
    (tmp_path / "journal.json").write_text(text)
    with pytest.raises(JournalError, match="is damaged"):
        read_journal(str(tmp_path))


@pytest.mark.parametrize(
    "setting", [[CONSOLE_LEVEL, "7; reboot", 1], ["/etc/passwd", 7, 1], [CONSOLE_LEVEL], 7]
)
def test_a_journal_that_would_put_back_something_else_is_damaged(tmp_path: Path, setting: object) -> None:
    (tmp_path / "journal.json").write_text(json.dumps(ENTRY._asdict() | {"settings": [setting]}))
    with pytest.raises(JournalError, match="is damaged"):
        read_journal(str(tmp_path))


def test_a_journal_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(JournalError, match="cannot be written"):
        write_journal(ENTRY, str(tmp_path / "file"))


def test_one_drill_at_a_time(tmp_path: Path) -> None:
    lock = Lock(str(tmp_path))
    with pytest.raises(BusyError):
        Lock(str(tmp_path))
    lock.release()
    Lock(str(tmp_path), wait_seconds=1).release()


def test_the_last_result_of_each_drill_counts(tmp_path: Path) -> None:
    for number, variant in ((1, None), (2, "masked"), (3, None)):
        result = {"drill": "backtrace", "variant": variant, "id": number, "outcome": "pass"}
        store_result(str(number), json.dumps(result).encode(), b"log", str(tmp_path))
    (tmp_path / "4.json").write_text("{")
    (tmp_path / "5.json").write_text("[1]")
    stored = read_results(str(tmp_path))
    assert [result["id"] for result in stored.latest] == [3, 2]
    assert stored.unreadable == (str(tmp_path / "4.json"), str(tmp_path / "5.json"))
    assert (tmp_path / "1.json").stat().st_mode & 0o777 == 0o644
    assert (tmp_path / "1.log").stat().st_mode & 0o777 == 0o600
    assert read_results(str(tmp_path / "none")).latest == ()


@pytest.mark.parametrize(
    ("found", "settings", "set_"),
    [
        ("1\t4\t1\t7\n", (QUIET,), [(CONSOLE_LEVEL, 7)]),
        ("8\t4\t1\t7\n", (QUIET,), []),  # somebody else has set it meanwhile: it is theirs
        ("1\t4\t1\t7\n", (), []),
    ],
)
def test_what_a_drill_changed_is_put_back_and_nothing_else(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    found: str,
    settings: tuple[Setting, ...],
    set_: list[tuple[str, int]],
) -> None:
    done: list[object] = []
    monkeypatch.setattr(session, "fire_setting", lambda *change: done.append(change))
    root = tree(tmp_path, {"proc/sys/kernel/printk": found})
    put_back(root, ENTRY._replace(settings=settings))
    assert done == set_


class TracedDrill(Session[str]):
    """A drill that notes in which order things happen; it is refused, or interrupted, where that is asked."""

    def __init__(self, trace: list[str], trouble: Exception | None, root: Root) -> None:
        super().__init__(root, HOST, ENTRY, lambda _step: None)
        self.trace, self._trouble = trace, trouble

    def place(self, stack: ExitStack) -> None:
        stack.callback(self.trace.append, "helpers gone")

    def fire(self) -> None:
        self.trace.append("fire")
        if self._trouble:
            raise self._trouble

    def after(self) -> None:
        self.trace.append("after")

    def observed(self) -> str:
        return "; ".join(self.trouble)


@pytest.mark.parametrize(
    ("trouble", "expected"),
    [
        (None, "written, fire, after, helpers gone, put back, kept , ended, released"),
        (
            InterruptedDrillError("Interrupted."),
            "written, fire, after, helpers gone, put back, kept Interrupted., ended, released",
        ),
        (
            DrillRefusedError(Reason("policy", "No.")),
            "written, fire, helpers gone, put back, ended, released, refused",
        ),
        (OSError(5, "the disk is gone"), "written, fire, helpers gone, put back, released, failed"),
    ],
)
def test_a_journal_ends_when_all_is_put_back_and_the_result_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: Exception | None, expected: str
) -> None:
    trace: list[str] = []
    lock = SimpleNamespace(release=lambda: trace.append("released"))
    monkeypatch.setattr(session, "Lock", lambda: lock)
    monkeypatch.setattr(session, "read_journal", lambda: None)
    monkeypatch.setattr(session, "write_journal", lambda _entry: trace.append("written"))
    monkeypatch.setattr(session, "put_back", lambda _root, _entry: trace.append("put back"))
    monkeypatch.setattr(session, "end_journal", lambda: trace.append("ended"))
    monkeypatch.setattr(Session, "_begin", lambda _self, _stack: None)
    drill = TracedDrill(trace, trouble, tree(tmp_path, {}))
    monkeypatch.setattr(drill.signals, "note", lambda: None)
    try:
        drill.run(lambda seen: trace.append(f"kept {seen}"))
    except DrillRefusedError:
        trace.append("refused")
    except OSError:
        trace.append("failed")
    assert ", ".join(trace) == expected


class RestlessRoot(DirectoryRoot):
    """A host on which CPU 1 goes on to use a deeper idle state."""

    used = 0

    def read(self, path: str) -> bytes:
        if path.endswith("cpu1/cpuidle/state1/usage"):
            self.used += 1
            return b"%d\n" % self.used
        return super().read(path)


def test_a_cpu_that_cannot_be_held_out_of_deep_idle_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "QUIET_SECONDS", 0)
    cpus = "sys/devices/system/cpu"
    states = {f"{cpus}/cpu{cpu}/cpuidle/state1/usage": "5\n" for cpu in range(3)}
    tree(tmp_path, states)
    for root, refused in ((RestlessRoot(str(tmp_path)), True), (DirectoryRoot(str(tmp_path)), False)):
        drill: Session[None] = Session(root, HOST, ENTRY, print)
        if refused:
            with pytest.raises(DrillRefusedError, match="CPU 1 still enters a deeper idle state"):
                drill.check_idle()
        else:
            drill.check_idle()


def test_what_runs_nowhere_is_stuck_and_what_runs_is_not() -> None:
    here = tuple(sorted(os.sched_getaffinity(0)))
    assert find_stuck(here, 20) == ()
    assert find_stuck((*here, 4000), 20) == (4000,)


def test_a_helper_does_one_thing_and_says_what_came_of_it() -> None:
    cpu = min(os.sched_getaffinity(0))

    def fails() -> None:
        raise OSError(errno.EPERM, "not permitted")

    for action, result in ((lambda: None, ""), (fails, "not permitted"), (lambda: os._exit(3), ENDED_EARLY)):
        helper = Helper(cpu, action)
        helper.wait_ready(20)
        assert helper.poll() is None
        helper.go()
        assert helper.poll(20) == result
        assert helper.finish(20)
    idle = Helper(cpu, fails)
    idle.wait_ready(20)
    assert idle.finish(20)  # it was never told: it ends with its parent's pipe
    with pytest.raises(HelperError, match="A helper on CPU 4000 is not ready: Invalid argument"):
        Helper(4000, fails).wait_ready(20)
