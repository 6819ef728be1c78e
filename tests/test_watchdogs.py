"""What would reset or panic a host in a drill: watchdogs of every kind, panic settings, cluster peers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sdeictl.drill.backtrace import refusals_for_backtrace
from sdeictl.host.directory import DirectoryRoot
from sdeictl.host.paths import PANIC_SECONDS
from sdeictl.interlock.consent import Consent
from sdeictl.interlock.refusals import PANIC_SETTINGS, ReasonKind, refusals_for_way_back
from sdeictl.interlock.survey import Survey
from sdeictl.interlock.watchdogs import Watchdog, read_watchdogs
from sdeictl.interlock.window import WindowRequest
from sdeictl.probe.stored_drills import Build, StoredDrill
from tests.support.drill_story import ARM64, CONSENT, SETTINGS, SURVEY

MASKED = WindowRequest(masked=True)
PLAIN = WindowRequest(masked=False)


def with_watchdog(*, nowayout: bool) -> Survey:
    return SURVEY._replace(watchdogs=(Watchdog("watchdog0", True, 600, nowayout=nowayout),))


CLASS = "sys/class/watchdog/watchdog0"
IPMI = "sys/module/ipmi_watchdog/parameters"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, []),
        (
            {
                f"{CLASS}/state": "active", f"{CLASS}/timeout": "30", f"{CLASS}/timeleft": "24",
                f"{CLASS}/nowayout": "1",
            },
            [Watchdog("watchdog0", True, 30, 24, True)],
        ),
        # What is left of an inactive one means nothing.
        (
            {f"{CLASS}/state": "inactive", f"{CLASS}/timeout": "30", f"{CLASS}/timeleft": "24"},
            [Watchdog("watchdog0", False, 30)],
        ),
        ({f"{CLASS}/dev": "250:0"}, [Watchdog("watchdog0", None, None)]),
        # The driver of a BMC registers with no class.
        (
            {
                f"{IPMI}/action": "reset", f"{IPMI}/timeout": "10", f"{IPMI}/nowayout": "N",
                "sys/class/misc/watchdog/dev": "",
            },
            [Watchdog("ipmi_watchdog", None, 10, None, False)],
        ),
        (
            {f"{IPMI}/action": "none", f"{IPMI}/timeout": "10", f"{IPMI}/nowayout": "Y"},
            [Watchdog("ipmi_watchdog", False, 10, None, True)],
        ),
        ({"sys/class/misc/watchdog/dev": "10:130"}, [Watchdog("misc/watchdog", None, None)]),
        ({"sys/class/misc/rfkill/dev": "10:242"}, []),
    ],
)  # fmt: skip
def test_every_kind_of_watchdog(tmp_path: Path, files: dict[str, str], expected: list[Watchdog]) -> None:
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text + "\n")
    (tmp_path / "sys").mkdir(exist_ok=True)
    assert list(read_watchdogs(DirectoryRoot(str(tmp_path)))) == expected


@pytest.mark.parametrize(
    ("watchdog", "sure", "survives"),
    [
        (Watchdog("w", True, 30, 24), 15.0, False),
        (Watchdog("w", True, 30, 4), 4, False),
        (Watchdog("w", True, 30, None, nowayout=True), 15.0, True),
        (Watchdog("w", True, 30, kept_by_systemd=True), 15.0, True),
        (Watchdog("w", False, 30, nowayout=True), 15.0, False),
        (Watchdog("w", True, None), None, False),
        (Watchdog("w", True, 0, 0), None, False),
    ],
)
def test_what_a_watchdog_promises(watchdog: Watchdog, sure: float | None, survives: bool) -> None:
    assert (watchdog.sure_seconds, watchdog.survives_kexec) == (sure, survives)


def test_watchdog_must_survive_kexec() -> None:
    consent, word = Consent("lab"), "is stopped before a kexec"
    armed = with_watchdog(nowayout=False)
    (reason,) = refusals_for_way_back(armed, consent, by_kexec=True)
    assert word in reason.text
    assert list(refusals_for_way_back(with_watchdog(nowayout=True), consent, by_kexec=True)) == []
    assert list(refusals_for_way_back(armed, CONSENT, by_kexec=True)) == []
    (reason,) = refusals_for_way_back(SURVEY, consent, by_kexec=True)
    assert word not in reason.text


PROVEN = StoredDrill("x", Build("7.3.4", None), "sdei", (), (), "backtrace", "masked", "pass")


def with_panic(name: str, *drills: StoredDrill, **survey: Any) -> Survey:
    settings = tuple({**SETTINGS, name: "1"}.items())
    return SURVEY._replace(
        facts=ARM64._replace(settings=settings, stored_drills=drills), armed=None
    )._replace(**survey)


@pytest.mark.parametrize("path", PANIC_SETTINGS)
def test_panic_settings_refuse_an_unproven_path(path: str) -> None:
    name = path.rpartition("/")[2]
    (reason,) = refusals_for_backtrace(with_panic(path), MASKED)
    assert name in reason.text
    assert "drill arm" in reason.text
    assert reason.kind is ReasonKind.POLICY
    assert list(refusals_for_backtrace(with_panic(path, armed=60.0), MASKED)) == []
    assert list(refusals_for_backtrace(with_panic(path), PLAIN)) == []
    assert list(refusals_for_backtrace(with_panic(path, PROVEN), MASKED)) == []


@pytest.mark.parametrize(
    "drills",
    [
        (PROVEN._replace(build=Build("7.3.3", None)),),
        (PROVEN, PROVEN._replace(outcome="lost")),
        (PROVEN._replace(outcome="unknown"),),
        (PROVEN._replace(variant=None),),
        (PROVEN._replace(drill="lockup"),),
    ],
)
def test_what_proves_no_path(drills: tuple[StoredDrill, ...]) -> None:
    assert len(list(refusals_for_backtrace(with_panic(PANIC_SETTINGS[0], *drills), MASKED))) == 1


def test_panic_that_would_hang_is_named() -> None:
    survey = with_panic(PANIC_SETTINGS[0])
    settings = tuple({**dict(survey.facts.settings or ()), PANIC_SECONDS: "0"}.items())
    (reason,) = refusals_for_backtrace(
        survey._replace(facts=survey.facts._replace(settings=settings)), MASKED
    )
    assert "hang for good, because kernel.panic is 0" in reason.text
    # By itself it is no reason.
    alone = SURVEY._replace(facts=ARM64._replace(settings=tuple({**SETTINGS, PANIC_SECONDS: "0"}.items())))
    assert list(refusals_for_backtrace(alone._replace(armed=None), MASKED)) == []


def test_window_beside_a_watchdog() -> None:
    for timeout, seconds, refused in ((10, 5.0, True), (10, 4.0, False), (26, 1.5, False), (3, 1.5, True)):
        survey = SURVEY._replace(watchdogs=(Watchdog("watchdog0", True, timeout),), armed=None)
        assert bool(list(refusals_for_backtrace(survey, MASKED._replace(seconds=seconds)))) is refused
