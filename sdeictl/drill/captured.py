"""What speaks against a drill on a host of which only a capture is here."""

from __future__ import annotations

from sdeictl.drill.backtrace import refusals_for_backtrace
from sdeictl.drill.lockup import lockup_request, refusals_for_lockup
from sdeictl.drill.reset import ResetRequest, refusals_for_captured_reset
from sdeictl.formats.cpulist import parse_cpulist
from sdeictl.host.lenient import text_if_exists
from sdeictl.host.open import holds_nothing, open_root
from sdeictl.host.paths import CPUS_ONLINE
from sdeictl.interlock.consent import Consent
from sdeictl.interlock.lkdtm import CRASH_TYPES
from sdeictl.interlock.providers import NO_BPF, FoundProviders, ModuleFile, module_path, no_module
from sdeictl.interlock.refusals import Reason
from sdeictl.interlock.survey import Survey
from sdeictl.interlock.window import WindowRequest
from sdeictl.probe.checks.check import configured
from sdeictl.probe.collect import collect
from sdeictl.probe.facts import HostFacts
from sdeictl.probe.verdict import shows_host

NOTHING_FOUND = "Nothing in this capture speaks against the drill."
NOT_SHOWN = (
    "A capture does not show whether the host is armed and who is logged in, its load, its watchdogs, what"
    " runs on each CPU and whether a module is signed. On the host itself --dry-run looks at these too."
)
_AGREED = Consent(host_name="", way_back="not asked", plain_dump=True)
"""A capture asks for no consent, so missing consent is not a reason."""


def reasons_against_backtrace(path: str, request: WindowRequest) -> list[Reason]:
    """Return why the host at a path would refuse `drill backtrace`; raise SdeictlError if there is none."""
    return list(refusals_for_backtrace(_survey(path), request))


def reasons_against_lockup(path: str, cpu: int | None, thresh: int | None) -> list[Reason]:
    """Return why the host at a path would refuse `drill lockup`; raise SdeictlError."""
    survey = _survey(path)
    return list(refusals_for_lockup(survey, _AGREED, lockup_request(survey, cpu, thresh), thresh))


def reasons_against_reset(path: str, request: ResetRequest) -> list[Reason]:
    """Return why the host at a path would refuse a drill that takes it down; raise SdeictlError."""
    return list(refusals_for_captured_reset(request, _survey(path), _AGREED))


def _survey(path: str) -> Survey:
    """Return the survey of a captured host. What a capture does not show speaks neither for nor against."""
    root = open_root(path)
    facts = collect(root)
    if not shows_host(facts):
        raise holds_nothing(path)
    online = parse_cpulist(text_if_exists(root, CPUS_ONLINE))
    cpus = facts.interrupts.cpus if facts.interrupts else None
    return Survey(
        facts=facts,
        online=online or tuple(range(cpus or 0)),
        deep_idle=bool(facts.idle_states and facts.idle_states.used),
        providers=_providers(facts),
        crash_types=() if facts.drills and facts.drills.lkdtm is False else CRASH_TYPES,
        armed=1.0,
    )


def _providers(facts: HostFacts) -> FoundProviders:
    drills = facts.drills
    if drills is None:
        return FoundProviders()
    unbuilt = drills.test_lockup is None and any(w.holds is False for w in configured(facts, "TEST_LOCKUP"))
    return FoundProviders(
        ModuleFile(module_path(facts.release), compressed=False) if drills.test_lockup else None,
        no_module(facts.release) if drills.test_lockup is False or unbuilt else "",
        NO_BPF if drills.bpf_jit is False else "",
    )
