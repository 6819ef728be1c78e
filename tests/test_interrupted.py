"""A drill that should leave the host up, and is cut short: what may be said of it, and how long it counts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sdeictl.drill.after_reset import judge_interrupted
from sdeictl.errors import SdeictlError, Status
from sdeictl.interlock.journal import Affinity, Aftermath, Entry, JournalError, read_journal, write_journal
from sdeictl.probe.drills import DrillKind
from sdeictl.probe.report import describe_host
from sdeictl.probe.stored_drills import Build, StoredDrill, standing_drills
from sdeictl.probe.verdict import decide
from tests.support.drill_story import ARM64
from tests.test_ladder import KilledDrill

MARKER = "[   60.000000] sdeictl: drill 20261126T000000.000000Z-backtrace"
REQUEST = "[   61.000000] Sending NMI from CPU 1 to CPUs 0,2-3:"
ANSWERS = [
    f"[   61.00000{cpu}] NMI backtrace for cpu {cpu} skipped: idling at f+0x1/0x2" for cpu in (0, 2, 3)
]
PANIC = "[   62.000000] Kernel panic - not syncing: Hard LOCKUP"
FILLER = "[   90.000000] usb 1-1: new device"
HOST = describe_host(ARM64)
ENTRY = Entry(
    "20261126T000000.000000Z-backtrace", DrillKind.BACKTRACE, "masked", "boot", 1,
    aftermath=Aftermath(True, 3, None, None, HOST, {}, (0, 1, 2, 3)),
)  # fmt: skip


def join(*lines: str) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


@pytest.mark.parametrize(
    ("log", "outcome", "reason"),
    [
        (b"", "lost", "The host went down while CPU 3 was masked"),
        (join(MARKER), "lost", "The host went down while CPU 3 was masked"),
        (join(MARKER, REQUEST, *ANSWERS[:2]), "lost", "The host went down while CPU 3 was masked"),
        (join(MARKER, REQUEST, *ANSWERS, PANIC), "lost", "The host panicked during the drill: Hard LOCKUP."),
        (join(MARKER, REQUEST, *ANSWERS, FILLER), "unknown", "after every CPU had answered"),
        (join(MARKER, REQUEST, *ANSWERS[:2], FILLER), "lost", "while CPU 3 was masked"),
    ],
)
def test_what_a_surviving_log_shows(log: bytes, outcome: str, reason: str) -> None:
    result = judge_interrupted(3, log)
    assert result.outcome == outcome
    assert reason in result.reasons[0]
    assert result.lost_cpus == ((3,) if outcome == "lost" else ())


def test_plain_request_that_took_the_host() -> None:
    result = judge_interrupted(None, b"")
    assert (result.outcome, result.lost_cpus) == ("lost", ())
    assert result.reasons == ("The host went down while the drill ran.",)


def test_host_that_went_down_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drill = KilledDrill(tmp_path, monkeypatch, "the next boot", ENTRY)
    assert drill.resume() is Status.FAILED
    (result,) = drill.results()
    assert (result["outcome"], result["lost_cpus"]) == ("lost", [3])
    assert drill.restored == []
    assert not drill.is_open


def test_alive_host_after_a_kill_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drill = KilledDrill(tmp_path, monkeypatch, "boot", ENTRY)
    monkeypatch.setattr("sdeictl.drill.resume.find_stuck", lambda _cpus, _seconds: ())
    assert drill.resume() is Status.GOOD
    assert [result["outcome"] for result in drill.results()] == ["unknown"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("drill", "dance"), ("id", 7), ("pid", "one"),
        ("affinities", [["one", [0]]]), ("affinities", [[1, 0]]),
        ("aftermath", {**ENTRY.aftermath._asdict(), "places": {"0": "x"}} if ENTRY.aftermath else None),
        ("aftermath", {**ENTRY.aftermath._asdict(), "places": {"cpu0": 1}} if ENTRY.aftermath else None),
        ("aftermath", {**ENTRY.aftermath._asdict(), "online": ["0"]} if ENTRY.aftermath else None),
        ("aftermath", {**ENTRY.aftermath._asdict(), "host": []} if ENTRY.aftermath else None),
        ("aftermath", {"fired": True}),
    ],
)  # fmt: skip
def test_damaged_journal_is_named(tmp_path: Path, field: str, value: object) -> None:
    write_journal(ENTRY, str(tmp_path))
    path = tmp_path / "journal.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), field: value}))
    with pytest.raises(JournalError, match="is damaged"):
        read_journal(str(tmp_path))


def test_unknown_variant_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drill = KilledDrill(tmp_path, monkeypatch, "boot", ENTRY._replace(variant="sideways"))
    with pytest.raises(SdeictlError, match="names no drill of this sdeictl: backtrace sideways"):
        drill.resume()
    assert drill.is_open


def test_journal_keeps_affinities(tmp_path: Path) -> None:
    entry = ENTRY._replace(affinities=(Affinity(12, (0, 3)),))
    write_journal(entry, str(tmp_path))
    assert read_journal(str(tmp_path)) == entry


def stored(number: int, outcome: str, variant: str | None = "masked", kernel: str = "7.3.4") -> StoredDrill:
    lost = (3,) if outcome == "lost" else ()
    return StoredDrill(f"{number:05}", Build(kernel, None), "sdei", (), lost, "backtrace", variant, outcome)


@pytest.mark.parametrize(
    ("drills", "standing"),
    [
        ([stored(1, "lost"), *(stored(number, "unknown") for number in range(2, 40))], ["00001", "00039"]),
        ([stored(1, "lost"), stored(2, "pass")], ["00002"]),
        ([stored(1, "lost"), stored(2, "pass", variant=None)], ["00001", "00002"]),
        ([stored(1, "lost"), stored(2, "pass", kernel="7.3.5")], ["00001", "00002"]),
        ([stored(1, "pass"), stored(2, "lost"), stored(3, "fail")], ["00002", "00003"]),
    ],
)
def test_bad_result_stands_until_a_pass(drills: list[StoredDrill], standing: list[str]) -> None:
    assert [drill.id for drill in standing_drills(drills)] == standing


def test_lost_host_is_a_hazard() -> None:
    drill = stored(1, "lost")._replace(lost=())
    verdict, _ = decide(ARM64._replace(stored_drills=(drill,), release="7.3.4"))
    assert verdict.hazards == ("this host went down during the drill 00001",)
