"""The drills that can cost a host, without one: what is refused, and what outlasting evidence may prove."""

import io
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from sdeictl.drill import resume
from sdeictl.drill import run as drill_run
from sdeictl.drill.after_reset import find_drill, judge_core, judge_log
from sdeictl.drill.evidence import find_log
from sdeictl.drill.lockup import guard_lockup
from sdeictl.drill.plan import Request
from sdeictl.drill.reset import KINDS, about_channel, choose_channel, find_kind, guard_reset
from sdeictl.drill.result import DrillResult, Identity
from sdeictl.errors import Status
from sdeictl.host.root import LiveRoot
from sdeictl.interlock.arming import MAX_SECONDS, arm, armed_seconds, disarm
from sdeictl.interlock.danger import Consent, Danger, HardwareWatchdog, about_danger, about_dump
from sdeictl.interlock.host import CONSOLE_LEVEL, DrillHost, ModuleFile
from sdeictl.interlock.journal import (
    Aftermath,
    Entry,
    Setting,
    read_journal,
    read_unresolved,
    store_result,
    write_journal,
)
from sdeictl.interlock.refusals import Reason
from sdeictl.probe.checks.check import FAIL, PASS, UNKNOWN
from sdeictl.probe.facts import DrillAbilities, Evidence, HostFacts
from sdeictl.vmcore.core import read_core
from sdeictl.vmcore.open import open_core
from tests.support.core_builder import FakeCpu, FakeKernel, address_of, elf_core

SETTINGS = {
    "/proc/sys/kernel/nmi_watchdog": "1", "/proc/sys/kernel/watchdog_cpumask": "0-3",
    "/proc/sys/kernel/panic": "10", "/sys/kernel/kexec_crash_loaded": "1",
    "/sys/kernel/kexec_crash_size": str(512 << 20),
}  # fmt: skip
ARM64 = HostFacts(
    architecture="arm64", settings=tuple(SETTINGS.items()),
    drills=DrillAbilities(lkdtm=True, test_lockup=True, bpf_jit=True, lockdown="none"),
    evidence=Evidence(("ttyAMA0",), "ramoops", 1 << 19),
)  # fmt: skip
HOST = DrillHost(
    privileged=True, online=(0, 1, 2, 3), moving=(), isolated=(), watchdog_thresh=10, console_level=7,
    deep_idle=True, has_cpu_latency=True, has_sysrq=True, test_lockup=ModuleFile("/t.ko", compressed=False),
)  # fmt: skip
CALM = Danger(
    host_name="lab", armed=500.0, tainted=0, users=(), load=0.1, watchdogs=(), free_bytes=1 << 30,
    unresolved=0, crash_types=("PANIC", "HARDLOCKUP", "PANIC_STOP_IRQOFF"),
)  # fmt: skip
CONSENT = Consent("lab", "the power switch")
LOCKUP = Request(masked=True, seconds=25)


def with_setting(name: str, value: str | None) -> HostFacts:
    settings = SETTINGS | {name: value or ""}
    return ARM64._replace(settings=tuple((path, text) for path, text in settings.items() if text))


def lockup(
    facts: HostFacts = ARM64, danger: Danger = CALM, consent: Consent = CONSENT, host: DrillHost = HOST
) -> list[Reason]:
    return list(guard_lockup(facts, host, danger, consent, LOCKUP))


def reset(
    kind: str, facts: HostFacts = ARM64, danger: Danger = CALM, consent: Consent = CONSENT
) -> list[Reason]:
    drill, _, variant = kind.partition(" ")
    chosen = find_kind(drill, variant or None)
    channel = choose_channel(facts, None)
    return [
        *guard_reset(chosen, facts, HOST, danger, consent, None),
        *about_channel(chosen, channel, facts),
    ]


def test_nothing_against_a_good_host() -> None:
    assert lockup() == []
    for kind in KINDS:
        assert reset(f"{kind.drill} {kind.variant}" if kind.variant else kind.drill) == []


@pytest.mark.parametrize(
    ("danger", "consent", "sentence"),
    [
        (CALM._replace(armed=None), CONSENT, "It is not armed on this boot"),
        (CALM, Consent(None, "x"), "The host's name was not given"),
        (CALM, Consent("other", "x"), "This host is lab, not other."),
        (CALM._replace(tainted=1 << 9 | 1 << 14), CONSENT, "a warning and a soft lockup already"),
        (CALM._replace(users=("alice (pts/3)",)), CONSENT, "Others are logged in: alice (pts/3)."),
        (CALM._replace(load=3.0), CONSENT, "its load is 3.0 on 4 CPUs"),
        (CALM._replace(free_bytes=1 << 20), CONSENT, "Only 1 MiB are free"),
        (CALM._replace(unresolved=3), CONSENT, "The last 3 drills that can cost the host"),
    ],
)
def test_what_speaks_against_any_of_them(danger: Danger, consent: Consent, sentence: str) -> None:
    for reasons in (lockup(danger=danger, consent=consent), reset("stop", danger=danger, consent=consent)):
        (reason,) = reasons
        assert sentence in reason.text
        assert reason.text.endswith(".")
        assert reason.kind == "policy"


def test_a_module_of_a_former_drill_is_no_trouble_of_the_kernel() -> None:
    assert lockup(danger=CALM._replace(tainted=1 << 12 | 1 << 13 | 1 << 18)) == []


@pytest.mark.parametrize(
    ("reasons", "sentence"),
    [
        (lockup(with_setting("/proc/sys/kernel/hung_task_panic", "1")), "hung_task_panic is set"),
        (lockup(with_setting("/proc/sys/kernel/panic_on_rcu_stall", "1")), "panic_on_rcu_stall is set"),
        (lockup(with_setting("/proc/sys/kernel/nmi_watchdog", "0")), "No hard-lockup detector runs here"),
        (lockup(with_setting("/proc/sys/kernel/watchdog_cpumask", "0-2")), "does not watch CPU 3"),
        (lockup(host=HOST._replace(no_test_lockup="no module", test_lockup=None)), "no module"),
        (
            lockup(danger=CALM._replace(watchdogs=(HardwareWatchdog("watchdog0", True, 20),))),
            "watchdog0 resets the host after 20 s",
        ),
        (
            lockup(danger=CALM._replace(watchdogs=(HardwareWatchdog("watchdog0", None, 20),))),
            "watchdog0 is armed cannot be seen",
        ),
        (reset("stop", danger=CALM._replace(crash_types=())), "There is no LKDTM here"),
        (
            reset("crash all-masked", danger=CALM._replace(crash_types=("PANIC", "HARDLOCKUP"))),
            "LKDTM has no PANIC_STOP_IRQOFF",
        ),
        (reset("stop", ARM64._replace(drills=DrillAbilities(True, True, True, "integrity"))), "locked down"),
        (reset("stop", consent=Consent("lab")), "Nothing would bring this host back"),
        (reset("stop", ARM64._replace(evidence=Evidence(("ttyAMA0",), None, None))), "no ramoops console"),
        (reset("stop", ARM64._replace(evidence=Evidence((), "efi_pstore", 0))), "no ramoops console"),
        (reset("crash wedged", with_setting("/sys/kernel/kexec_crash_loaded", "0")), "No crash kernel"),
        (reset("crash wedged", with_setting("/sys/kernel/kexec_crash_size", "1048576")), "Only 1 MiB are"),
        (reset("crash wedged", with_setting("/proc/sys/kernel/panic", "0")), "kernel.panic is 0"),
        (
            reset("crash hardlockup-panic", with_setting("/proc/sys/kernel/nmi_watchdog", "0")),
            "No hard-lockup detector",
        ),
        (
            reset("lockup permanent", with_setting("/proc/sys/kernel/hardlockup_panic", "1")),
            "hardlockup_panic is set",
        ),
    ],
)
def test_what_speaks_against_one_of_them(reasons: list[Reason], sentence: str) -> None:
    (reason,) = reasons
    assert sentence in reason.text
    assert reason.text.endswith(".")


def test_a_dump_that_makedumpfile_cannot_read_is_refused_unless_it_is_not_needed() -> None:
    problem = "makedumpfile ended with status 1"
    (reason,) = about_dump(problem, CONSENT)
    assert problem in reason.text
    assert list(about_dump(problem, CONSENT._replace(plain_dump=True))) == []
    assert list(about_dump(None, CONSENT)) == []


def test_an_armed_watchdog_is_a_way_back_and_a_long_one_no_danger() -> None:
    armed = CALM._replace(watchdogs=(HardwareWatchdog("watchdog0", True, 600),))
    assert reset("stop", danger=armed, consent=Consent("lab")) == []
    assert lockup(danger=armed) == []
    assert len(list(about_danger(CALM._replace(armed=None, users=("x",), load=9.9), Consent(), 4))) == 4


def test_an_arming_is_for_this_boot_for_a_while_and_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = str(tmp_path / "state")
    assert armed_seconds("boot", directory) is None
    arm(60, "boot", directory)
    left = armed_seconds("boot", directory)
    assert left is not None
    assert 0 < left <= 60
    assert armed_seconds("another boot", directory) is None
    monkeypatch.setattr(time, "time", lambda: 0.0)  # the clock is set back: it does not count
    assert armed_seconds("boot", directory) is not None
    disarm(directory)
    assert armed_seconds("boot", directory) is None
    for text in ("", "[]", '{"boot_id": "boot"}', '{"boot_id": "boot", "until": 1e300}'):
        (tmp_path / "state/armed").write_text(text)
        assert armed_seconds("boot", directory) is None, text
    arm(MAX_SECONDS, "boot", directory)
    assert armed_seconds("boot", directory)


def test_the_breaker_counts_what_ended_unknown_in_a_row(tmp_path: Path) -> None:
    for number, (drill, outcome) in enumerate(
        [
            ("stop", "unknown"),
            ("stop", "pass"),
            ("crash", "lost"),
            ("backtrace", "fail"),
            ("lockup", "unknown"),
        ]
    ):
        document = {"drill": drill, "variant": None, "outcome": outcome}
        store_result(f"2026{number}", json.dumps(document).encode(), b"", str(tmp_path))
    assert read_unresolved(str(tmp_path)) == 2


# What outlasts a reset

AFTERMATH = Aftermath(
    fired=True, target=3, channel="ramoops", path=None, host={"kernel": "7.3.4", "firmware": None},
    places={}, online=(0, 1, 2, 3),
)  # fmt: skip
ENTRY = Entry(
    "20261125T120000.000000Z-stop", "stop", None, "boot", 1, (Setting(CONSOLE_LEVEL, 4, 7),), AFTERMATH
)
STOP = find_kind("stop", None)
WORDS = [
    "[   50.000000] usb: something before",
    f"[   60.000000] sdeictl: drill {ENTRY.id}",
    "[   60.100000] lkdtm: Performing direct entry HARDLOCKUP",
    "[   62.200000] sysrq: Resetting",
    "[   62.200100] SMP: stopping secondary CPUs",
    "[   64.300000] SMP: retry stop with SDEI NMI for CPUs 3",
]


def judged(lines: list[str], kind: Any = STOP) -> DrillResult:
    found = find_drill("".join(line + "\n" for line in lines).encode(), ENTRY.id)
    assert found is not None
    return judge_log(kind, ENTRY, found)


def test_the_journal_keeps_what_is_needed_after_the_reset(tmp_path: Path) -> None:
    entry = ENTRY._replace(aftermath=AFTERMATH._replace(places={"3": 0xBFBD5000}, online=(0, 1, 2, 3)))
    write_journal(entry, str(tmp_path))
    back = read_journal(str(tmp_path))
    assert back is not None
    assert back.aftermath is not None
    assert back._replace(aftermath=None) == entry._replace(aftermath=None)
    assert back.aftermath.places == {"3": 0xBFBD5000}
    assert list(back.aftermath.online) == [0, 1, 2, 3]


def test_the_rungs_of_a_reset_pass_only_where_the_cpu_was_stopped_by_one() -> None:
    result = judged(WORDS)
    assert (result.outcome, result.path, result.reasons) == (PASS, "sdei", ())
    assert result.stop == {"rungs": ["ipi", "sdei"], "retried": [3], "failed": []}
    failed = judged([*WORDS[:5], "[   64.300000] SMP: failed to stop secondary CPUs 3"])
    assert (failed.outcome, failed.path) == (FAIL, "none")
    assert "CPU 3 could not be stopped" in failed.reasons[0]
    tried = judged([*WORDS, "[   64.500000] SMP: failed to stop secondary CPUs 3"])
    assert tried.outcome == FAIL
    other = judged([*WORDS[:5], "[   64.300000] SMP: retry stop with SDEI NMI for CPUs 2"])
    assert other.outcome == UNKNOWN
    for cut in range(2, 6):
        assert judged(WORDS[:cut]).outcome == UNKNOWN, WORDS[:cut]


def test_a_log_cut_at_any_byte_never_passes_too_early() -> None:
    whole = "".join(line + "\n" for line in WORDS).encode()
    for cut in range(len(whole)):
        found = find_drill(whole[:cut], ENTRY.id)
        assert found is None or judge_log(STOP, ENTRY, found).outcome == UNKNOWN


def test_what_a_later_boot_or_another_drill_did_is_not_counted() -> None:
    later = [
        "[    0.000000] Booting Linux on physical CPU 0x0000000000 [0x411fd070]",
        "[    5.100000] sysrq: Resetting",
        "[    5.200100] SMP: stopping secondary CPUs",
        "[    7.300000] SMP: retry stop with SDEI NMI for CPUs 3",
    ]
    assert judged([*WORDS[:3], "[   62.000000] x", *later]).outcome == UNKNOWN
    assert find_drill("\n".join(WORDS).encode(), "20261125T120000.000001Z-stop") is None
    assert judged([*WORDS[:2], *WORDS[3:]]).outcome == UNKNOWN  # that it was masked is not in the log


PERMANENT = find_kind("lockup", "permanent")
REPORT = [
    *WORDS[:3],
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
RESET = ["[   80.000000] sysrq: Resetting", "[   80.000100] SMP: stopping secondary CPUs"]
SILENT = ["[   89.000000] After 10 seconds, these CPUS still haven't responded to the NMI: 3"]


@pytest.mark.parametrize(
    ("lines", "outcome"),
    [
        ([*REPORT, *BLOCK, *RESET], PASS),
        ([*REPORT, *SILENT, *RESET], FAIL),
        ([*WORDS[:3], *RESET], FAIL),
        (WORDS[:3], UNKNOWN),
        (REPORT[:4], UNKNOWN),
        (REPORT, UNKNOWN),
    ],
)
def test_a_lockup_for_good_is_judged_by_the_report_and_its_stack(lines: list[str], outcome: str) -> None:
    assert judged(lines, PERMANENT).outcome == outcome


LOG = (
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
    ("cpus", "outcome", "sentence"),
    [
        ((IDLE, IDLE, IDLE, WEDGED), PASS, ""),
        ((IDLE, IDLE, IDLE, FakeCpu(None)), FAIL, "The dump has no registers of CPU 3"),
        ((IDLE, IDLE, IDLE, IDLE), FAIL, "CPU 3 in default_idle_call"),
        ((IDLE, IDLE, WEDGED, IDLE), FAIL, "CPU 3 in default_idle_call"),
        ((IDLE, IDLE, IDLE, WEDGED._replace(pstate=0x40000005)), FAIL, "CPU 3 in lkdtm_HARDLOCKUP"),
    ],
)
def test_a_dump_passes_only_with_the_masked_cpu_in_its_loop(
    cpus: tuple[FakeCpu, ...], outcome: str, sentence: str
) -> None:
    core = read_core(open_core(io.BytesIO(elf_core(FakeKernel(cpus, log=LOG)))))
    result = judge_core(find_kind("crash", "wedged"), ENTRY, core)
    assert result.outcome == outcome
    assert sentence in " ".join(result.reasons)
    assert "sp" not in json.dumps(result.vmcore)


def test_a_dump_that_does_not_say_whose_registers_it_has_proves_nothing() -> None:
    data = elf_core(FakeKernel((IDLE, IDLE, IDLE, WEDGED)), info=False)
    core = read_core(open_core(io.BytesIO(data)))
    assert judge_core(find_kind("crash", "wedged"), ENTRY, core).outcome == UNKNOWN


def test_the_log_that_is_named_is_read_and_another_one_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "serial.log").write_text("".join(line + "\n" for line in WORDS))
    (tmp_path / "other.log").write_text("nothing of it\n")
    stated = ENTRY._replace(aftermath=AFTERMATH._replace(path=str(tmp_path / "serial.log")))
    found = find_log(stated, None)
    assert found is not None
    assert found.data.startswith(b"[   60.000000] sdeictl: drill")
    assert find_log(stated, str(tmp_path / "other.log")) is None
    with pytest.raises(FileNotFoundError):
        find_log(stated, str(tmp_path / "missing.log"))


class Stage:
    """A host after a reset: its journal and its results in one directory."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch, boot_id: str) -> None:
        self.directory = str(directory)
        self.stored: list[dict[str, Any]] = []
        self.put_back: list[Entry] = []
        monkeypatch.setattr(resume, "read_journal", lambda: read_journal(self.directory))
        monkeypatch.setattr(resume, "write_journal", lambda entry: write_journal(entry, self.directory))
        monkeypatch.setattr(resume, "end_journal", self.end)
        monkeypatch.setattr(resume, "read_result", self.kept)
        monkeypatch.setattr(resume, "put_back", lambda _root, entry: self.put_back.append(entry))
        monkeypatch.setattr(resume, "read_boot_id", lambda _root: boot_id)
        monkeypatch.setattr(resume, "find_stuck", lambda _cpus, _seconds: (3,))
        monkeypatch.setattr(resume, "_store", self.store)

    def end(self) -> None:
        os.unlink(f"{self.directory}/journal.json")

    def kept(self, identifier: str) -> dict[str, Any] | None:
        return next((stored for stored in self.stored if stored["id"] == identifier), None)

    def store(
        self, _root: object, entry: Entry, _tell: object, result: DrillResult, *_: object
    ) -> dict[str, Any]:
        self.stored.append({"id": entry.id, "outcome": result.outcome, "reasons": result.reasons})
        return self.stored[-1]

    def resume(self, evidence: str | None = None) -> Status:
        entry = read_journal(self.directory)
        assert entry is not None
        return resume._end(LiveRoot(), entry, evidence, print).status


@pytest.mark.parametrize(
    ("fired", "boot_id", "outcome", "status"),
    [
        (False, "boot", UNKNOWN, Status.GOOD),
        (True, "boot", "lost", Status.FAILED),
        (False, "the next boot", UNKNOWN, Status.GOOD),
    ],
)
def test_a_drill_that_was_killed_ends_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fired: bool, boot_id: str, outcome: str, status: Status
) -> None:
    stage = Stage(tmp_path, monkeypatch, boot_id)
    write_journal(ENTRY._replace(aftermath=AFTERMATH._replace(fired=fired)), stage.directory)
    assert stage.resume() is status
    assert [stored["outcome"] for stored in stage.stored] == [outcome]
    assert bool(stage.put_back) is (boot_id == "boot")
    assert read_journal(stage.directory) is None


@pytest.mark.parametrize("boot_id", ["boot", "the next boot"])
def test_a_result_that_was_kept_is_the_result_although_the_drill_was_killed_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, boot_id: str
) -> None:
    stage = Stage(tmp_path, monkeypatch, boot_id)
    stage.stored.append({"id": ENTRY.id, "outcome": "lost"})
    write_journal(ENTRY._replace(aftermath=AFTERMATH._replace(fired=True)), stage.directory)
    assert stage.resume() is Status.FAILED
    assert len(stage.stored) == 1
    assert bool(stage.put_back) is (boot_id == "boot")
    assert read_journal(stage.directory) is None


def test_who_waits_for_a_disk_that_waits_for_a_lost_cpu_has_been_told_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[str] = []
    monkeypatch.setattr(drill_run, "store_result", lambda *_: said.append("the disk"))
    result = DrillResult("lost", ("why",), UNKNOWN, lost_cpus=(3,))
    drill_run.store(Identity("id", "stop", None, {}, "boot"), said.append, result)
    assert said[0].startswith("CPU 3 does not come back: this host needs a reset")
    assert said[1] == "the disk"


def test_evidence_is_looked_for_twice_in_a_boot_and_then_the_drill_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage(tmp_path, monkeypatch, "the next boot")
    log = tmp_path / "serial.log"
    entry = ENTRY._replace(aftermath=AFTERMATH._replace(channel="stated", path=str(log)))
    write_journal(entry, stage.directory)
    assert stage.resume() is Status.UNKNOWN
    assert stage.stored == []
    log.write_text("".join(line + "\n" for line in WORDS))
    assert stage.resume() is Status.GOOD
    assert [stored["outcome"] for stored in stage.stored] == [PASS]
    log.unlink()
    entry = entry._replace(id="20260102T000000.000000Z-stop")
    write_journal(entry, stage.directory)
    assert (stage.resume(), stage.resume()) == (Status.UNKNOWN, Status.UNKNOWN)
    assert stage.stored[-1]["outcome"] == UNKNOWN
    assert read_journal(stage.directory) is None
