"""A report as text: the verdict and the hazards first, then what is broken, with its remedy and its owner."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import TYPE_CHECKING

from sdeictl.host.gap import MISSING_FILE
from sdeictl.klog.words import IPI, NmiPath
from sdeictl.probe.checks.idle import IDLE_CHECK
from sdeictl.probe.checks.lockups import HARD_LOCKUP_CHECK
from sdeictl.probe.checks.table import CHAIN
from sdeictl.probe.verdict import REGISTERED
from sdeictl.probe.words import OUTCOMES, OWNERS, Outcome, Owner
from sdeictl.text import Line, Piece, show_ladder, wrapped

if TYPE_CHECKING:
    from sdeictl.probe.document import FindingDocument, GapDocument, HostDocument, ReportDocument

_READY_WORDS = {
    True: ("READY", "bold green"),
    False: ("NOT READY", "bold red"),
    None: ("UNKNOWN", "bold yellow"),
}
_AT_RISK = ("AT RISK", "bold yellow")
"""The host is ready, and a hazard is known."""
_ID_COLUMNS = 22
FOLLOWS = "follows from the links above"
ONE_PATH = "One of the two paths is enough, SDEI or pseudo-NMI; it needs all of its links."


def render_report(report: ReportDocument, width: int = 80, *, verbose: bool = False) -> Iterator[Line]:
    """Yield a report as lines of at most `width` columns; a longer word is never cut.

    With `verbose` all checks, with the sources of their answers; else those that fail, and how many pass.
    """
    yield verdict_line(report)
    yield from _top_lines(report, width)
    unknown = report["verdict"]["ready"] is None
    if unknown:
        # The gaps are the reason for the verdict.
        yield from _gap_lines(report["gaps"], width)
    yield from _missing_lines(report, width)
    yield from _identity_lines(report, width)
    if verbose:
        yield from _all_checks(report, width)
    elif report["findings"]:
        yield from _other_failures(report, width)
        yield from _unknown_lines(report, width)
        yield from _count_lines(report, width)
    if not unknown:
        yield from _gap_lines(report["gaps"], width)


def verdict_word(report: ReportDocument) -> Piece:
    """Return the word for the verdict, such as NOT READY, and its style."""
    verdict = report["verdict"]
    if verdict["nmi_path"] == NmiPath.NOT_APPLICABLE:
        return "NOT APPLICABLE", "bold"
    if verdict["ready"] and verdict["hazards"]:
        return _AT_RISK
    return _READY_WORDS[verdict["ready"]]


def verdict_line(report: ReportDocument) -> Line:
    """Return the verdict as one line: `NOT READY  NMI path: none`."""
    return (verdict_word(report), (f"  NMI path: {report['verdict']['nmi_path']}", "bold"))


def _top_lines(report: ReportDocument, width: int) -> Iterator[Line]:
    verdict = report["verdict"]
    yield from wrapped(verdict["summary"], width)
    for hazard in verdict["hazards"]:
        yield from wrapped(hazard, width, "  ", head=(("hazard: ", "bold yellow"),))
    for finding in report["findings"]:
        if _is_detector_missing(finding):
            # Nobody asks for the backtrace of a stuck CPU.
            text = f"{finding['seen']}. {finding['remedy']}"
            yield from wrapped(text, width, "  ", head=(("no hard-lockup detector: ", "bold yellow"),))
        elif _is_doubtful(finding, verdict["nmi_path"]):
            yield from wrapped(f"{finding['seen']}.", width, "  ", head=(("warning: ", "bold yellow"),))


def _identity_lines(report: ReportDocument, width: int) -> Iterator[Line]:
    """Yield which host it is, how it stops its CPUs, and what shows that the path is there."""
    verdict = report["verdict"]
    yield ()
    yield from wrapped(host_line(report["host"]), width, "  ", head=(("host: ", ""),))
    for finding in report["findings"]:
        if finding["id"] == REGISTERED.get(NmiPath(verdict["nmi_path"])):
            text = f"{finding['seen']} ({', '.join(finding['sources'])})"
            yield from wrapped(text, width, "  ", head=(("evidence: ", ""),))
    yield from _ladder_lines(verdict["consumers"]["stop"]["ladder"], width)


def _is_detector_missing(finding: FindingDocument) -> bool:
    return finding["id"] == HARD_LOCKUP_CHECK and finding["outcome"] == Outcome.FAIL


def _is_doubtful(finding: FindingDocument, path: str) -> bool:
    """Tell whether an idle state in use may mask SDEI, where SDEI carries requests."""
    doubtful = finding["outcome"] == Outcome.UNKNOWN and bool(finding["sources"])
    return finding["id"] == IDLE_CHECK and doubtful and path == NmiPath.SDEI


def _ladder_lines(ladder: list[str], width: int) -> Iterator[Line]:
    if not ladder:
        return
    means = "this alone" if len(ladder) == 1 else "these, in this order"
    text = f"{show_ladder(ladder)}. A panic or a reboot stops the other CPUs by {means}."
    if IPI in ladder:
        text += f" A masked CPU ignores {IPI}."
    if NmiPath.UNKNOWN in ladder:
        text += " No source shows whether this kernel has another one."
    yield from wrapped(text, width, "  ", head=(("stop ladder: ", ""),))


def _missing_lines(report: ReportDocument, width: int) -> Iterator[Line]:
    """Yield the broken links of each path, as many as `missing` has; the last may follow from the others."""
    missing = report["verdict"]["missing"]
    if not missing:
        return
    yield ()
    count = "1 link is missing" if len(missing) == 1 else f"{len(missing)} links are missing"
    yield from wrapped(f"{count}. {ONE_PATH}", width, style="bold")
    findings = {finding["id"]: finding for finding in report["findings"]}
    for path in REGISTERED:
        links = [findings[check.id] for check in CHAIN if check.path == path and check.id in missing]
        if links:
            yield ((f"For {path}:", "bold"),)
        for finding in links:
            if follows(finding["id"], missing):
                head: Line = ((f"  {finding['id']} ", "red"),)
                yield from wrapped(FOLLOWS, width, "      ", head=head)
            else:
                yield from _broken_lines(finding, finding["remedy"], width)


def follows(link: str, missing: list[str]) -> bool:
    """Tell whether a missing link is the last of its path, and another one of that path is missing too."""
    path = next((path for path, last in REGISTERED.items() if last == link), None)
    return path is not None and any(c.path == path and c.id in missing and c.id != link for c in CHAIN)


def _broken_lines(finding: FindingDocument, remedy: str, width: int) -> Iterator[Line]:
    head = ((f"  {finding['id']}", "red"), (f" ({OWNERS[Owner(finding['owner'])]}): ", ""))
    yield from wrapped(finding["seen"], width, "      ", head=head)
    yield from wrapped(remedy, width, "      ")


def _other_failures(report: ReportDocument, width: int) -> Iterator[Line]:
    """Yield what fails and is no missing link."""
    missing = report["verdict"]["missing"]
    fails = [f for f in report["findings"] if f["outcome"] == Outcome.FAIL and f["id"] not in missing]
    if fails:
        yield ()
        yield (("Other checks that fail:" if missing else "Checks that fail:", "bold"),)
    for finding in fails:
        at_top = finding["id"] in (HARD_LOCKUP_CHECK, IDLE_CHECK)
        see = "see above" if at_top else f"see: sdeictl explain {finding['id']}"
        yield from _broken_lines(finding, see, width)


def _unknown_lines(report: ReportDocument, width: int) -> Iterator[Line]:
    """Yield what could not be told: with the reason, or as one list where no source was there."""
    found = [finding for finding in report["findings"] if finding["outcome"] == Outcome.UNKNOWN]
    if found:
        yield ()
        yield (("Checks without an answer:", "bold"),)
    for finding in found:
        if finding["sources"]:
            head: Line = ((f"  {finding['id']}", "yellow"), (": ", ""))
            yield from wrapped(finding["seen"], width, "      ", head=head)
    if silent := [finding["id"] for finding in found if not finding["sources"]]:
        head = (("  no source was read for: ", "yellow"),)
        yield from wrapped(", ".join(silent), width, "      ", head=head)


def _count_lines(report: ReportDocument, width: int) -> Iterator[Line]:
    outcomes = [finding["outcome"] for finding in report["findings"]]
    words = {Outcome.PASS: "pass", Outcome.FAIL: "fail", Outcome.UNKNOWN: "without an answer"}
    counts = [f"{outcomes.count(outcome)} {word}" for outcome, word in words.items() if outcome in outcomes]
    if Outcome.NOT_APPLICABLE in outcomes:
        counts.append(f"{outcomes.count(Outcome.NOT_APPLICABLE)} do not apply")
    yield ()
    text = f"{len(outcomes)} checks: {', '.join(counts)}. With -v: all of them, with their sources."
    yield from wrapped(text, width)


def _all_checks(report: ReportDocument, width: int) -> Iterator[Line]:
    """Yield all checks: the chain of each path from the firmware to the registration, then what is around."""
    paths = {check.id: check.path for check in CHAIN}
    titles = {path: f"The chain of {path}:" for path in REGISTERED}
    places = [*titles, None]
    ordered = sorted(report["findings"], key=lambda finding: places.index(paths.get(finding["id"])))
    for path, findings in groupby(ordered, key=lambda finding: paths.get(finding["id"])):
        yield ()
        yield ((titles[path] if path else "Around it:", "bold"),)
        for finding in findings:
            yield from _finding_lines(finding, width)


def _finding_lines(finding: FindingDocument, width: int) -> Iterator[Line]:
    look = OUTCOMES[Outcome(finding["outcome"])]
    head = ((f"  {look.text:8}", look.style), (f"{finding['id']:{_ID_COLUMNS}}", ""))
    indent = " " * sum(len(text) for text, _ in head)
    yield from wrapped(finding["seen"], width, indent, head=head)
    yield from wrapped(", ".join(finding["sources"]), width, indent, style="dim")


def _gap_lines(gaps: list[GapDocument], width: int) -> Iterator[Line]:
    if gaps:
        yield ()
        yield (("Could not read:", "bold"),)
    # Those that do not exist need no reason, and are many if the host is a log alone.
    plain = [gap["source"] for gap in gaps if gap["detail"] == MISSING_FILE]
    if plain:
        yield from wrapped(", ".join(plain), width, "      ", head=(("  absent: ", ""),))
    for gap in gaps:
        if gap["detail"] != MISSING_FILE:
            text = f"{gap['source']}: {gap['detail']}"
            yield from wrapped(text, width, "      ", head=((f"  {gap['kind']}: ", ""),))


def host_line(host: HostDocument) -> str:
    """Return what identifies a host: model, architecture, kernel, CPUs, tables and exception level."""
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
