"""Findings to the verdict: a pure fold."""

from collections.abc import Sequence
from typing import NamedTuple

from sdeictl.probe.checks.check import FAIL, NOT_APPLICABLE, PASS, UNKNOWN, Finding, judge
from sdeictl.probe.checks.table import CHAIN, CHECKS
from sdeictl.probe.facts import HostFacts

REGISTERED = {"sdei": "sdei-nmi-registered", "pseudo-nmi": "pseudo-nmi-enabled"}
"""The last link of each path: whether it holds decides, the links before it explain."""


CPU_PM_DRIVERS = ("psci_idle",)
"""cpuidle drivers all of whose states but the first run CPU_PM, and so sdei_pm_notifier(), which masks SDEI
(drivers/cpuidle/cpuidle-psci.c). Of acpi_idle's states sysfs does not tell."""

NOTHING_KNOWN = "Could not tell: none of a host's files was found there."


class Verdict(NamedTuple):
    """Can a CPU that is stuck with its interrupts masked be reached, and by what?"""

    nmi_path: str
    ready: bool | None
    summary: str
    missing: tuple[str, ...]
    hazards: tuple[str, ...]
    stop_ladder: tuple[str, ...]


def decide(facts: HostFacts) -> tuple[Verdict, tuple[Finding, ...]]:
    """Return the verdict and the findings it rests on."""
    if facts.architecture not in (None, "arm64"):
        summary = f"Not an arm64 host ({facts.architecture}): SDEI and GICv3 pseudo-NMI do not exist there."
        return Verdict("not-applicable", None, summary, (), (), ()), ()
    findings = tuple(judge(check, facts) for check in CHECKS)
    outcomes = {finding.id: finding.outcome for finding in findings}
    sdei = outcomes[REGISTERED["sdei"]]
    pseudo_nmi = _both(outcomes[REGISTERED["pseudo-nmi"]], outcomes["pseudo-nmi-backtrace"])
    path = _path(sdei, pseudo_nmi)
    ready = {"sdei": True, "pseudo-nmi": True, "none": False}.get(path)
    findings = settle(findings, path)
    known = facts._replace(gaps=(), drills=None) != HostFacts()
    chain = {check.id for check in CHAIN if check.path}
    missing = tuple(f.id for f in findings if f.id in chain and f.outcome == FAIL) if not ready else ()
    verdict = Verdict(
        nmi_path=path,
        ready=ready,
        summary=_summary(path, sdei, pseudo_nmi) if known else NOTHING_KNOWN,
        missing=missing,
        hazards=_hazards(facts, path),
        stop_ladder=_stop_ladder(sdei, pseudo_nmi),
    )
    return verdict, findings


def _both(first: str, second: str) -> str:
    if FAIL in (first, second):
        return FAIL
    return PASS if first == second == PASS else UNKNOWN


def _path(sdei: str, pseudo_nmi: str) -> str:
    # SDEI is used wherever it is registered, with pseudo-NMI on or off
    # (arch_trigger_cpumask_backtrace() in arch/arm64/kernel/smp.c).
    if sdei == PASS:
        return "sdei"
    if sdei == FAIL and pseudo_nmi == PASS:
        return "pseudo-nmi"
    if sdei == FAIL and pseudo_nmi == FAIL:
        return "none"
    return "unknown"


def judge_registered(facts: HostFacts, path: str) -> str:
    """Return the outcome of a path's last link by itself.

    Not that of its finding in a verdict: where one path serves, the other is not applicable there.
    """
    return judge(next(check for check in CHAIN if check.id == REGISTERED[path]), facts).outcome


def settle(findings: Sequence[Finding], path: str) -> tuple[Finding, ...]:
    """Where one path serves, the broken links of the other are not applicable: nothing is missing."""
    if path not in REGISTERED:
        return tuple(findings)
    other = {check.id for check in CHAIN if check.path not in (path, "")}
    return tuple(
        finding._replace(
            outcome=NOT_APPLICABLE, severity="info", seen=f"{finding.seen}; not needed, {path} serves"
        )
        if finding.id in other and finding.outcome in (FAIL, UNKNOWN)
        else finding
        for finding in findings
    )


def _summary(path: str, sdei: str, pseudo_nmi: str) -> str:
    if path == "sdei":
        return "A CPU stuck with its interrupts masked can be reached: by SDEI, event 0."
    if path == "pseudo-nmi":
        return "A CPU stuck with its interrupts masked can be reached: by GICv3 pseudo-NMI."
    if path == "none":
        return (
            "A CPU stuck with its interrupts masked cannot be reached:"
            " its backtrace stays empty and a kdump lacks its registers."
        )
    words = {PASS: "is on", FAIL: "is not in use", UNKNOWN: "is unknown"}
    return (
        "Could not tell whether a CPU stuck with its interrupts masked can be reached:"
        f" SDEI {words[sdei]}, pseudo-NMI {words[pseudo_nmi]}."
    )


def _hazards(facts: HostFacts, path: str) -> tuple[str, ...]:
    hazards = []
    idle = facts.idle_states
    if path == "sdei" and idle and idle.driver in CPU_PM_DRIVERS and idle.used:
        hazards.append(
            f"CPUs use the idle state {', '.join(idle.used)} ({idle.driver}), in which the kernel masks SDEI:"
            " with firmware that does not end the event there, as Trusted Firmware-A, a backtrace request"
            " loses such a CPU for good, until the reset. Boot with cpuidle.off=1, or hold"
            " /dev/cpu_dma_latency at 0, until the firmware vendor has confirmed that event 0 to a masked"
            " CPU is harmless; `sdeictl drill backtrace` holds it while it runs"
        )
    if path != "none" and facts.unanswered:
        hazards.append(
            f"in this boot's log a backtrace request went unanswered by CPU {_cpus(facts.unanswered)}"
        )
    if path != "none" and facts.bootlog:
        hazards += [f"the boot log says: {line}" for line in facts.bootlog.sdei_troubles]
    for drill in facts.stored_drills:
        stale = (drill.kernel, drill.firmware) != (facts.release, facts.firmware)
        if stale or drill.path == "none":
            continue
        if drill.lost:
            hazards.append(f"the drill {drill.id} lost CPU {_cpus(drill.lost)} of this host")
        elif drill.silent:
            hazards.append(f"in the drill {drill.id} a request went unanswered by CPU {_cpus(drill.silent)}")
    return tuple(hazards)


def _cpus(cpus: tuple[int, ...]) -> str:
    return ", ".join(map(str, cpus))


def _stop_ladder(sdei: str, pseudo_nmi: str) -> tuple[str, ...]:
    """Return the rungs of smp_send_stop(), in its order; a rung that may exist is `unknown`."""
    words = ((pseudo_nmi, "pseudo-nmi"), (sdei, "sdei"))
    rungs = [path if outcome == PASS else UNKNOWN for outcome, path in words if outcome != FAIL]
    return ("ipi", *dict.fromkeys(rungs))
