"""A report on a fleet as a page: sound, self-contained, small, complete. See lab/test_page.py too."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sdeictl.fleet.document import fleet_document
from sdeictl.fleet.page import MAX_BYTES, fleet_page
from sdeictl.fleet.report import Coverage, FleetReport, Spread
from sdeictl.fleet.text import render_fleet
from sdeictl.html.drawing import Part, stacked_bar
from sdeictl.html.element import MAX_TEXT, element
from sdeictl.html.kind import SIGNS, Kind
from sdeictl.html.page import Page, render_page
from sdeictl.html.style import STYLE
from sdeictl.text import to_plain
from tests.conftest import load_host
from tests.support.made_report import made_report
from tests.support.outline import HOSTILE, Outline


def numbers(value: object) -> Iterator[int]:
    """Yield each number in a document, but for those of cohorts, which a page lists only in part."""
    if isinstance(value, dict):
        for key, each in value.items():
            if key not in ("cohorts", "paths"):
                yield from numbers(each)
    elif isinstance(value, list):
        for each in value:
            yield from numbers(each)
    elif isinstance(value, int) and not isinstance(value, bool):
        yield value


def report_with(coverage: Coverage) -> FleetReport:
    """Return a report on hosts about which nothing more is said."""
    none = Spread(0, ())
    return made_report(40, 2)._replace(coverage=coverage, broken=(), hazards=none, gaps=(), absent=())


NAMES = {"plain": "", **HOSTILE}


@pytest.mark.parametrize("name", NAMES)
def test_structure(name: str) -> None:
    """Elements close in turn, headings are in order, tables have captions, links lead somewhere."""
    outline = Outline(fleet_page(made_report(10_000, 40, NAMES[name])))
    tags = outline.tags()
    levels = [int(tag[1]) for tag in tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in zip(levels, levels[1:]))
    for landmark in ("header", "main", "nav", "footer", "style"):
        assert tags.count(landmark) == 1, landmark
    assert tags.count("caption") == tags.count("table") > 5
    scopes = {attributes.get("scope") for tag, attributes in outline.elements if tag == "th"}
    assert scopes == {"col", "row"}
    places = outline.attributes("id")
    assert len(places) == len(set(places))
    assert {link.lstrip("#") for link in outline.attributes("href")} <= set(places)
    assert ("html", {"lang": "en"}) in outline.elements


@pytest.mark.parametrize("name", NAMES)
def test_nothing_comes_from_outside(name: str) -> None:
    """No script and no address, and a policy that would not allow them."""
    page = fleet_page(made_report(10_000, 40, NAMES[name]))
    outline = Outline(page)
    assert not {"script", "link", "img", "iframe", "object", "embed", "form", "base"} & set(outline.tags())
    names = {attribute for _tag, attributes in outline.elements for attribute in attributes}
    assert not {attribute for attribute in names if attribute.startswith("on")}
    assert not {"src", "srcset", "style", "data", "action"} & names
    assert all(link.startswith("#") for link in outline.attributes("href"))
    assert not re.search(r"url\(|@import|expression|\\", STYLE)
    (policy,) = (content for content in outline.attributes("content") if "default-src" in content)
    assert re.fullmatch(
        r"default-src 'none'; style-src 'sha256-[\w+/=]+'; base-uri 'none'; form-action 'none'", policy
    )
    (style,) = (text for within, text in outline.texts if within[-1:] == ("style",))
    assert style == STYLE


@pytest.mark.parametrize("name", HOSTILE)
def test_text_is_never_markup(name: str) -> None:
    """The page of a hostile fleet has the same elements as that of a harmless one, and shows the names."""
    hostile, harmless = (Outline(fleet_page(made_report(400, 4, text))) for text in (HOSTILE[name], "x"))
    assert hostile.tags() == harmless.tags()
    text = hostile.text()
    assert all(character.isprintable() for character in text)
    if len(HOSTILE[name]) < MAX_TEXT:
        shown = to_plain([((HOSTILE[name], ""),)]).rstrip("\n")
        assert f"vendor-0.{' '.join(shown.split())}" in text
    assert max(len(each) for within, each in hostile.texts if "style" not in within) <= MAX_TEXT


@pytest.mark.parametrize("cohorts", [1, 2_000])
@pytest.mark.parametrize("name", NAMES)
def test_page_is_small(cohorts: int, name: str) -> None:
    report = made_report(10_000, cohorts, NAMES[name])
    crowded = report._replace(broken=report.broken * 40, gaps=report.gaps * 40, absent=report.absent * 80)
    for each in (report, crowded):
        page = fleet_page(each)
        assert 5_000 < len(page) <= MAX_BYTES
        Outline(page)


def test_every_number_appears() -> None:
    """Each number of the document, where a list is not cut; and how much is left out where it is."""
    report = made_report(10_007, 3)
    text = Outline(fleet_page(report)).text()
    document: dict[str, Any] = fleet_document(report)
    document["outliers"] = [{**each, "hosts": max(each["hosts"] - 3, 0)} for each in document["outliers"]]
    derived = {document["hosts"]["no_data"]}
    wanted = set(numbers(document)) - derived
    assert len(wanted) > 30
    for number in wanted:
        assert re.search(rf"(?<![\d,]){number:,}(?!,?\d)", text), number
    for cohort in report.cohorts:
        assert f"{cohort.hosts:,} {cohort.ready:,} {cohort.not_ready:,}" in text
    assert "20 more gaps (--format json lists all)" in text
    assert "30 more hosts (--format json lists all)" in text


def test_lists_say_what_they_leave_out() -> None:
    text = Outline(fleet_page(made_report(10_000, 2_000))).text()
    assert "1,990 more cohorts" in text
    assert "and 1,900 more cohorts (--format csv lists all)" in text
    crowded = made_report(10_000, 2_000, HOSTILE["wide"])
    text = Outline(fleet_page(crowded._replace(broken=crowded.broken * 40))).text()
    shown = text.count(" hosts : ")
    assert f"{len(crowded.broken) * 40 - shown:,} more broken links (--format json lists all)" in text


def test_words_are_those_of_the_text() -> None:
    """Every word of the text is on the page too, and the sections have its order."""
    report = made_report(300, 3)
    page = Outline(fleet_page(report)).text()
    lines = [line for line in to_plain(render_fleet(report, 10_000)).splitlines() if line]
    titles = [line for line in lines[1:] if not line.startswith((" ", "Most"))]
    assert len(titles) == 10
    places = [page.rindex(title) for title in titles]
    assert places == sorted(places)
    said, shown = (set(re.findall(r"[A-Za-z][\w.-]{2,}\w", text)) for text in ("\n".join(lines), page))
    assert len(said) > 100
    assert said <= shown


@pytest.mark.parametrize(
    ("coverage", "words"),
    [
        (Coverage(0, 0, 0, 0, 0, 0, 0, 0, 0), "No host found."),
        (Coverage(9, 9, 0, 0, 0, 0, 0, 0, 2), "Every host can reach"),
        (Coverage(9, 8, 0, 1, 0, 0, 0, 0, 0), "not every host is known"),
        (Coverage(9, 8, 1, 0, 0, 0, 0, 0, 0), "1 host of 9 is not ready: it cannot reach"),
    ],
)
def test_first_words(coverage: Coverage, words: str) -> None:
    """The heading and the title of the window say what is wrong; no number is made up."""
    outline = Outline(fleet_page(report_with(coverage)))
    for tag in ("h1", "title"):
        assert words in "".join(text for within, text in outline.texts if within[-1:] == (tag,))
    assert (f"Coverage of {coverage.total} hosts" in outline.text()) == bool(coverage.total)


def test_bar_has_its_text() -> None:
    parts = [Part("ready", 99_990, Kind.GOOD), Part("lost", 1, Kind.BAD), Part("none", 0, Kind.RISK)]
    bar = stacked_bar(parts)
    assert (bar.get("role"), bar.get("aria-label")) == ("img", "99,990 ready, 1 lost")
    rectangles = bar.findall("rect")
    widths = [float((each.get("width") or "").rstrip("%")) for each in rectangles]
    assert len(widths) == 2
    assert widths[1] >= 0.9  # one host of 100,000 is seen
    assert abs(sum(widths) - 100) < 0.01
    assert len(set(SIGNS.values())) == len(Kind)


@pytest.mark.parametrize(
    ("tag", "attributes"),
    [
        ("script", {}),
        ("style", {}),
        ("a", {"href": "javascript:alert(1)"}),
        ("a", {"href": "http://192.0.2.1/"}),
        ("img", {"src": "#x"}),
        ("p", {"onclick": "x"}),
        ("p", {"style": "color: red"}),
    ],
)
def test_elements_cannot_reach_out(tag: str, attributes: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="a page has no"):
        element(tag, **attributes)


def test_a_page_of_another_report() -> None:
    """The package draws any page: here one without sections."""
    page = render_page(Page("a<b", ["x"], [element("h1", "a<b")], [], ["y"]))
    outline = Outline(page)
    assert "nav" not in outline.tags()
    assert "a<b" in outline.text()


def luminance(color: str) -> float:
    """Return the relative luminance of WCAG 2 of a colour `#rrggbb`."""
    parts = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("dark", [False, True])
def test_contrast(dark: bool) -> None:
    """Each colour of text, and of a part of the bar, stands out from both grounds."""
    colors = re.findall(r"--(\w+): (#[0-9a-f]{6})", STYLE)
    half = len(colors) // 2
    table = dict(colors[half:] if dark else colors[:half])
    assert {"text", "muted", "link", *Kind} <= table.keys()
    grounds = [luminance(table.pop(name)) for name in ("ground", "panel")]
    del table["line"]
    for name, color in table.items():
        for ground in grounds:
            low, high = sorted((luminance(color), ground))
            assert (high + 0.05) / (low + 0.05) >= 4.5, name


def run(*arguments: object) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "sdeictl", "fleet", "report", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, timeout=60, check=False)


def test_the_command(tmp_path: Path) -> None:
    """The page of a captured host has the status and the headline of the text."""
    done = run("--reports", load_host("dt-none").root, "--format", "html")
    assert (done.returncode, done.stderr) == (1, b"")
    assert "1 host of 1 is not ready: it cannot reach" in Outline(done.stdout).text()
    (tmp_path / "<b>.json").write_text('{"schema": "sdeictl')
    done = run("--reports", tmp_path, "--format", "html")
    assert done.returncode == 3
    assert "<b>.json" in Outline(done.stdout).text()


def test_no_page_of_hosts() -> None:
    done = run("--reports", load_host("dt-none").root, "--hosts", "--format", "html")
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"--format html has no list of hosts" in done.stderr
