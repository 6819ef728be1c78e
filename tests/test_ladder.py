"""The drills that can cost a host, without a host: what is refused, and what surviving evidence proves."""

from __future__ import annotations

import io
import json
import os
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from sdeictl.drill import reset, resume, session
from sdeictl.drill.after_reset import judge_dump, judge_log
from sdeictl.drill.aftermath import choose_channel
from sdeictl.drill.case import Case, Tell
from sdeictl.drill.catalog import DRILLS, Reset, find_variant
from sdeictl.drill.evidence import find_drill, find_log
from sdeictl.drill.lockup import refusals_for_lockup
from sdeictl.drill.reset import refusals_for_reset
from sdeictl.drill.result import DrillResult
from sdeictl.drill.session import Session
from sdeictl.errors import SdeictlError, Status
from sdeictl.host.live import LiveRoot
from sdeictl.host.paths import (
    CONSOLE_LEVEL,
    HARDLOCKUP_PANIC,
    KEXEC_CRASH_LOADED,
    KEXEC_CRASH_SIZE,
    NMI_WATCHDOG,
    PANIC_SECONDS,
    SYSCTLS,
    WATCHDOG_CPUMASK,
    WORKQUEUE_STALL,
)
from sdeictl.interlock import journal, results
from sdeictl.interlock.arming import MAX_SECONDS, arm, armed_seconds, disarm
from sdeictl.interlock.consent import Consent
from sdeictl.interlock.journal import (
    Aftermath,
    Entry,
    Setting,
    close_journal,
    read_journal,
    write_journal,
)
from sdeictl.interlock.lock import Lock
from sdeictl.interlock.providers import FoundProviders
from sdeictl.interlock.refusals import Reason, refusals_for_dump, refusals_for_risk
from sdeictl.interlock.results import DrillDocument, read_result, read_unresolved, write_result
from sdeictl.interlock.survey import Survey
from sdeictl.interlock.watchdogs import Feeder, Watchdog
from sdeictl.interlock.window import WindowRequest
from sdeictl.probe.drills import DrillKind, DrillOutcome
from sdeictl.probe.facts import DrillAbilities, Evidence
from sdeictl.probe.report import describe_host
from sdeictl.vmcore.core import read_core
from sdeictl.vmcore.open import open_core
from tests.conftest import validate
from tests.support.core_builder import FakeCpu, FakeKernel, address_of, elf_core
from tests.support.drill_story import (
    ARM64,
    CONSENT,
    SURVEY,
    identity_of,
    make_result,
    survey_with_setting,
)

LOCKUP = WindowRequest(masked=True, seconds=25)
BOUNDED_LOCKUP = "lockup"
"""The only drill of this file that leaves the host up."""


@pytest.fixture(autouse=True)
def dump_problems(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Why makedumpfile cannot read this kernel; a test adds the problem that it wants."""
    problems: list[str] = []
    monkeypatch.setattr(reset, "try_makedumpfile", lambda: problems[0] if problems else None)
    return problems


def reset_of(name: str) -> Reset:
    """Return how a drill takes the host down; `name` is its kind and its variant."""
    kind, _, variant = name.partition(" ")
    found = find_variant(kind, variant or None).reset
    assert found is not None
    return found


def refusals(name: str, survey: Survey = SURVEY, consent: Consent = CONSENT) -> list[Reason]:
    if name == BOUNDED_LOCKUP:
        return list(refusals_for_lockup(survey, consent, LOCKUP))
    channel = choose_channel(survey.facts, None)
    return list(refusals_for_reset(reset_of(name), survey, consent, None, channel))


def test_good_host_has_no_refusals() -> None:
    names = [
        " ".join(filter(None, (drill.kind, variant.name)))
        for drill in DRILLS
        for variant in drill.variants
        if variant.reset
    ]
    assert len(names) == 5
    assert [refusals(name) for name in [BOUNDED_LOCKUP, *names]] == [[]] * 6


@pytest.mark.parametrize("name", [BOUNDED_LOCKUP, "stop"])
@pytest.mark.parametrize(
    ("survey", "consent", "fact"),
    [
        (SURVEY._replace(armed=None), CONSENT, "This host is not armed"),
        (SURVEY, Consent(None, "x"), "The name of the host was not given"),
        (SURVEY, Consent("other", "x"), "This host is lab, not other."),
        (SURVEY._replace(tainted=1 << 9 | 1 << 14), CONSENT, "already had a warning and a soft lockup"),
        (SURVEY._replace(users=("alice (pts/3)",)), CONSENT, "Others are logged in: alice (pts/3)."),
        (SURVEY._replace(load=3.0), CONSENT, "its load is 3.0 on 4 CPUs"),
        (SURVEY._replace(free_bytes=1 << 20), CONSENT, "has only 1 MiB of free space"),
        (SURVEY._replace(unresolved=3), CONSENT, "The last 3 drills that can cost the host"),
    ],
)
def test_risk_refuses_every_costly_drill(name: str, survey: Survey, consent: Consent, fact: str) -> None:
    (reason,) = refusals(name, survey, consent)
    assert fact in reason.text
    assert reason.text.endswith(".")
    assert reason.kind == "policy"


def test_module_taint_is_no_trouble() -> None:
    assert refusals(BOUNDED_LOCKUP, SURVEY._replace(tainted=1 << 12 | 1 << 13 | 1 << 18)) == []


def with_watchdog(active: bool | None, timeout: int | None, **more: Any) -> Survey:
    return SURVEY._replace(watchdogs=(Watchdog("watchdog0", active, timeout)._replace(**more),))


def with_evidence(evidence: Evidence) -> Survey:
    return SURVEY._replace(facts=ARM64._replace(evidence=evidence))


def with_lockdown(level: str) -> Survey:
    drills = DrillAbilities(lkdtm=True, test_lockup=True, bpf_jit=True, lockdown=level)
    return SURVEY._replace(facts=ARM64._replace(drills=drills))


@pytest.mark.parametrize(
    ("name", "survey", "fact"),
    [
        ("lockup", survey_with_setting(f"{SYSCTLS}/hung_task_panic", "1"), "hung_task_panic is set"),
        ("lockup", survey_with_setting(f"{SYSCTLS}/panic_on_rcu_stall", "1"), "panic_on_rcu_stall is set"),
        ("lockup", survey_with_setting(NMI_WATCHDOG, "0"), "No hard-lockup detector runs here"),
        ("lockup", survey_with_setting(WATCHDOG_CPUMASK, "0-2"), "does not watch CPU 3"),
        ("lockup", SURVEY._replace(providers=FoundProviders(no_test_lockup="no module")), "no module"),
        ("lockup", with_watchdog(True, 62), "masked for 24.8 s, not for 25 s"),
        ("lockup", with_watchdog(None, 20), "surely waits only 10 s, if it is armed, which the kernel does"),
        ("lockup", with_watchdog(None, None), "may reset the host at any time, if it is armed"),
        ("lockup", with_watchdog(True, 600, time_left=4), "surely waits only 4 s"),
        ("lockup", with_watchdog(True, 600, feeders=(Feeder(1, "systemd", (3,)),)), "may run only on CPU 3"),
        ("stop", with_watchdog(True, 600, feeders=(Feeder(1, "systemd", (3,)),)), "may run only on CPU 3"),
        ("crash wedged", with_watchdog(True, 600), "reset the host 600 s after it was fed last"),
        ("crash all-masked", with_watchdog(None, None), "may be armed and stays so in the crash kernel"),
        ("lockup", SURVEY._replace(heartbeats=("corosync",)), "corosync runs here"),
        ("crash wedged", SURVEY._replace(heartbeats=("sbd",)), "sbd runs here"),
        ("stop", survey_with_setting(f"{SYSCTLS}/softlockup_panic", "1"), "softlockup_panic is set."),
        ("lockup permanent", survey_with_setting(WORKQUEUE_STALL, "5"), "workqueue.panic_on_stall is set."),
        ("stop", SURVEY._replace(crash_types=()), "This kernel has no LKDTM"),
        (
            "crash all-masked", SURVEY._replace(crash_types=("PANIC", "HARDLOCKUP")),
            "LKDTM of this kernel has no PANIC_STOP_IRQOFF",
        ),
        ("stop", with_lockdown("integrity"), "locked down (integrity)"),
        ("stop", with_evidence(Evidence(("ttyAMA0",), None, None)), "no ramoops console"),
        ("stop", with_evidence(Evidence((), "efi_pstore", 0)), "no ramoops console"),
        ("crash wedged", survey_with_setting(KEXEC_CRASH_LOADED, "0"), "No crash kernel"),
        ("crash wedged", survey_with_setting(KEXEC_CRASH_SIZE, "1048576"), "Only 1 MiB are"),
        ("crash wedged", survey_with_setting(PANIC_SECONDS, "0"), "kernel.panic is 0"),
        ("crash hardlockup-panic", survey_with_setting(NMI_WATCHDOG, "0"), "No hard-lockup detector"),
        ("lockup permanent", survey_with_setting(HARDLOCKUP_PANIC, "1"), "hardlockup_panic is set"),
    ],
)  # fmt: skip
def test_obstacle_refuses_its_drill(name: str, survey: Survey, fact: str) -> None:
    (reason,) = refusals(name, survey)
    assert fact in reason.text
    assert reason.text.endswith(".")


def test_way_back_must_be_known() -> None:
    (reason,) = refusals("stop", consent=Consent("lab"))
    assert "Nothing would bring this host back" in reason.text
    assert reason.text.endswith(".")


def test_unreadable_dump_needs_consent(dump_problems: list[str]) -> None:
    problem = "makedumpfile ended with status 1"
    (reason,) = refusals_for_dump(problem, CONSENT)
    assert problem in reason.text
    assert list(refusals_for_dump(problem, CONSENT._replace(plain_dump=True))) == []
    assert list(refusals_for_dump(None, CONSENT)) == []
    dump_problems.append(problem)
    assert refusals("crash wedged") == [reason]
    assert refusals("crash wedged", consent=CONSENT._replace(plain_dump=True)) == []
    assert refusals("stop") == []


def test_slow_watchdog_is_a_way_back() -> None:
    armed = with_watchdog(True, 600)
    assert "Nothing would bring this host back" in refusals("crash wedged", armed, Consent("lab"))[0].text
    assert refusals("stop", armed, Consent("lab")) == []
    assert refusals(BOUNDED_LOCKUP, armed) == []
    risky = SURVEY._replace(armed=None, users=("x",), load=9.9)
    assert len(list(refusals_for_risk(risky, Consent()))) == 4


def test_arming_holds_once_this_boot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = str(tmp_path / "state")
    assert armed_seconds("boot", directory) is None
    arm(60, "boot", directory)
    left = armed_seconds("boot", directory)
    assert left is not None
    assert 0 < left <= 60
    assert armed_seconds("another boot", directory) is None
    monkeypatch.setattr(time, "time", lambda: 0.0)  # somebody sets the clock back, which does not count
    assert armed_seconds("boot", directory) is not None
    disarm(directory)
    assert armed_seconds("boot", directory) is None
    now = time.clock_gettime(time.CLOCK_BOOTTIME)
    for text in (
        "", "[]", '{"boot_id": "boot"}', '{"boot_id": "boot", "until": 1e300}', f'{{"until": {now + 60}}}',
        f'{{"boot_id": "boot", "until": {"9" * 400}}}',
    ):  # fmt: skip
        (tmp_path / "state/armed").write_text(text)
        assert armed_seconds("boot", directory) is None, text
    arm(MAX_SECONDS, "boot", directory)
    assert armed_seconds("boot", directory)


def test_unresolved_drills_in_a_row_count(tmp_path: Path) -> None:
    for number, (kind, outcome) in enumerate(
        [
            (DrillKind.STOP, DrillOutcome.UNKNOWN),
            (DrillKind.STOP, DrillOutcome.PASS),
            (DrillKind.CRASH, DrillOutcome.LOST),
            (DrillKind.BACKTRACE, DrillOutcome.FAIL),
            (DrillKind.LOCKUP, DrillOutcome.UNKNOWN),
        ]
    ):
        write_result(make_result(kind, None, f"2026{number}", outcome), b"", str(tmp_path))
    assert read_unresolved(str(tmp_path)) == 2


# The evidence that survives a reset

AFTERMATH = Aftermath(
    fired=True, target=3, channel="ramoops", path=None, host=describe_host(ARM64), places={},
    online=(0, 1, 2, 3),
)  # fmt: skip
ENTRY = Entry(
    "20261125T120000.000000Z-stop",
    DrillKind.STOP,
    None,
    "boot",
    1,
    (Setting(CONSOLE_LEVEL, 4, 7),),
    AFTERMATH,
)
STOP = reset_of("stop")
STOP_LOG = [
    "[   50.000000] usb: something before",
    f"[   60.000000] sdeictl: drill {ENTRY.id}",
    "[   60.100000] lkdtm: Performing direct entry HARDLOCKUP",
    "[   62.200000] sysrq: Resetting",
    "[   62.200100] SMP: stopping secondary CPUs",
    "[   64.300000] SMP: retry stop with SDEI NMI for CPUs 3",
]


def join(lines: list[str]) -> str:
    return "".join(line + "\n" for line in lines)


def judge_lines(lines: list[str], drill: Reset = STOP) -> DrillResult:
    found = find_drill(join(lines).encode(), ENTRY.id)
    assert found is not None
    return judge_log(drill, 3, found)


def test_journal_keeps_the_aftermath(tmp_path: Path) -> None:
    entry = ENTRY._replace(aftermath=AFTERMATH._replace(places={"3": 0xBFBD5000}))
    write_journal(entry, str(tmp_path))
    back = read_journal(str(tmp_path))
    assert back is not None
    assert back.aftermath is not None
    assert back._replace(aftermath=None) == entry._replace(aftermath=None)
    assert back.aftermath._replace(online=AFTERMATH.online) == entry.aftermath
    assert list(back.aftermath.online) == [0, 1, 2, 3]


def test_reset_passes_by_its_rung() -> None:
    result = judge_lines(STOP_LOG)
    assert (result.outcome, result.path, result.reasons) == ("pass", "sdei", ())
    assert result.stop == {"rungs": ["ipi", "sdei"], "retried": [3], "failed": []}
    failed = judge_lines([*STOP_LOG[:5], "[   64.300000] SMP: failed to stop secondary CPUs 3"])
    assert (failed.outcome, failed.path) == ("fail", "none")
    assert "could not stop CPU 3: the ladder was ipi." in failed.reasons[0]
    tried = judge_lines([*STOP_LOG, "[   64.500000] SMP: failed to stop secondary CPUs 3"])
    assert tried.outcome is DrillOutcome.FAIL
    other = judge_lines([*STOP_LOG[:5], "[   64.300000] SMP: retry stop with SDEI NMI for CPUs 2"])
    assert other.outcome is DrillOutcome.UNKNOWN
    for cut in range(2, 6):
        assert judge_lines(STOP_LOG[:cut]).outcome is DrillOutcome.UNKNOWN, STOP_LOG[:cut]


def test_cut_log_never_passes_early() -> None:
    whole = join(STOP_LOG).encode()
    for cut in range(len(whole)):
        found = find_drill(whole[:cut], ENTRY.id)
        assert found is None or judge_log(STOP, 3, found).outcome is DrillOutcome.UNKNOWN


def test_later_boot_proves_nothing() -> None:
    later = [
        "[    0.000000] Booting Linux on physical CPU 0x0000000000 [0x411fd070]",
        "[    5.100000] sysrq: Resetting",
        "[    5.200100] SMP: stopping secondary CPUs",
        "[    7.300000] SMP: retry stop with SDEI NMI for CPUs 3",
    ]
    mixed = judge_lines([*STOP_LOG[:3], "[   62.000000] x", *later])
    assert mixed.outcome is DrillOutcome.UNKNOWN
    assert find_drill("\n".join(STOP_LOG).encode(), "20261125T120000.000001Z-stop") is None
    never_masked = judge_lines([*STOP_LOG[:2], *STOP_LOG[3:]])
    assert never_masked.outcome is DrillOutcome.UNKNOWN


REPORT = [
    *STOP_LOG[:3],
    "[   73.000000] watchdog: CPU2: Watchdog detected hard LOCKUP on cpu 3",
    "[   73.000100] Sending NMI from CPU 2 to CPUs 3:",
]
BLOCK = [
    "[   73.000200] NMI backtrace for cpu 3",
    "[   73.000210] CPU: 3 UID: 0 PID: 99 Comm: sdeictl Not tainted 7.3.4 #1",
    "[   73.000220] pstate: 600000c5 (nZCv daIF -PAN -UAO -TCO -DIT -SSBS BTYPE=--)",
    "[   73.000230] pc : lkdtm_HARDLOCKUP+0x8/0x24",
    "[   73.000240] x29: ffff800082083cf0 x28: ffff0000006a0000 x27: 0000000000000000",
    "[   73.000250] Call trace:",
    "[   73.000260]  lkdtm_HARDLOCKUP+0x8/0x24 (P)",
]
RESETTING = ["[   80.000000] sysrq: Resetting", "[   80.000100] SMP: stopping secondary CPUs"]
SILENT = ["[   89.000000] After 10 seconds, these CPUS still haven't responded to the NMI: 3"]


@pytest.mark.parametrize(
    ("lines", "outcome"),
    [
        ([*REPORT, *BLOCK, *RESETTING], DrillOutcome.PASS),
        ([*REPORT, *SILENT, *RESETTING], DrillOutcome.FAIL),
        ([*STOP_LOG[:3], *RESETTING], DrillOutcome.FAIL),
        (STOP_LOG[:3], DrillOutcome.UNKNOWN),
        (REPORT[:4], DrillOutcome.UNKNOWN),
        (REPORT, DrillOutcome.UNKNOWN),
    ],
)
def test_permanent_lockup_needs_report_and_stack(lines: list[str], outcome: DrillOutcome) -> None:
    assert judge_lines(lines, reset_of("lockup permanent")).outcome is outcome


CRASH_LOG = (
    "0.0 Booting Linux on physical CPU 0x0000000000 [0x411fd070]",
    "1.0 Run /sbin/init as init process",
    f"60.0 sdeictl: drill {ENTRY.id}",
    "62.0 Kernel panic - not syncing: dumptest",
    "62.1 SMP: stopping secondary CPUs",
    "64.0 SMP: retry stop with SDEI NMI for CPUs 3",
)
IDLE = FakeCpu(address_of("default_idle_call"))
WEDGED = FakeCpu(address_of("lkdtm_HARDLOCKUP"), pstate=0x600000C5, pid=101)


@pytest.mark.parametrize(
    ("cpus", "outcome", "fact"),
    [
        ((IDLE, IDLE, IDLE, WEDGED), DrillOutcome.PASS, ""),
        ((IDLE, IDLE, IDLE, FakeCpu(None)), DrillOutcome.FAIL, "The dump has no registers of CPU 3"),
        ((IDLE, IDLE, IDLE, IDLE), DrillOutcome.FAIL, "CPU 3 in default_idle_call"),
        ((IDLE, IDLE, WEDGED, IDLE), DrillOutcome.FAIL, "CPU 3 in default_idle_call"),
        (
            (IDLE, IDLE, IDLE, WEDGED._replace(pstate=0x40000005)), DrillOutcome.FAIL,
            "CPU 3 in lkdtm_HARDLOCKUP",
        ),
    ],
)  # fmt: skip
def test_dump_needs_masked_cpu_in_loop(cpus: tuple[FakeCpu, ...], outcome: DrillOutcome, fact: str) -> None:
    core = read_core(open_core(io.BytesIO(elf_core(FakeKernel(cpus, log=CRASH_LOG)))))
    result = judge_dump(reset_of("crash wedged"), AFTERMATH, core)
    assert result.outcome is outcome
    assert fact in " ".join(result.reasons)
    assert "sp" not in json.dumps(result.dump)


def test_dump_without_cpu_numbers_is_unknown() -> None:
    data = elf_core(FakeKernel((IDLE, IDLE, IDLE, WEDGED)), info=False)
    core = read_core(open_core(io.BytesIO(data)))
    result = judge_dump(reset_of("crash wedged"), AFTERMATH, core)
    assert result.outcome is DrillOutcome.UNKNOWN


def test_only_the_named_log_is_read(tmp_path: Path) -> None:
    (tmp_path / "serial.log").write_text(join(STOP_LOG))
    (tmp_path / "other.log").write_text("nothing of the drill\n")
    stated = AFTERMATH._replace(path=str(tmp_path / "serial.log"))
    found = find_log(ENTRY.id, stated, None)
    assert found is not None
    assert found.data.startswith(b"[   60.000000] sdeictl: drill")
    assert find_log(ENTRY.id, stated, str(tmp_path / "other.log")) is None
    with pytest.raises(FileNotFoundError):
        find_log(ENTRY.id, stated, str(tmp_path / "missing.log"))


class KilledDrill:
    """A drill that has not ended: its journal, its results and its lock are in one directory."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch, boot_id: str, entry: Entry) -> None:
        self.directory = directory
        self.restored: list[Entry] = []
        here = str(directory)
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        monkeypatch.setattr(resume, "Lock", partial(Lock, here))
        for name, function in (
            ("read_journal", read_journal), ("write_journal", write_journal),
            ("close_journal", close_journal), ("read_result", read_result),
        ):  # fmt: skip
            monkeypatch.setattr(resume, name, partial(function, directory=here))
        monkeypatch.setattr(resume, "write_result", partial(write_result, directory=here))
        monkeypatch.setattr(resume, "restore_settings", lambda _root, entry: self.restored.append(entry))
        monkeypatch.setattr(resume, "read_boot_id", lambda _root: boot_id)
        monkeypatch.setattr(resume, "find_stuck", lambda _cpus, _seconds: (3,))
        write_journal(entry, here)

    def resume(self) -> Status:
        return resume.resume(None, print).status

    @property
    def is_open(self) -> bool:
        return read_journal(str(self.directory)) is not None

    def results(self) -> list[DrillDocument]:
        """Return the stored results, oldest first."""
        paths = sorted(self.directory.glob("2*.json"))
        results: list[DrillDocument] = [json.loads(path.read_text()) for path in paths]
        for result in results:
            validate("drill-1", result)
        return results


@pytest.mark.parametrize(
    ("fired", "boot_id", "outcome", "status"),
    [
        (False, "boot", "unknown", Status.GOOD),
        (True, "boot", "lost", Status.FAILED),
        (False, "the next boot", "unknown", Status.GOOD),
    ],
)
def test_killed_drill_ends_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fired: bool, boot_id: str, outcome: str, status: Status
) -> None:
    entry = ENTRY._replace(aftermath=AFTERMATH._replace(fired=fired))
    drill = KilledDrill(tmp_path, monkeypatch, boot_id, entry)
    assert drill.resume() is status
    assert [result["outcome"] for result in drill.results()] == [outcome]
    assert [each.settings for each in drill.restored] == [entry.settings] * (boot_id == "boot")
    assert not drill.is_open
    assert drill.resume() is Status.GOOD
    assert len(drill.results()) == 1


@pytest.mark.parametrize("boot_id", ["boot", "the next boot"])
def test_kept_result_survives_a_kill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, boot_id: str) -> None:
    drill = KilledDrill(tmp_path, monkeypatch, boot_id, ENTRY)
    write_result(make_result(DrillKind.STOP, None, ENTRY.id, DrillOutcome.LOST), b"", str(tmp_path))
    assert drill.resume() is Status.FAILED
    assert [result["outcome"] for result in drill.results()] == ["lost"]
    assert bool(drill.restored) is (boot_id == "boot")
    assert not drill.is_open


def test_lost_cpu_is_told_before_writing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The write can wait for ever, because the disk may need the lost CPU."""
    said: list[str] = []
    monkeypatch.setattr(session, "write_result", lambda *_: said.append("the disk"))
    monkeypatch.setattr(session, "close_journal", lambda: None)
    drill_of(ENTRY, said.append).end(DrillResult(DrillOutcome.LOST, ("why",), lost_cpus=(3,)))
    assert said[0].startswith("CPU 3 does not come back: this host needs a reset")
    assert said[1] == "the disk"


def drill_of(entry: Entry, tell: Tell) -> Session:
    """Return a drill that is over, but for its result."""
    return Session(Case(LiveRoot(), identity_of(entry.drill, entry.variant, entry.id), SURVEY), entry, tell)


@pytest.mark.parametrize("boot_id", ["boot", "the next boot"])
@pytest.mark.parametrize(
    ("outcome", "status"), [(DrillOutcome.PASS, Status.GOOD), (DrillOutcome.FAIL, Status.FAILED)]
)
def test_unstored_result_is_stored_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, boot_id: str, outcome: DrillOutcome, status: Status
) -> None:
    """The journal has it until then. It is neither taken for a killed drill nor for a lost CPU."""
    entry = ENTRY._replace(aftermath=AFTERMATH._replace(fired=True))
    drill = KilledDrill(tmp_path, monkeypatch, boot_id, entry)
    monkeypatch.setattr(session, "write_journal", partial(write_journal, directory=str(tmp_path)))
    (tmp_path / f"{ENTRY.id}.json.new").mkdir()  # the disk refuses the result, and not the journal
    monkeypatch.setattr(session, "write_result", partial(write_result, directory=str(tmp_path)))
    told = drill_of(entry, print).end(DrillResult(outcome), b"the log")
    assert told["outcome"] == outcome
    assert told["reasons"] == [
        "The result could not be stored (Is a directory): `sdeictl drill resume` tries again."
    ]
    assert drill.is_open
    assert not [*tmp_path.glob("*.log")]
    with pytest.raises(SdeictlError, match="its result could not be stored: Is a directory"):
        drill.resume()
    assert drill.is_open
    (tmp_path / f"{ENTRY.id}.json.new").rmdir()
    assert drill.resume() is status
    assert [(each["outcome"], each["reasons"], each["evidence"]) for each in drill.results()] == [
        (outcome, [], None)
    ]
    assert [each.settings for each in drill.restored] == [()] * (boot_id == "boot")
    assert not drill.is_open


def test_full_disk_leaves_the_journal_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = ENTRY._replace(aftermath=None)
    drill = KilledDrill(tmp_path, monkeypatch, "boot", entry)
    full = OSError(28, "No space left on device")

    def fail(_path: str, _data: bytes, _mode: int) -> None:
        raise full

    monkeypatch.setattr(session, "write_journal", partial(write_journal, directory=str(tmp_path)))
    monkeypatch.setattr(session, "write_result", partial(write_result, directory=str(tmp_path)))
    with monkeypatch.context() as patch:
        patch.setattr(journal, "write_whole", fail)
        patch.setattr(results, "write_whole", fail)
        told = drill_of(entry, print).end(DrillResult(DrillOutcome.PASS))
    why = "The result could not be stored (No space left on device):"
    assert told["reasons"] == [f"{why} `sdeictl drill resume` ends the drill without it."]
    assert drill.is_open
    assert drill.resume() is Status.GOOD
    (result,) = drill.results()
    why = "It was killed before its end, or its result could not be stored."
    assert (result["outcome"], result["reasons"]) == ("unknown", [why])


def test_evidence_is_sought_twice_per_boot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "serial.log"
    entry = ENTRY._replace(aftermath=AFTERMATH._replace(channel="stated", path=str(log)))
    drill = KilledDrill(tmp_path, monkeypatch, "the next boot", entry)
    assert drill.resume() is Status.UNKNOWN
    assert drill.results() == []
    assert drill.is_open
    log.write_text(join(STOP_LOG))
    assert drill.resume() is Status.GOOD
    assert [result["outcome"] for result in drill.results()] == ["pass"]
    log.unlink()
    write_journal(entry._replace(id="20270102T000000.000000Z-stop"), str(tmp_path))
    assert (drill.resume(), drill.resume()) == (Status.UNKNOWN, Status.UNKNOWN)
    assert drill.results()[-1]["outcome"] == "unknown"
    assert not drill.is_open
