"""A report as one page for a ticket: the verdict, the chain as a picture, what is missing and whose it is."""

from __future__ import annotations

from collections.abc import Iterator

from sdeictl.html.blocks import Column, paragraph, prose, table
from sdeictl.html.drawing import Link, chain
from sdeictl.html.element import Node, element
from sdeictl.html.kind import Kind
from sdeictl.html.page import Page, Section, render_page
from sdeictl.probe.checks.table import CHAIN
from sdeictl.probe.document import FindingDocument, ReportDocument
from sdeictl.probe.text import FOLLOWS, ONE_PATH, follows, host_line, verdict_word
from sdeictl.probe.verdict import REGISTERED
from sdeictl.probe.words import OUTCOMES, OWNERS, Outcome, Owner
from sdeictl.text import show_ladder

MAX_ID = 24
_KINDS = {
    Outcome.PASS: Kind.GOOD, Outcome.FAIL: Kind.BAD, Outcome.UNKNOWN: Kind.UNKNOWN,
    Outcome.NOT_APPLICABLE: Kind.OTHER,
}  # fmt: skip
_VERDICTS = {
    "READY": Kind.GOOD, "AT RISK": Kind.RISK, "NOT READY": Kind.BAD, "UNKNOWN": Kind.UNKNOWN,
    "NOT APPLICABLE": Kind.OTHER,
}  # fmt: skip


def report_page(report: ReportDocument) -> bytes:
    """Return a report as a page of HTML without scripts, which fetches nothing."""
    word = verdict_word(report)[0]
    path = report["verdict"]["nmi_path"]
    sections = (
        ("The chain", list(_chains(report))),
        ("Missing", list(_missing(report))),
        ("All checks", list(_checks(report))),
        ("Could not read", list(_gaps(report))),
    )
    page = Page(
        title=f"{word}: NMI path {path}",
        origin=["sdeictl probe, ", element("time", report["generated_at"], datetime=report["generated_at"])],
        lead=list(_lead(report, word, path)),
        sections=[Section(title, nodes) for title, nodes in sections if nodes],
        footer=["As text: sdeictl probe. All data: --format json."],
    )
    return render_page(page)


def _lead(report: ReportDocument, word: str, path: str) -> Iterator[Node]:
    verdict = report["verdict"]
    yield element("h1", f"{word}  NMI path: {path}", class_=_VERDICTS[word])
    yield paragraph(verdict["summary"])
    for hazard in verdict["hazards"]:
        yield paragraph(element("strong", "Hazard: ", class_=Kind.RISK), *prose(hazard))
    yield paragraph(f"Host: {host_line(report['host'])}.")
    ladder = verdict["consumers"]["stop"]["ladder"]
    if ladder:
        yield paragraph(
            f"A panic or a reboot stops the other CPUs by this stop ladder: {show_ladder(ladder)}."
        )


def _chains(report: ReportDocument) -> Iterator[Node]:
    """Yield the chain of each path as a picture, side by side where there is room."""
    findings = {finding["id"]: finding for finding in report["findings"]}
    pictures = []
    for path in REGISTERED:
        links = [findings[check.id] for check in CHAIN if check.path == path and check.id in findings]
        if links:
            heading = element("h3", f"The path {path}")
            pictures.append(element("div", heading, chain([_link(finding) for finding in links])))
    if pictures:
        yield paragraph(ONE_PATH)
        yield element("div", *pictures, class_="chains")


def _link(finding: FindingDocument) -> Link:
    outcome = Outcome(finding["outcome"])
    return Link(finding["id"], _KINDS[outcome], OUTCOMES[outcome].text)


def _missing(report: ReportDocument) -> Iterator[Node]:
    """Yield each missing link, its owner and its remedy."""
    missing = report["verdict"]["missing"]
    findings = {finding["id"]: finding for finding in report["findings"]}
    # What follows from other links of its path stands below these.
    links = [check.id for path in REGISTERED for check in CHAIN if check.path == path and check.id in missing]
    columns = (Column("link"), Column("owner"), Column("seen"), Column("remedy"))
    rows: list[tuple[Node, Node, Node, Node]] = []
    for finding in (findings[link] for link in links if link in findings):
        remedy = FOLLOWS if follows(finding["id"], missing) else finding["remedy"]
        owner = OWNERS[Owner(finding["owner"])]
        rows.append((_id(finding["id"]), owner, finding["seen"], remedy))
    if rows:
        yield table("The missing links of each path, and who can mend them", columns, rows)


def _id(text: str) -> Node:
    """Return an identifier; one of ours is never broken over lines."""
    return element("code", text, class_="whole") if len(text) <= MAX_ID else element("code", text)


def _checks(report: ReportDocument) -> Iterator[Node]:
    columns = (Column("check"), Column("outcome"), Column("seen"), Column("sources"))
    rows: list[tuple[Node, Node, Node, Node]] = []
    for finding in report["findings"]:
        look = OUTCOMES[Outcome(finding["outcome"])]
        outcome = element("span", look.text, class_=_KINDS[Outcome(finding["outcome"])])
        rows.append((_id(finding["id"]), outcome, finding["seen"], ", ".join(finding["sources"])))
    if rows:
        yield table("Every check, with the sources of its answer", columns, rows)


def _gaps(report: ReportDocument) -> Iterator[Node]:
    rows = [(element("code", gap["source"]), gap["kind"], gap["detail"]) for gap in report["gaps"]]
    if rows:
        yield table("Sources that could not be read", (Column("source"), Column("kind"), Column("why")), rows)
