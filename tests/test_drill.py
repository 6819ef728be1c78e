"""Drills without a host: which CPU does what, what is refused, and what every way out restores."""

from __future__ import annotations

import errno
import json
import mmap
import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import cast

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sdeictl.drill import backtrace, lockup, reset, session
from sdeictl.drill.backtrace import refusals_for_backtrace
from sdeictl.drill.case import Case, DrillRefusedError
from sdeictl.drill.helper import ENDED_EARLY, Helper, HelperError, find_stuck
from sdeictl.drill.judge import Observed
from sdeictl.drill.plan import make_plan, plan_lines
from sdeictl.drill.reset import ResetRequest, Returned
from sdeictl.drill.result import DrillResult
from sdeictl.drill.session import Session, observe, restore_settings
from sdeictl.drill.signals import InterruptedDrillError, Signals
from sdeictl.errors import SdeictlError, Status
from sdeictl.host.directory import DirectoryRoot
from sdeictl.host.live import LiveRoot
from sdeictl.host.paths import CONSOLE_LEVEL, WATCHDOG_THRESH
from sdeictl.host.root import Root
from sdeictl.interlock import bpf
from sdeictl.interlock.bpf import BpfWindow
from sdeictl.interlock.journal import (
    Aftermath,
    Entry,
    JournalError,
    Setting,
    close_journal,
    read_journal,
    write_journal,
)
from sdeictl.interlock.lock import BusyError, Lock
from sdeictl.interlock.providers import FoundProviders, find_providers
from sdeictl.interlock.refusals import Reason, ReasonKind, refused_status
from sdeictl.interlock.results import read_results, write_result
from sdeictl.interlock.survey import Survey, forgetful_type, read_survey
from sdeictl.interlock.window import BPF, TEST_LOCKUP, WindowRequest, provider_problem
from sdeictl.probe.collect import collect
from sdeictl.probe.drills import DrillKind, DrillOutcome
from sdeictl.probe.facts import HostFacts
from tests.support.drill_story import CONSENT, SURVEY, identity_of, make_result, survey_with_setting
from tests.support.drillable_host import BOOT_ID

MASKED = WindowRequest(masked=True)
PLAIN = WindowRequest(masked=False)


def test_good_host_has_no_refusals() -> None:
    assert list(refusals_for_backtrace(SURVEY, PLAIN)) == []
    assert list(refusals_for_backtrace(SURVEY, MASKED)) == []


@pytest.mark.parametrize(
    ("survey", "request_", "fact", "status"),
    [
        (
            SURVEY._replace(facts=HostFacts(architecture="x86")), PLAIN,
            "This host is not arm64 (x86)", Status.UNKNOWN,
        ),
        (SURVEY._replace(facts=HostFacts()), PLAIN, "This host is not arm64 (unknown)", Status.UNKNOWN),
        (SURVEY._replace(privileged=False), PLAIN, "run it as root", Status.UNKNOWN),
        (SURVEY._replace(has_sysrq=False), PLAIN, "CONFIG_MAGIC_SYSRQ", Status.UNKNOWN),
        (SURVEY._replace(online=()), PLAIN, "cannot be read", Status.UNKNOWN),
        (SURVEY._replace(online=(5,)), PLAIN, "CPU 5 is the only one online", Status.UNKNOWN),
        (SURVEY._replace(has_cpu_latency=False), PLAIN, "/dev/cpu_dma_latency", Status.REFUSED),
        (SURVEY._replace(moving=(2,)), PLAIN, "CPU 2 is going online or offline", Status.REFUSED),
        (SURVEY, MASKED._replace(cpu=9), "CPU 9 is not online", Status.REFUSED),
        (SURVEY, MASKED._replace(seconds=5.5), "than 5 s, half of watchdog_thresh", Status.REFUSED),
        (survey_with_setting(WATCHDOG_THRESH, "2"), MASKED, "longer than 1 s", Status.REFUSED),
        (
            survey_with_setting(WATCHDOG_THRESH, "0"), MASKED._replace(seconds=6),
            "than 5 s", Status.REFUSED,
        ),
        (SURVEY, MASKED._replace(seconds=0.1), "too short", Status.REFUSED),
        (SURVEY, MASKED._replace(seconds=-1), "too short", Status.REFUSED),
        (
            SURVEY._replace(providers=FoundProviders(no_bpf="no BPF", no_test_lockup="no module")), MASKED,
            "for a bounded time: no BPF; no module.", Status.UNKNOWN,
        ),
        (
            SURVEY._replace(online=(0, 1)), MASKED._replace(provider="bpf"),
            "bpf needs 3 CPUs online, and this host has 2", Status.UNKNOWN,
        ),
    ],
)  # fmt: skip
def test_refusal_has_sentence_and_status(
    survey: Survey, request_: WindowRequest, fact: str, status: Status
) -> None:
    reasons = list(refusals_for_backtrace(survey, request_))
    assert any(fact in reason.text for reason in reasons), reasons
    assert all(reason.text[0].isupper() and reason.text.endswith(".") for reason in reasons)
    assert refused_status(reasons) is status


def test_every_reason_is_listed() -> None:
    bad = SURVEY._replace(
        privileged=False, has_sysrq=False, has_cpu_latency=False, moving=(1,),
        providers=FoundProviders(no_bpf="x", no_test_lockup="y"),
    )  # fmt: skip
    reasons = refusals_for_backtrace(bad, MASKED._replace(cpu=7, seconds=60))
    assert [reason.kind for reason in reasons] == [
        "privilege", "provider", "policy", "policy", "policy", "policy", "provider",
    ]  # fmt: skip


cpu_sets = st.sets(st.integers(0, 300), min_size=2, max_size=12).map(lambda cpus: tuple(sorted(cpus)))


@given(online=cpu_sets, isolated=st.sets(st.integers(0, 300), max_size=6), data=st.data())
def test_no_helper_runs_on_masked_cpu(
    online: tuple[int, ...], isolated: set[int], data: st.DataObject
) -> None:
    survey = SURVEY._replace(online=online, isolated=tuple(isolated))
    request = WindowRequest(
        masked=data.draw(st.booleans()),
        cpu=data.draw(st.none() | st.sampled_from(online)),
        provider=data.draw(st.sampled_from([None, "bpf", "test_lockup"])),
    )
    assume(not list(refusals_for_backtrace(survey, request)))
    plan = make_plan(request, survey)
    chosen = {plan.trigger, plan.watcher, plan.target, plan.caller} - {None}
    assert chosen <= set(online)
    assert plan.target not in (plan.trigger, plan.watcher, plan.caller) or not request.masked
    assert plan.caller not in (plan.trigger, plan.watcher) or plan.caller is None
    assert (plan.target is not None) is request.masked
    if request.masked:
        assert plan.target == (request.cpu if request.cpu is not None else plan.target)
        assert (plan.caller is None) is (plan.provider is not BPF)
    if len(online) > len(chosen):
        assert plan.trigger != plan.watcher
    assert plan_lines(plan, 7)


def test_reserved_cpus_are_chosen_last() -> None:
    plan = make_plan(MASKED, SURVEY._replace(online=tuple(range(8)), isolated=(0, 1, 6, 7)))
    assert (plan.target, plan.watcher, plan.trigger, plan.caller) == (5, 2, 3, 4)


def test_bpf_needs_a_spare_cpu() -> None:
    assert make_plan(MASKED, SURVEY).provider is BPF
    assert make_plan(MASKED, SURVEY._replace(online=(0, 1, 2))).provider is TEST_LOCKUP
    no_bpf = SURVEY.providers._replace(no_bpf="x")
    assert make_plan(MASKED, SURVEY._replace(providers=no_bpf)).module == "/t.ko"
    no_module = SURVEY.providers._replace(no_test_lockup="why")
    assert provider_problem(TEST_LOCKUP, SURVEY._replace(providers=no_module)) == "why"


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ([errno.EAGAIN] * 4, None),
        ([errno.EAGAIN, errno.EACCES], errno.EACCES),
        ([errno.EAGAIN] * 5, errno.EAGAIN),
        ([errno.EINVAL], None),  # no may_goto: then the program with a counter
        ([errno.EINVAL, errno.EAGAIN], None),
        ([errno.EINVAL, errno.EACCES], errno.EACCES),
    ],
)
def test_signal_during_load_refuses_nothing(
    monkeypatch: pytest.MonkeyPatch, answers: list[int], expected: int | None
) -> None:
    """The kernel's verifier gives up with EAGAIN when a signal is pending; the caller may ask again."""
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


def make_root(directory: Path, files: dict[str, str]) -> DirectoryRoot:
    for path, text in files.items():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_text(text)
    return DirectoryRoot(str(directory))


BOOT_ID_FILE = "proc/sys/kernel/random/boot_id"


def test_survey_is_read_from_files(tmp_path: Path) -> None:
    cpus = "sys/devices/system/cpu"
    root = make_root(tmp_path, {
        f"{cpus}/online": "0-2\n", f"{cpus}/nohz_full": "2\n", f"{cpus}/isolated": "\n",
        f"{cpus}/cpu1/hotplug/state": "100\n", f"{cpus}/cpu1/hotplug/target": "235\n",
        f"{cpus}/cpu0/cpuidle/state1/usage": "4\n",
        "proc/sys/kernel/watchdog_thresh": "10\n", "proc/sys/kernel/printk": "7\t4\t1\t7\n",
        "lib/modules/7.3.4/kernel/lib/test_lockup.ko": "...",
        "sys/kernel/security/lockdown": "none [integrity] confidentiality\n", BOOT_ID_FILE: f"{BOOT_ID}\n",
    })  # fmt: skip
    survey = read_survey(root, collect(root)._replace(release="7.3.4"), providers=True)
    assert (survey.online, survey.isolated, survey.moving) == ((0, 1, 2), (2,), (1,))
    assert (survey.watchdog_thresh, survey.console_level, survey.deep_idle) == (10, 7, True)
    assert "not signed" in survey.providers.no_test_lockup
    assert "bpf_jit_enable" in survey.providers.no_bpf


@pytest.mark.parametrize(
    ("state", "target", "states", "moving"),
    [
        ("236", "236", "236: online", False),
        # The boot CPU of 5.10 and 6.1.
        ("236", "0", "236: online", False),
        ("235", "0", "236: online", True),
        ("236", "0", "235: ap:x", True),
        ("236", "0", "", True),
        ("0", "236", "236: online", True),
    ],
)
def test_cpu_that_moves(tmp_path: Path, state: str, target: str, states: str, *, moving: bool) -> None:
    cpus = "sys/devices/system/cpu"
    root = make_root(tmp_path, {
        f"{cpus}/online": "0\n", f"{cpus}/hotplug/states": f"  0: offline\n{states}\n",
        f"{cpus}/cpu0/hotplug/state": f"{state}\n", f"{cpus}/cpu0/hotplug/target": f"{target}\n",
        BOOT_ID_FILE: f"{BOOT_ID}\n",
    })  # fmt: skip
    assert bool(read_survey(root, collect(root), providers=False).moving) is moving


MODULE = "lib/modules/r/kernel/lib/test_lockup.ko"


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({}, "has no module test_lockup"),
        ({MODULE: "x"}, ""),
        ({f"{MODULE}.xz": "x"}, "does not unpack"),
        ({f"{MODULE}.xz": "x", "sys/module/compression": "xz\n"}, ""),
        ({MODULE: "x", "proc/sys/kernel/modules_disabled": "1\n"}, "keeps modules from being loaded"),
        ({MODULE: "x", "sys/module/module/parameters/sig_enforce": "Y\n"}, "not signed"),
        (
            {
                MODULE: "x~Module signature appended~\n",
                "sys/module/module/parameters/sig_enforce": "Y\n",
            },
            "",
        ),
    ],
)
def test_why_module_cannot_be_used(tmp_path: Path, files: dict[str, str], problem: str) -> None:
    found = find_providers(make_root(tmp_path, files), "r", trial=False).no_test_lockup
    assert (problem in found) if problem else (found == "")


IDENTITY = identity_of(DrillKind.BACKTRACE, None, "20261123T000000.000000Z-backtrace")
QUIET = Setting(CONSOLE_LEVEL, 7, 1)
ENTRY = Entry(IDENTITY.id, DrillKind.BACKTRACE, None, "boot", 1, (QUIET,))


def test_journal_is_read_as_written(tmp_path: Path) -> None:
    directory = str(tmp_path / "state")
    assert read_journal(directory) is None
    write_journal(ENTRY, directory)
    write_journal(ENTRY, directory)
    assert read_journal(directory) == ENTRY
    close_journal(directory)
    close_journal(directory)
    assert read_journal(directory) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"id": 1}', '{"a": 1}', "[" * 100000])
def test_damaged_journal_is_not_empty(tmp_path: Path, text: str) -> None:
    (tmp_path / "journal.json").write_text(text)
    with pytest.raises(JournalError, match="is damaged"):
        read_journal(str(tmp_path))


@pytest.mark.parametrize(
    "setting", [[CONSOLE_LEVEL, "7; reboot", 1], ["/etc/passwd", 7, 1], [CONSOLE_LEVEL], 7]
)
def test_journal_restores_only_known_settings(tmp_path: Path, setting: object) -> None:
    (tmp_path / "journal.json").write_text(json.dumps({**ENTRY._asdict(), "settings": [setting]}))
    with pytest.raises(JournalError, match="is damaged"):
        read_journal(str(tmp_path))


AFTERMATH = Aftermath(True, 3, "ramoops", None, IDENTITY.host, {"0": 4096}, (0, 1))


@pytest.mark.parametrize(
    "damage",
    [
        {"variant": {}}, {"variant": 5}, {"aftermath": {"path": 0}}, {"aftermath": {"path": []}},
        {"aftermath": {"channel": 5}}, {"aftermath": {"tried_in": None}}, {"aftermath": {"online": ["0"]}},
    ],
)  # fmt: skip
def test_journal_of_another_type_is_damaged(tmp_path: Path, damage: dict[str, object]) -> None:
    write_journal(ENTRY._replace(aftermath=AFTERMATH), str(tmp_path))
    journal = tmp_path / "journal.json"
    document = json.loads(journal.read_text())
    for name, value in damage.items():
        whole = document[name]
        document[name] = {**whole, **value} if isinstance(value, dict) and isinstance(whole, dict) else value
    journal.write_text(json.dumps(document))
    with pytest.raises(JournalError, match="is damaged"):
        read_journal(str(tmp_path))


def test_unwritable_journal_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(JournalError, match="cannot be written"):
        write_journal(ENTRY, str(tmp_path / "file"))


@pytest.mark.parametrize(
    ("mounts", "kind"),
    [
        ("22 1 0:20 / / rw - tmpfs tmpfs rw\n", "tmpfs"),
        ("22 1 0:20 / / rw - tmpfs tmpfs rw\n30 22 8:1 / /var rw shared:1 - ext4 /dev/sda1 rw\n", ""),
        ("22 1 8:1 / / rw - ext4 /dev/sda1 rw\n30 22 0:9 / /var/lib rw - overlay o rw\n", "overlay"),
        ("22 1 8:1 / / rw - ext4 /dev/sda1 rw\n30 22 0:9 / /var/li rw - tmpfs o rw\n", ""),
        ("22 1 0:20 / / rw -  \n", ""),
        ("22 1 0:20 / / rw - ", ""),
        ("", ""),
    ],
)
def test_file_system_that_forgets(mounts: str, kind: str) -> None:
    assert forgetful_type("/var/lib/sdeictl", mounts) == kind


def test_one_drill_at_a_time(tmp_path: Path) -> None:
    lock = Lock(str(tmp_path))
    with pytest.raises(BusyError):
        Lock(str(tmp_path))
    lock.release()
    Lock(str(tmp_path), wait_seconds=1).release()


def test_last_result_of_each_drill_counts(tmp_path: Path) -> None:
    for number, variant in (("1", None), ("2", "masked"), ("3", None)):
        result = make_result(DrillKind.BACKTRACE, variant, number, DrillOutcome.PASS)
        write_result(result, b"log", str(tmp_path))
    (tmp_path / "4.json").write_text("{")
    (tmp_path / "5.json").write_text("[1]")
    (tmp_path / "6.json").write_text('{"drill": "backtrace", "variant": null, "id": "6", "outcome": "pass"}')
    whole = make_result(DrillKind.BACKTRACE, None, "7", DrillOutcome.PASS)
    wrong: tuple[dict[str, object], ...] = (
        {"host": 5}, {"id": None}, {"path": []}, {"variant": {}}, {"outcome": []}, {"outcome": ""},
    )  # fmt: skip
    for name, damage in enumerate(wrong, 7):
        (tmp_path / f"{name}.json").write_text(json.dumps({**whole, **damage}))
    stored = read_results(str(tmp_path))
    assert [result["id"] for result in stored.latest] == ["3", "2"]
    assert stored.unreadable == tuple(sorted(str(tmp_path / f"{number}.json") for number in range(4, 13)))
    assert (tmp_path / "1.json").stat().st_mode & 0o777 == 0o644
    assert (tmp_path / "1.log").stat().st_mode & 0o777 == 0o600
    assert read_results(str(tmp_path / "none")).latest == ()


@pytest.mark.parametrize(
    ("found", "settings", "restored"),
    [
        ("1\t4\t1\t7\n", (QUIET,), [(CONSOLE_LEVEL, 7)]),
        ("8\t4\t1\t7\n", (QUIET,), []),  # somebody else has set it since then, and it stays
        ("1\t4\t1\t7\n", (), []),
    ],
)
def test_only_own_changes_are_restored(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    found: str,
    settings: tuple[Setting, ...],
    restored: list[tuple[str, int]],
) -> None:
    done: list[object] = []
    monkeypatch.setattr(session, "fire_setting", lambda *change: done.append(change))
    root = make_root(tmp_path, {"proc/sys/kernel/printk": found})
    restore_settings(root, ENTRY._replace(settings=settings))
    assert done == restored


def case_on(root: Root, survey: Survey = SURVEY) -> Case:
    return Case(cast("LiveRoot", root), IDENTITY, survey)


@pytest.fixture
def trace(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a session does to the lock, the journal and the host, in its order; it does none of it really."""
    steps: list[str] = []
    lock = SimpleNamespace(release=lambda: steps.append("released"))
    monkeypatch.setattr(session, "Lock", lambda: lock)
    monkeypatch.setattr(session, "read_journal", lambda: None)
    monkeypatch.setattr(session, "write_journal", lambda _entry: steps.append("written"))
    monkeypatch.setattr(session, "restore_settings", lambda _root, _entry: steps.append("restored"))
    monkeypatch.setattr(session, "close_journal", lambda: steps.append("closed"))
    monkeypatch.setattr(
        session, "write_result", lambda document, _: steps.append(" ".join(["kept", *document["reasons"]]))
    )
    monkeypatch.setattr(Session, "hold_idle", lambda _self: None)
    monkeypatch.setattr(Session, "check_alive", lambda _self: None)
    monkeypatch.setattr(Session, "change_settings", lambda _self: steps.append("changed"))
    monkeypatch.setattr(Signals, "note", lambda _self: None)
    return steps


class TracedSteps:
    """The steps of a drill that only notes their order; `fire` raises the trouble that a test asks for."""

    def __init__(self, session: Session, trace: list[str], trouble: Exception | None) -> None:
        self._session = session
        self._trace = trace
        self._trouble = trouble

    def place(self) -> None:
        self._session.at_end(lambda: self._trace.append("helpers gone"))

    def fire(self) -> None:
        self._trace.append("fire")
        if self._trouble:
            raise self._trouble

    def look(self) -> None:
        self._trace.append("look")

    def observed(self) -> str:
        return "; ".join(self._session.trouble)


@pytest.mark.parametrize(
    ("trouble", "expected"),
    [
        (None, "written, changed, fire, look, helpers gone, restored, kept, closed, released"),
        (
            InterruptedDrillError("Interrupted."),
            "written, changed, fire, look, helpers gone, restored, kept Interrupted., closed, released",
        ),
        (
            DrillRefusedError(IDENTITY, (Reason(ReasonKind.POLICY, "No."),)),
            "written, changed, fire, helpers gone, restored, closed, released, refused No.",
        ),
        (
            OSError(5, "the disk is gone"),
            "written, changed, fire, helpers gone, restored, released,"
            " status 3: the drill could not go on (the disk is gone);"
            " `sdeictl drill status` shows the changes that remain",
        ),
    ],
)
def test_every_way_out_restores(
    tmp_path: Path, trace: list[str], trouble: Exception | None, expected: str
) -> None:
    try:
        with Session(case_on(make_root(tmp_path, {})), ENTRY, lambda _step: None) as drill:
            seen = observe(drill, TracedSteps(drill, trace, trouble))
            drill.end(DrillResult(DrillOutcome.UNKNOWN, (seen,) if seen else ()))
    except DrillRefusedError as refusal:
        trace.append(f"refused {refusal}")
    except SdeictlError as error:
        trace.append(f"status {error.status:d}: {error}")
    assert ", ".join(trace) == expected


def fail_with(error: Exception) -> Callable[..., object]:
    """Return a function that raises this."""

    def fails(*_arguments: object) -> object:
        raise error

    return fails


@pytest.mark.parametrize(
    ("name", "stand_in", "reason", "expected"),
    [
        ("Lock", fail_with(BusyError()), "policy: Another drill is running", []),
        ("Lock", fail_with(JournalError("No lock.")), "privilege: No lock.", []),
        ("read_journal", lambda: ENTRY, f"policy: The drill {ENTRY.id} has not ended", ["released"]),
        ("read_journal", fail_with(JournalError("Damaged.")), "privilege: Damaged.", ["released"]),
        ("write_journal", fail_with(JournalError("Full.")), "privilege: Full.", ["released"]),
        ("EXPERIMENT_JOURNAL", "/", "policy: An experiment of `bench ab` has not ended", ["released"]),
    ],
)
def test_obstacle_leaves_the_journal_alone(
    monkeypatch: pytest.MonkeyPatch, trace: list[str], name: str, stand_in: object, reason: str,
    expected: list[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(session, name, stand_in)
    with pytest.raises(DrillRefusedError) as refusal, Session(case_on(LiveRoot()), ENTRY, print):
        trace.append("begun")
    (found,) = refusal.value.reasons
    assert f"{found.kind}: {found.text}".startswith(reason)
    assert refusal.value.identity == IDENTITY
    assert trace == expected


RUNS: tuple[tuple[ModuleType, Callable[[], object], object, list[str]], ...] = (
    (backtrace, lambda: backtrace.run_backtrace(PLAIN, print), Observed(), []),
    (lockup, lambda: lockup.run_lockup(None, None, CONSENT, print), Observed(), ["disarmed"]),
    (
        reset, lambda: reset.run_reset(ResetRequest(DrillKind.STOP, None), CONSENT, print),
        Returned("It stayed up.", ()), ["disarmed"],
    ),
)  # fmt: skip
"""For each kind of drill: its module, one run, what the run observes, and what it does first."""


@pytest.mark.parametrize(("module", "run", "observed", "first"), RUNS)
def test_result_is_kept_before_journal_closes(
    monkeypatch: pytest.MonkeyPatch,
    trace: list[str],
    module: ModuleType,
    run: Callable[[], object],
    observed: object,
    first: list[str],
) -> None:
    survey = SURVEY

    def fake_observe(_session: object, _steps: object) -> object:
        trace.append("observed")
        return observed

    monkeypatch.setattr(module, "open_case", lambda *_, **__: case_on(LiveRoot(), survey))
    monkeypatch.setattr(module, "observe", fake_observe)
    if first:
        monkeypatch.setattr(module, "disarm", lambda: trace.append("disarmed"))
    run()
    steps = [step.split()[0] for step in trace]
    assert steps == [*first, "written", "observed", "kept", "closed", "released"]
    trace.clear()
    survey = SURVEY._replace(privileged=False)
    with pytest.raises(DrillRefusedError, match="run it as root"):
        run()
    assert trace == []


class RestlessRoot(DirectoryRoot):
    """A host on which CPU 1 keeps entering a deeper idle state."""

    used = 0

    def read(self, path: str) -> bytes:
        if path.endswith("cpu1/cpuidle/state1/usage"):
            self.used += 1
            return b"%d\n" % self.used
        return super().read(path)


def test_cpu_in_deep_idle_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "QUIET_SECONDS", 0)
    cpus = "sys/devices/system/cpu"
    make_root(tmp_path, {f"{cpus}/cpu{cpu}/cpuidle/state1/usage": "5\n" for cpu in range(3)})
    Session(case_on(DirectoryRoot(str(tmp_path))), ENTRY, print).check_idle()
    restless = Session(case_on(RestlessRoot(str(tmp_path))), ENTRY, print)
    with pytest.raises(DrillRefusedError, match="CPU 1 still enters a deeper idle state"):
        restless.check_idle()


def test_only_an_unreachable_cpu_is_stuck() -> None:
    here = tuple(sorted(os.sched_getaffinity(0)))
    assert find_stuck(here, 20) == ()
    assert find_stuck((*here, 4000), 20) == (4000,)


def test_helper_reports_its_one_action() -> None:
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
    assert idle.finish(20)  # it never got its word, and ends when its parent closes the pipe
    with pytest.raises(HelperError, match="A helper on CPU 4000 is not ready: Invalid argument"):
        Helper(4000, fails).wait_ready(20)
