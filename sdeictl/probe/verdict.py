"""From findings to the verdict, a pure fold."""

from __future__ import annotations

from collections.abc import Sequence

from sdeictl.klog.words import IPI, NmiPath
from sdeictl.probe.checks.check import Finding, judge
from sdeictl.probe.checks.idle import IDLE_CHECK
from sdeictl.probe.checks.table import CHAIN, CHECKS
from sdeictl.probe.facts import HostFacts
from sdeictl.probe.stored_drills import Build
from sdeictl.probe.words import Outcome, Severity
from sdeictl.text import NamedTuple, name_cpus

REGISTERED = {NmiPath.SDEI: "sdei-nmi-registered", NmiPath.PSEUDO_NMI: "pseudo-nmi-enabled"}
"""The last link of each path decides; the links before it explain."""


NOTHING_KNOWN = "Could not tell: no file of a host was found there."


class Verdict(NamedTuple):
    """Whether a CPU that is stuck with its interrupts masked can be reached, and how."""

    nmi_path: NmiPath
    ready: bool | None
    summary: str
    missing: tuple[str, ...]
    hazards: tuple[str, ...]
    stop_ladder: tuple[str, ...]


def decide(facts: HostFacts) -> tuple[Verdict, tuple[Finding, ...]]:
    """Return the verdict and its findings."""
    if facts.architecture not in (None, "arm64"):
        summary = f"This host is not arm64 ({facts.architecture}): it has neither SDEI nor GICv3 pseudo-NMI."
        return Verdict(NmiPath.NOT_APPLICABLE, None, summary, (), (), ()), ()
    findings = tuple(judge(check, facts) for check in CHECKS)
    outcomes = {finding.id: finding.outcome for finding in findings}
    sdei = outcomes[REGISTERED[NmiPath.SDEI]]
    pseudo_nmi = _both(outcomes[REGISTERED[NmiPath.PSEUDO_NMI]], outcomes["pseudo-nmi-backtrace"])
    path = NmiPath.NONE if _is_dead(facts) else _path(sdei, pseudo_nmi)
    ready = _is_ready(path, pseudo_nmi)
    findings = waive_unused_path(findings, path)
    known = shows_host(facts)
    chain = {check.id for check in CHAIN if check.path}
    missing = (
        tuple(f.id for f in findings if f.id in chain and f.outcome == Outcome.FAIL) if not ready else ()
    )
    verdict = Verdict(
        nmi_path=path,
        ready=ready,
        summary=_summary(path, ready, sdei, pseudo_nmi) if known else NOTHING_KNOWN,
        missing=missing,
        hazards=_hazards(facts, path, findings),
        stop_ladder=_stop_ladder(facts, sdei, outcomes[REGISTERED[NmiPath.PSEUDO_NMI]]),
    )
    return verdict, findings


def shows_host(facts: HostFacts) -> bool:
    """Tell whether the facts are of a host at all: something was found, beside the gaps."""
    return facts._replace(gaps=(), drills=None) != HostFacts()


def _is_dead(facts: HostFacts) -> bool:
    """Tell whether the kernel sends each request through an SDEI that it has switched off.

    sdei_mark_interface_broken() in drivers/firmware/arm_sdei.c leaves the registered service in use.
    """
    log = facts.bootlog
    return log is not None and log.sdei_nmi and log.sdei_disabled


def _is_ready(path: NmiPath, pseudo_nmi: Outcome) -> bool | None:
    if path in (NmiPath.SDEI, NmiPath.PSEUDO_NMI):
        return True
    if path is NmiPath.NONE:
        return False
    # SDEI serves if it is registered; if it is not, pseudo-NMI does.
    return True if pseudo_nmi is Outcome.PASS else None


def _both(first: Outcome, second: Outcome) -> Outcome:
    if Outcome.FAIL in (first, second):
        return Outcome.FAIL
    return Outcome.PASS if first == second == Outcome.PASS else Outcome.UNKNOWN


def _path(sdei: Outcome, pseudo_nmi: Outcome) -> NmiPath:
    # A kernel with SDEI registered uses it whether pseudo-NMI is on or off
    # (arch_trigger_cpumask_backtrace() in arch/arm64/kernel/smp.c).
    if sdei == Outcome.PASS:
        return NmiPath.SDEI
    if sdei == Outcome.FAIL and pseudo_nmi == Outcome.PASS:
        return NmiPath.PSEUDO_NMI
    if sdei == Outcome.FAIL and pseudo_nmi == Outcome.FAIL:
        return NmiPath.NONE
    return NmiPath.UNKNOWN


def judge_registered(facts: HostFacts, path: NmiPath) -> Outcome:
    """Return the outcome of the last link of a path by itself.

    The verdict's finding may differ: where one path serves, the other is not applicable.
    """
    return judge(next(check for check in CHAIN if check.id == REGISTERED[path]), facts).outcome


def waive_unused_path(findings: Sequence[Finding], path: NmiPath) -> tuple[Finding, ...]:
    """Return the findings with the broken links of an unused path waived: they are not applicable."""
    if path not in REGISTERED:
        return tuple(findings)
    other = {check.id for check in CHAIN if check.path not in (path, None)}
    return tuple(
        finding._replace(
            outcome=Outcome.NOT_APPLICABLE,
            severity=Severity.INFO,
            seen=f"{finding.seen}; this host does not need it, because it uses {path}",
        )
        if finding.id in other and finding.outcome in (Outcome.FAIL, Outcome.UNKNOWN)
        else finding
        for finding in findings
    )


def _summary(path: NmiPath, ready: bool | None, sdei: Outcome, pseudo_nmi: Outcome) -> str:
    if path == NmiPath.SDEI:
        return "This host can reach a CPU that is stuck with its interrupts masked: by SDEI, event 0."
    if path == NmiPath.PSEUDO_NMI:
        return "This host can reach a CPU that is stuck with its interrupts masked: by GICv3 pseudo-NMI."
    if path == NmiPath.NONE:
        return (
            "This host cannot reach a CPU that is stuck with its interrupts masked:"
            " its backtrace stays empty, and a crash dump lacks its registers."
        )
    if ready:
        return (
            "This host can reach a CPU that is stuck with its interrupts masked: by SDEI if its event 0 is"
            " registered, by GICv3 pseudo-NMI otherwise."
        )
    words = {Outcome.PASS: "is on", Outcome.FAIL: "is not in use", Outcome.UNKNOWN: "is unknown"}
    return (
        "Could not tell whether this host can reach a CPU that is stuck with its interrupts masked:"
        f" SDEI {words[sdei]}, pseudo-NMI {words[pseudo_nmi]}."
    )


def _hazards(facts: HostFacts, path: NmiPath, findings: Sequence[Finding]) -> tuple[str, ...]:
    hazards = []
    idle = next(finding for finding in findings if finding.id == IDLE_CHECK)
    if path == NmiPath.SDEI and idle.outcome == Outcome.FAIL:
        hazards.append(
            f"{idle.seen}: the kernel masks SDEI there."
            " Firmware such as Trusted Firmware-A does not end the event there, so a backtrace request can"
            " lose such a CPU until the host is reset. The firmware vendor must confirm that event 0 to a CPU"
            " with SDEI masked is harmless. Until then the administrator should boot with cpuidle.off=1, or"
            " hold /dev/cpu_dma_latency at 0, as `sdeictl drill` does while a drill runs."
        )
    if path != NmiPath.NONE and facts.unanswered:
        hazards.append(
            f"the log of this boot has a backtrace request that {name_cpus(facts.unanswered)} did not answer"
        )
    if path != NmiPath.NONE and facts.bootlog:
        hazards += [f"the boot log says: {line}" for line in facts.bootlog.sdei_troubles]
    now = Build(facts.release, facts.firmware)
    for drill in facts.stored_drills:
        if drill.build.is_stale(now) or drill.path == NmiPath.NONE:
            continue
        if drill.lost:
            hazards.append(f"the drill {drill.id} lost {name_cpus(drill.lost)} of this host")
        elif drill.outcome == "lost":
            hazards.append(f"this host went down during the drill {drill.id}")
        elif drill.silent:
            hazards.append(f"{name_cpus(drill.silent)} did not answer the request of the drill {drill.id}")
    return tuple(hazards)


def _stop_ladder(facts: HostFacts, sdei: Outcome, pseudo_nmi: Outcome) -> tuple[str, ...]:
    """Return the rungs of smp_send_stop() in its order; a rung that may exist is `unknown`.

    A rung needs its service, and code of its own in the kernel: a kernel may ask for backtraces by a path and
    stop no CPU by it.
    """
    words = (
        (NmiPath.PSEUDO_NMI, pseudo_nmi, _stops_by_pseudo_nmi(facts)),
        (NmiPath.SDEI, sdei, _stops_by_sdei(facts)),
    )
    rungs: list[str] = []
    for path, service, has_code in words:
        if path in facts.seen_rungs or (service is Outcome.PASS and has_code):
            rungs.append(path)
        elif service is not Outcome.FAIL and has_code is not False:
            rungs.append(NmiPath.UNKNOWN)
    return (IPI, *dict.fromkeys(rungs))


def _stops_by_pseudo_nmi(facts: HostFacts) -> bool | None:
    return facts.interrupts.stop_row if facts.interrupts else None


def _stops_by_sdei(facts: HostFacts) -> bool | None:
    symbols = facts.symbols
    if symbols and "sdei_nmi_stop_cpus" in symbols.names:
        return True
    return False if symbols and symbols.complete else None


def crash_path(ladder: tuple[str, ...]) -> NmiPath:
    """Return by which path a crash stops a masked CPU, and so saves its registers.

    The crash path climbs the same ladder (arch/arm64/kernel/smp.c): its last rung decides.
    """
    if NmiPath.UNKNOWN in ladder:
        return NmiPath.UNKNOWN
    return NmiPath(ladder[-1]) if ladder[-1:] != (IPI,) else NmiPath.NONE
