"""The soak tests: parts that go on where they were stopped, and figures that add up."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import TESTS
from tests.fuzz.harness import FINDING, target_names
from tests.tools import soak
from tests.tools.soak import (
    PARTS,
    Count,
    Ended,
    Figures,
    Fuzz,
    FuzzFigures,
    Step,
    add_figures,
    parse_fuzz_log,
)

STEP = Step("test_thing.py -k 'one or two'", {"SDEICTL_EXAMPLES": "7"})
FUZZ_TABLE = "## Fuzzing\n\n| target | runs |\n|---|---|\n"
TABLE = "## Figures\n\n| part | step | runs | passed | failed |\n|---|---|---|---|---|\n"
COUNTS = "\n## Counts\n\n| part | what | number |\n|---|---|---|\n"
PAGE = f"# Soak\n\n{FUZZ_TABLE}\n{TABLE}{COUNTS}"
LOG = f"""\
#512\tREDUCE cov: 90 ft: 334 corp: 29/47Kb lim: 3264 exec/s: 541 rss: 78Mb
{FINDING}KeyError at sdeictl/x.py:7: /tmp/one
INFO: signal received, trying to exit gracefully
#1024\tDONE   cov: 95 ft: 340 corp: 30/48Kb lim: 3264 exec/s: 541 rss: 78Mb
stat::number_of_executed_units: 16554
stat::average_exec_per_sec:     551
"""


def test_figures_add_up() -> None:
    label = f"`things` | `{STEP.text()}`"
    page = add_figures(PAGE, soak.HEADING, label, Figures(1, 3, 0))
    page = add_figures(page, soak.HEADING, f"`others` | `{STEP.text()}`", Figures(1, 5, 0))
    page = add_figures(page, soak.FUZZ_HEADING, "`acpi`", FuzzFigures(1, 60, 1000, 90, 400, 1))
    page = add_figures(page, soak.HEADING, label, Figures(1, 2, 1))
    page = add_figures(page, soak.FUZZ_HEADING, "`acpi`", FuzzFigures(1, 600, 5, 80, 500, 1))
    page = add_figures(page, soak.FUZZ_HEADING, "`acpidump`", FuzzFigures(1, 60, 1, 2, 3, 0))
    text = "SDEICTL_EXAMPLES=7 test_thing.py -k 'one or two'"
    page = add_figures(page, soak.COUNTS, "`things` | things", Count(2))
    page = add_figures(page, soak.COUNTS, "`things` | things", Count(3))
    assert page == (
        f"# Soak\n\n{FUZZ_TABLE}| `acpi` | 2 | 660 | 1005 | 90 | 500 | 2 |\n"
        "| `acpidump` | 1 | 60 | 1 | 2 | 3 | 0 |\n"
        f"\n{TABLE}| `things` | `{text}` | 2 | 5 | 1 |\n| `others` | `{text}` | 1 | 5 | 0 |\n"
        f"{COUNTS}| `things` | things | 5 |\n"
    )


def test_counts_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counting = tmp_path / "tests/test_counting.py"
    counting.parent.mkdir()
    counting.write_text(
        "import pytest\n@pytest.mark.parametrize('number', [3, 4])\n"
        "def test_one(number, record_property):\n    record_property('things', number)\n"
        "    record_property('a word', 'no number')\n"
    )
    monkeypatch.setattr(soak, "PROJECT", tmp_path)
    monkeypatch.setattr(soak, "STATE", tmp_path / "state")
    assert soak.run_step(Step("test_counting.py")) == (Figures(1, 2, 0), {"things": 7})


def test_page_has_the_tables() -> None:
    page = soak.PAGE.read_text()
    assert 0 < page.index(soak.FUZZ_HEADING) < page.index(soak.HEADING) < page.index(soak.COUNTS)


@pytest.mark.parametrize("step", sorted({step.text() for part in PARTS.values() for step in part}))
def test_each_step_is_a_file(step: str) -> None:
    words = [word for word in step.split() if "=" not in word]
    assert (TESTS / words[0]).is_file() or (TESTS / f"fuzz/targets/{step}.py").is_file()


def test_every_target_is_fuzzed() -> None:
    assert list(PARTS["fuzz"]) == list(map(Fuzz, target_names()))


def test_stopped_part_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "soak.md"
    page.write_text(PAGE)
    monkeypatch.setattr(soak, "PAGE", page)
    monkeypatch.setattr(soak, "STATE", tmp_path / "state")
    monkeypatch.setattr(soak, "PARTS", {"things": [Step("one.py"), Step("two.py"), Step("three.py")]})
    done: list[str] = []
    stops = iter([True])

    def run(step: Step) -> Ended:
        if step.arguments == "two.py" and next(stops, False):
            raise TimeoutError
        done.append(step.arguments)
        return Ended(Figures(1, 1, int(step.arguments == "three.py")), {"things": 1})

    monkeypatch.setattr(soak, "run_step", run)
    with pytest.raises(TimeoutError):
        soak.run_part("things")
    assert soak.run_part("things") is False
    assert done == ["one.py", "two.py", "three.py"]
    assert page.read_text().count("| 1 | 1 | 0 |") == 2
    done.clear()
    soak.run_part("things")
    assert done == ["one.py", "two.py", "three.py"]


def test_failure_without_results_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soak, "STATE", tmp_path)
    assert soak.run_step(Step("no_such_file.py --no-such-option")).figures == Figures(1, 0, 1)


def test_fuzz_log_is_read() -> None:
    assert parse_fuzz_log(LOG) == FuzzFigures(1, 0, 16554, 95, 340, 1)
    assert parse_fuzz_log("ModuleNotFoundError: atheris\n") == FuzzFigures(1)


@pytest.fixture
def as_fuzzer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return a function that lets some code run instead of the fuzzer."""
    run_program = subprocess.run

    def take(code: str) -> None:
        def run(_command: list[str], **options: object) -> object:
            return run_program([sys.executable, "-c", code], **options)  # type: ignore[call-overload]

        monkeypatch.setattr(subprocess, "run", run)

    monkeypatch.setattr(soak, "WORK", tmp_path)
    return take


@pytest.mark.parametrize("code", [f"print({LOG!r}, end='')", "raise SystemExit(77)", "import os; os.abort()"])
def test_end_of_the_fuzzer_counts(code: str, as_fuzzer: Callable[[str], None]) -> None:
    as_fuzzer(code)
    figures = soak.run_fuzz(Fuzz("acpi"))
    assert (figures.runs, figures.seconds, figures.findings) == (1, soak.FUZZ_SECONDS, 1)


@pytest.mark.parametrize("code", ["raise SystemExit(72)", "import os; os.kill(os.getpid(), 9)"])
def test_interrupted_fuzzer_does_not_count(code: str, as_fuzzer: Callable[[str], None]) -> None:
    as_fuzzer(code)
    with pytest.raises(KeyboardInterrupt):
        soak.run_fuzz(Fuzz("acpi"))


def test_fuzzer_that_cannot_be_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(soak, "STATE", tmp_path / "state")
    monkeypatch.setattr(soak, "install_fuzzer", lambda: False)
    assert soak.run_part("fuzz") is False
    assert "needs atheris" in capsys.readouterr().err
    assert not (tmp_path / "state").exists()
