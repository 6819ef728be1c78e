"""A report as a page for a ticket: the chain as a picture, what is missing, whose it is."""

from __future__ import annotations

import re

import pytest

from sdeictl.probe.checks.table import CHAIN
from sdeictl.probe.document import ReportDocument
from sdeictl.probe.page import report_page
from sdeictl.probe.words import OWNERS, Owner
from tests.conftest import CapturedHost, load_host
from tests.support.outline import HOSTILE, Outline
from tests.test_cli import sdeictl
from tests.test_probe import report_of

LINKS = {"sdei": 8, "pseudo-nmi": 5}


def test_page_says_what_the_report_says(host: CapturedHost) -> None:
    report = report_of(host.root)
    outline = Outline(report_page(report))
    text = outline.text()
    verdict = report["verdict"]
    assert verdict["summary"] in text
    assert f"NMI path: {verdict['nmi_path']}" in text
    for finding in report["findings"]:
        assert finding["id"] in text
        assert " ".join(finding["seen"].split()) in text
    for hazard in verdict["hazards"]:
        assert hazard.replace("`", "") in text.replace("`", "")
    levels = [int(tag[1]) for tag in outline.tags() if re.fullmatch("h[1-6]", tag)]
    assert all(after <= before + 1 for before, after in zip(levels, levels[1:]))
    assert not {"script", "img", "link"} & set(outline.tags())


def test_chain_is_a_picture_with_words(host: CapturedHost) -> None:
    report = report_of(host.root)
    outline = Outline(report_page(report))
    pictures = [attributes["aria-label"] for tag, attributes in outline.elements if tag == "svg"]
    assert [len(picture.split(", ")) for picture in pictures] == list(LINKS.values())
    shown = {"not-applicable": "n/a"}
    chain = {check.id for check in CHAIN if check.path}
    links = [finding for finding in report["findings"] if finding["id"] in chain]
    for finding in links:
        word = shown.get(finding["outcome"], finding["outcome"])
        assert any(f"{finding['id']}: {word}" in picture for picture in pictures)
    discs = [attributes["class"] for tag, attributes in outline.elements if tag == "circle"]
    fails = sum(finding["outcome"] == "fail" for finding in links)
    assert discs.count("bad") == fails


def test_missing_links_have_owner_and_remedy() -> None:
    report = report_of(load_host("stock-debian").root)
    text = Outline(report_page(report)).text()
    section = text.partition("and who can mend them")[2]
    for finding in report["findings"]:
        if finding["id"] in report["verdict"]["missing"]:
            assert f"{finding['id']} {OWNERS[Owner(finding['owner'])]} {finding['seen']}" in section
    assert section.count("follows from the links above") == 2
    assert "Missing" not in Outline(report_page(report_of(load_host("dt-sdei").root))).text()


@pytest.mark.parametrize("name", HOSTILE)
def test_text_of_a_report_is_never_markup(name: str) -> None:
    def page_with(text: str) -> Outline:
        report: ReportDocument = report_of(load_host("dt-none").root)
        report["host"]["model"] = report["verdict"]["summary"] = text
        report["verdict"]["hazards"] = [text]
        report["findings"][0]["seen"] = report["findings"][1]["id"] = text
        report["gaps"] = [{"source": text, "kind": "absent", "detail": text}]
        return Outline(report_page(report))

    assert page_with(HOSTILE[name]).tags() == page_with("x").tags()


def test_html_of_a_host_and_of_a_stored_report(tmp_path_factory: pytest.TempPathFactory) -> None:
    root = str(load_host("dt-none").root)
    done = sdeictl("probe", "--root", root, "--format", "html")
    assert (done.returncode, done.stderr) == (1, b"")
    assert done.stdout.startswith(b"<!DOCTYPE html>")
    stored = tmp_path_factory.mktemp("report") / "report.json"
    stored.write_bytes(sdeictl("probe", "--root", root, "--format", "json").stdout)
    again = sdeictl("probe", "--root", str(stored), "--format", "html")
    assert again.returncode == 1
    times = re.compile(rb"\d\d\d\d-\d\d-\d\dT[\d:+]+")
    assert times.sub(b"", again.stdout) == times.sub(b"", done.stdout)


def test_page_without_a_finding() -> None:
    """Another architecture has no chain."""
    report = report_of(load_host("dt-none").root)
    report["findings"] = []
    report["verdict"]["nmi_path"], report["verdict"]["ready"] = "not-applicable", None
    report["verdict"]["missing"] = []
    assert "svg" not in Outline(report_page(report)).tags()
