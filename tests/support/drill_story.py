"""Drills in tests: a host that refuses none of them, and the result that each emulated machine must give."""

from __future__ import annotations

from collections.abc import Mapping

from sdeictl.drill.result import DrillResult, Identity, drill_document
from sdeictl.host.paths import (
    KEXEC_CRASH_LOADED,
    KEXEC_CRASH_SIZE,
    NMI_WATCHDOG,
    PANIC_SECONDS,
    WATCHDOG_CPUMASK,
    WATCHDOG_THRESH,
)
from sdeictl.interlock.consent import Consent
from sdeictl.interlock.providers import FoundProviders, ModuleFile
from sdeictl.interlock.results import DrillDocument
from sdeictl.interlock.survey import Survey
from sdeictl.probe.drills import DrillKind, DrillOutcome
from sdeictl.probe.facts import DrillAbilities, Evidence, HostFacts
from sdeictl.probe.report import describe_host
from tests.lab.machines import MACHINES
from tests.support.wedge_story import is_reached, masked_by_registers


def refuses_test_lockup(name: str) -> bool:
    """Tell whether a machine's kernel has no test_lockup, or does not load it."""
    return MACHINES[name].kernel.startswith("stock") or name == "lockdown"


SETTINGS: Mapping[str, str] = {
    NMI_WATCHDOG: "1",
    WATCHDOG_CPUMASK: "0-3",
    WATCHDOG_THRESH: "10",
    PANIC_SECONDS: "10",
    KEXEC_CRASH_LOADED: "1",
    KEXEC_CRASH_SIZE: str(512 << 20),
}
ARM64 = HostFacts(
    architecture="arm64",
    release="7.3.4",
    settings=tuple(SETTINGS.items()),
    drills=DrillAbilities(lkdtm=True, test_lockup=True, bpf_jit=True, lockdown="none"),
    evidence=Evidence(("ttyAMA0",), "ramoops", 1 << 19),
)
SURVEY = Survey(
    facts=ARM64,
    online=(0, 1, 2, 3),
    console_level=7,
    deep_idle=True,
    providers=FoundProviders(test_lockup=ModuleFile("/t.ko", compressed=False)),
    crash_types=("PANIC", "HARDLOCKUP", "PANIC_STOP_IRQOFF"),
    host_name="lab",
    armed=500.0,
    load=0.1,
)
"""A host on which every drill may run."""
CONSENT = Consent("lab", "the power switch")


def survey_with_setting(path: str, value: str) -> Survey:
    """Return the good host with another value of a setting."""
    settings = tuple({**SETTINGS, path: value}.items())
    return SURVEY._replace(facts=ARM64._replace(settings=settings))


def identity_of(kind: DrillKind, variant: str | None, identifier: str) -> Identity:
    """Return the identity of a drill on the good host."""
    return Identity(identifier, kind, variant, describe_host(ARM64), "boot")


def make_result(
    kind: DrillKind, variant: str | None, identifier: str, outcome: DrillOutcome
) -> DrillDocument:
    """Return the document of a drill with this outcome."""
    return drill_document(DrillResult(outcome), identity_of(kind, variant, identifier))


def check_drill(name: str, status: int, result: DrillDocument) -> None:
    """Assert that a drill gave the result that its machine is known to give."""
    if refuses_test_lockup(name) and "test_lockup" in str(result["reasons"]):
        assert (status, result["outcome"]) == (3, "refused")
        return
    reached = is_reached(MACHINES[name])
    assert result["path"] == MACHINES[name].nmi_path, result
    assert (status, result["outcome"]) == ((0, "pass") if reached else (1, "fail")), result
    assert (result["lost_cpus"], result["records_lost"]) == ([], 0)
    assert [cpu["cpu"] for cpu in result["cpus"]] == list(range(MACHINES[name].cpus))
    assert sum(cpu["state"] == "self" for cpu in result["cpus"]) == 1
    assert {cpu["state"] for cpu in result["cpus"]} <= {"self", "idle", "backtrace"}
    window, target = result["window"], result["target"]
    if result["variant"] != "masked":
        assert (window, target) == (None, None)
        return
    assert window is not None
    assert target is not None
    assert window["opened"]
    assert window["closed"]
    assert target["in_window"] is reached
    if reached:
        assert target["state"] == "backtrace"
        assert target["masked"] is masked_by_registers(MACHINES[name])
