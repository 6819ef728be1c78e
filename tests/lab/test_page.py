"""The page of a fleet in a real Chromium: what a person sees, what a screen reader finds, what is printed."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sdeictl.bench.compare import compare_runs, parse_aa
from sdeictl.bench.page import comparison_page
from sdeictl.fleet.page import fleet_page
from sdeictl.fleet.report import build_fleet_report
from sdeictl.fleet.report_files import FileSource
from sdeictl.fleet.tallies import BY
from sdeictl.host.open import open_root
from sdeictl.probe.collect import collect
from sdeictl.probe.document import ReportDocument
from sdeictl.probe.page import report_page
from sdeictl.probe.report import build_report
from tests.conftest import load_host
from tests.lab.browser import Browser, running_browser
from tests.lab.build import Lab
from tests.support.made_report import made_report
from tests.support.planted_fleet import make_fleet, write_reports
from tests.test_bench import noisy, run_of
from tests.test_bench_page import AA
from tests.test_probe import report_of

WIDE, NARROW, HEIGHT = 1280, 400, 800
LOOKS = {"light": (WIDE, False), "dark": (WIDE, True), "narrow": (NARROW, False)}
"""(width in pixels, dark) of a window."""
NAMES = ("planted", "large", "hostile", "probe", "probe-hostile", "bench")
HOSTILE = "</code><script>document.title = 'run'</script>\u202e&lt;" + "long" * 100
TAB, ENTER = ("Tab", 9), ("Enter", 13)
ACTIVE = "document.activeElement"


def planted_page(directory: Path) -> bytes:
    """Return the page of a planted fleet in files."""
    directory.mkdir()
    model = build_report(collect(open_root(str(load_host("acpi-sdei").root))))
    write_reports(make_fleet(1000), directory, model)
    source = FileSource([str(directory)], BY, 0, lambda *_: None)
    return fleet_page(build_fleet_report(source, (), BY, "2026-11-27T08:00:00+00:00"))


def hostile_report() -> ReportDocument:
    report = report_of(load_host("dt-idle").root)
    report["host"]["model"] = report["verdict"]["hazards"][0] = report["findings"][0]["seen"] = HOSTILE
    return report


def bench_page() -> bytes:
    sides = [run_of(noisy(1e-7, 1))], [run_of(noisy(1.05e-7, 2), "on")]
    return comparison_page(compare_runs(*sides), sides, parse_aa(json.dumps(AA).encode()))


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with the pages of NAMES, and one that is bad in every way."""
    directory = tmp_path_factory.mktemp("pages")
    made = {
        "planted": planted_page(directory / "reports"),
        "large": fleet_page(made_report(10_000, 2_000)),
        "hostile": fleet_page(made_report(10_000, 40, HOSTILE)),
        "probe": report_page(report_of(load_host("acpi-advertised").root)),
        "probe-hostile": report_page(hostile_report()),
        "bench": bench_page(),
        "bad": b"<p style='color:#999'>pale</p><img src='http://192.0.2.1/a.png'><script>1</script>"
        b"<div style='width:2000px'>wide</div>",
    }
    for name, page in made.items():
        (directory / f"{name}.html").write_bytes(page)
    return directory


@pytest.fixture(scope="module")
def browser(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with running_browser(lab, tmp_path_factory.mktemp("browser")) as running:
        yield running


def show(browser: Browser, pages: Path, name: str, look: str = "light") -> None:
    """Show a page with everything unfolded."""
    width, dark = LOOKS[look]
    browser.show(pages / f"{name}.html", width=width, height=HEIGHT, dark=dark)
    browser.value("document.querySelectorAll('details').forEach(each => { each.open = true })")


def faults(browser: Browser, lab: Lab) -> tuple[set[str], set[str]]:
    """Return the rules of axe-core that the page breaks seriously, and those that it keeps."""
    browser.value((lab.part("chromium") / "usr/share/axe.min.js").read_text() + "; 0")
    found: dict[str, Any] = browser.value(
        "axe.run().then(all => ({broken: all.violations.map(each => [each.id, each.impact]),"
        " kept: all.passes.map(each => each.id)}))"
    )
    serious = {rule for rule, impact in found["broken"] if impact in ("serious", "critical")}
    return serious, set(found["kept"])


def bottoms(browser: Browser, *selectors: str) -> list[float]:
    """Return where elements end, in pixels from the top of the page."""
    get = "[...document.querySelectorAll({!r})].map(each => each.getBoundingClientRect().bottom + scrollY)"
    return [max(browser.value(get.format(selector))) for selector in selectors]


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("name", NAMES)
def test_axe_finds_nothing_serious(name: str, look: str, browser: Browser, lab: Lab, pages: Path) -> None:
    show(browser, pages, name, look)
    broken, kept = faults(browser, lab)
    assert broken == set()
    assert {"color-contrast", "heading-order", "bypass", "link-name", "svg-img-alt"} <= kept


def test_axe_finds_what_is_bad(browser: Browser, lab: Lab, pages: Path) -> None:
    show(browser, pages, "bad")
    broken, _kept = faults(browser, lab)
    assert {"color-contrast", "image-alt", "html-has-lang", "document-title"} <= broken


@pytest.mark.parametrize("name", [*NAMES, "bad"])
def test_no_scrolling_sideways(name: str, browser: Browser, pages: Path) -> None:
    show(browser, pages, name, "narrow")
    assert (browser.value("document.documentElement.scrollWidth") > NARROW) == (name == "bad")


@pytest.mark.parametrize("dark", [False, True])
def test_first_window_says_it(dark: bool, browser: Browser, pages: Path, tmp_path: Path) -> None:
    """How many, why, whose, the remedy, each owner and the bar are there before anybody scrolls."""
    browser.show(pages / "planted.html", width=WIDE, height=HEIGHT, dark=dark)
    picture = browser.picture()
    (tmp_path / "page.png").write_bytes(picture)
    assert struct.unpack(">I", picture[16:20]) == (WIDE,)
    assert max(bottoms(browser, "h1", ".answer", "svg", "#result table")) <= HEIGHT
    assert re.match(
        r"292 hosts of \d+ are not ready", browser.value("document.querySelector('h1').innerText")
    )
    answer = browser.value("[...document.querySelectorAll('.answer dd')].map(each => each.innerText)")
    assert answer[0].split() == ["pseudo-nmi-requested", "fails", "292", "hosts"]
    assert answer[1] == "admin"
    ground = browser.value("getComputedStyle(document.body).backgroundColor")
    assert (max(map(int, re.findall(r"\d+", ground))) < 64) == dark
    browser.show(pages / "planted.html", width=NARROW, height=HEIGHT, dark=dark)
    (tmp_path / "narrow.png").write_bytes(browser.picture())
    assert max(bottoms(browser, "h1", ".answer")) <= HEIGHT


def test_keyboard_reaches_everything(browser: Browser, pages: Path) -> None:
    """In the order of the page, and one sees where one is."""
    browser.show(pages / "large.html", width=WIDE, height=HEIGHT)
    browser.value("window.all = [...document.querySelectorAll('a, summary')]")
    count = browser.value("all.length")
    assert count > 20
    for place in range(count):
        browser.press(*TAB)
        assert browser.value(f"all.indexOf({ACTIVE})") == place
        style = f"getComputedStyle({ACTIVE})"
        assert browser.value(f"[{style}.outlineStyle, {style}.outlineWidth]") == ["solid", "3px"]
        assert browser.value(f"{ACTIVE}.getBoundingClientRect().left") >= 0
    last = "all[all.length - 1].parentElement"
    assert not browser.value(f"{last}.open")
    browser.press(*ENTER)
    assert browser.value(f"{last}.open")


def test_skip_link(browser: Browser, pages: Path) -> None:
    browser.show(pages / "planted.html", width=WIDE, height=HEIGHT)
    browser.press(*TAB)
    browser.press(*ENTER)
    browser.press(*TAB)
    assert browser.value(f"{ACTIVE}.closest('#result') !== null")


def test_what_a_screen_reader_finds(browser: Browser, pages: Path) -> None:
    """Landmarks, headings, tables and the bar, each with its name."""
    show(browser, pages, "planted")
    nodes = [node for node in browser.call("Accessibility.getFullAXTree")["nodes"] if not node["ignored"]]
    names: dict[str, list[str]] = {}
    for node in nodes:
        names.setdefault(node["role"]["value"], []).append(node.get("name", {}).get("value", ""))
    assert all(len(names[role]) == 1 for role in ("banner", "main", "navigation", "contentinfo"))
    assert names["heading"][0].startswith("292 hosts of")
    assert "Broken links: failed checks of hosts that are not ready, by owner" in names["heading"]
    (bar,) = names["image"]
    assert re.fullmatch(
        r"588 ready without a hazard, 48 ready but AT RISK, 292 not ready, 48 unknown, \d+ without data", bar
    )
    assert all(names["table"])
    assert all(names["rowheader"])
    assert "\u2717" not in "".join(names["rowheader"])


@pytest.mark.parametrize("dark", [False, True])
def test_printed(dark: bool, browser: Browser, pages: Path, tmp_path: Path) -> None:
    """On a few pages, dark on white whatever the screen is, and without what only a screen needs."""
    browser.show(pages / "planted.html", width=WIDE, height=HEIGHT, dark=dark)
    paper = browser.printed()
    (tmp_path / "page.pdf").write_bytes(paper)
    assert paper.startswith(b"%PDF-")
    assert 1 <= len(re.findall(rb"/Type\s*/Page\b", paper)) <= 4
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.call("Emulation.setEmulatedMedia", media="print", features=[scheme])
    color = browser.value("getComputedStyle(document.body).color")
    assert max(map(int, re.findall(r"\d+", color))) < 64
    assert browser.value("getComputedStyle(document.querySelector('nav')).display") == "none"
    browser.call("Emulation.setEmulatedMedia", media="")


@pytest.mark.parametrize("name", [*NAMES, "bad"])
def test_nothing_is_fetched_or_run(name: str, browser: Browser, pages: Path) -> None:
    """The browser asks for the page alone, runs nothing, and has nothing to complain about."""
    show(browser, pages, name)
    requests = [
        event["params"]["request"]["url"]
        for event in browser.events
        if event["method"] == "Network.requestWillBeSent"
    ]
    good = name != "bad"
    assert (requests == [(pages / f"{name}.html").as_uri()]) == good
    assert (browser.value("document.scripts.length") == 0) == good
    if good:
        assert not [event for event in browser.events if event["method"] == "Log.entryAdded"]
        assert browser.value("document.title") != "run"
        assert browser.value("document.compatMode") == "CSS1Compat"


def test_policy_stops_what_gets_in(browser: Browser, pages: Path, tmp_path: Path) -> None:
    """Markup that no text can become: if it did, it would neither run nor fetch nor restyle the page."""
    page = (pages / "planted.html").read_bytes()
    attack = (
        b"<script>document.title = 'run'</script><style>h1 { display: none }</style>"
        b"<img src='http://192.0.2.1/x' onerror='document.title = 1'>"
    )
    (tmp_path / "attacked.html").write_bytes(page.replace(b"<main>", b"<main>" + attack))
    browser.show(tmp_path / "attacked.html")
    assert browser.value("document.scripts.length") == 1
    assert browser.value("document.title").startswith("292 hosts")
    assert browser.value("getComputedStyle(document.querySelector('h1')).display") == "block"
    violations = [
        event["params"]["entry"]["text"] for event in browser.events if event["method"] == "Log.entryAdded"
    ]
    assert sum("Content Security Policy" in text for text in violations) >= 3
