"""Renders reports and checks as text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from sdeictl.klog.words import NmiPath
from sdeictl.probe.checks.check import Check
from sdeictl.probe.checks.idle import IDLE_CHECK
from sdeictl.probe.checks.lockups import HARD_LOCKUP_CHECK
from sdeictl.probe.checks.table import CHAIN
from sdeictl.probe.verdict import REGISTERED
from sdeictl.probe.words import OUTCOMES, Outcome
from sdeictl.text import Line, show_ladder

if TYPE_CHECKING:
    from sdeictl.probe.document import FindingDocument, HostDocument, ReportDocument

_READY_WORDS = {
    True: ("READY", "bold green"),
    False: ("NOT READY", "bold red"),
    None: ("UNKNOWN", "bold yellow"),
}


def render_report(report: ReportDocument) -> Iterator[Line]:
    """Yield a report as lines of text: the verdict, the broken links with their remedies, the evidence."""
    unknown = report["verdict"]["ready"] is None
    yield from _verdict_lines(report)
    if unknown:
        # The gaps are the reason for the verdict.
        yield from _gap_lines(report)
    yield from _missing_lines(report)
    chain = {check.id for check in CHAIN}
    inside = [finding for finding in report["findings"] if finding["id"] in chain]
    outside = [finding for finding in report["findings"] if finding["id"] not in chain]
    yield from _finding_lines("The chain:", inside)
    yield from _finding_lines("Around it:", outside)
    if not unknown:
        yield from _gap_lines(report)


def _verdict_lines(report: ReportDocument) -> Iterator[Line]:
    verdict = report["verdict"]
    word, style = _READY_WORDS[verdict["ready"]]
    if verdict["nmi_path"] == NmiPath.NOT_APPLICABLE:
        word, style = "NOT APPLICABLE", "bold"
    yield ((word, style), (f"  NMI path: {verdict['nmi_path']}", "bold"))
    yield ((verdict["summary"], ""),)
    for hazard in verdict["hazards"]:
        yield (("hazard: ", "bold yellow"), (hazard, ""))
    yield from _detector_lines(report)
    yield from _idle_lines(report)
    yield ((f"host: {_host_line(report['host'])}", ""),)
    if verdict["consumers"]["stop"]["ladder"]:
        yield ((f"stop ladder (panic, reboot): {show_ladder(verdict['consumers']['stop']['ladder'])}", ""),)


def _detector_lines(report: ReportDocument) -> Iterator[Line]:
    """Yield that no hard-lockup detector runs: then nobody asks for the backtrace of a stuck CPU."""
    for finding in report["findings"]:
        if finding["id"] == HARD_LOCKUP_CHECK and finding["outcome"] == Outcome.FAIL:
            yield (("no hard-lockup detector: ", "bold yellow"), (f"{finding['seen']}.", ""))
            yield ((f"    {finding['remedy']}", ""),)


def _idle_lines(report: ReportDocument) -> Iterator[Line]:
    """Yield that nobody knows whether an idle state in use masks SDEI, where SDEI serves."""
    for finding in report["findings"]:
        doubtful = finding["outcome"] == Outcome.UNKNOWN and finding["sources"]
        if finding["id"] == IDLE_CHECK and doubtful and report["verdict"]["nmi_path"] == NmiPath.SDEI:
            yield (("warning: ", "bold yellow"), (f"{finding['seen']}.", ""))


def _finding_lines(title: str, findings: list[FindingDocument]) -> Iterator[Line]:
    if findings:
        yield ()
        yield ((title, "bold"),)
    for finding in findings:
        look = OUTCOMES[Outcome(finding["outcome"])]
        yield ((f"  {look.text:8}", look.style), (f"{finding['id']:22}{finding['seen']}", ""))
        if finding["sources"]:
            yield ((f"{'':10}{'':22}{', '.join(finding['sources'])}", "dim"),)


def render_checks(checks: Iterable[Check]) -> Iterator[Line]:
    """Yield one line for each check."""
    for check in checks:
        yield ((f"{check.id:22}", "bold"), (f"{check.path or '-':12}{check.owner:10}{check.title}", ""))


def render_check(check: Check) -> Iterator[Line]:
    """Yield the title of a check, why it matters, and its remedy."""
    yield ((check.id, "bold"), (f": {check.title}.", ""))
    yield ((check.why, ""),)
    yield ()
    use = f"the NMI path {check.path} needs it" if check.path else "the verdict does not depend on it"
    for name, text in (
        ("wanted", check.wanted), ("remedy", check.remedy), ("owner", check.owner), ("chain", use),
    ):  # fmt: skip
        yield ((f"{name}: ", "bold"), (text, ""))


def _gap_lines(report: ReportDocument) -> Iterator[Line]:
    if report["gaps"]:
        yield ()
        yield (("Could not read:", "bold"),)
    for gap in report["gaps"]:
        yield ((f"  {gap['source']}", ""), (f" ({gap['kind']}): {gap['detail']}", ""))


def _missing_lines(report: ReportDocument) -> Iterator[Line]:
    """Yield the broken links of each path, without its last link if that only follows from the others."""
    missing = set(report["verdict"]["missing"])
    if missing:
        yield ()
        yield (("One of the two paths is enough.", ""),)
    for path, last in REGISTERED.items():
        links = [check.id for check in CHAIN if check.path == path and check.id in missing]
        causes = [link for link in links if link != last] or links
        if causes:
            yield ((f"Missing for {path}:", "bold"),)
        for finding in report["findings"]:
            if finding["id"] in causes:
                yield ((f"  {finding['id']}", "red"), (f" ({finding['owner']}): {finding['seen']}", ""))
                yield ((f"      {finding['remedy']}", ""),)


def _host_line(host: HostDocument) -> str:
    cpus = f"{host['cpus_online']} CPUs" if host["cpus_online"] else None
    core = host["core"] or (f"MIDR {host['midr']}" if host["midr"] else None)
    level = f"EL{host['exception_level']}" if host["exception_level"] else None
    if level and host["vhe"]:
        level += " with VHE"
    known = (
        host["model"], host["architecture"], f"Linux {host['kernel']}" if host["kernel"] else None,
        cpus, core, host["tables"], level,
    )  # fmt: skip
    return ", ".join(part for part in known if part) or "unknown"
