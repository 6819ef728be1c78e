"""The soak tests: parts that go on where they were stopped, and figures that add up."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import TESTS
from tests.tools import soak
from tests.tools.soak import PARTS, Ended, Figures, Step, add_counts, add_figures

STEP = Step("test_thing.py -k 'one or two'", {"SDEICTL_EXAMPLES": "7"})
FIGURES = "# Soak\n\n## Figures\n\n| part | step | runs | passed | failed |\n|---|---|---|---|---|\n"
COUNTS = "\n## Counts\n\n| part | what | number |\n|---|---|---|\n"
PAGE = FIGURES + COUNTS


def test_figures_add_up() -> None:
    page = add_figures(PAGE, "things", STEP, Figures(1, 3, 0))
    page = add_figures(page, "others", STEP, Figures(1, 5, 0))
    page = add_figures(page, "things", STEP, Figures(1, 2, 1))
    text = "SDEICTL_EXAMPLES=7 test_thing.py -k 'one or two'"
    rows = f"| `things` | `{text}` | 2 | 5 | 1 |\n| `others` | `{text}` | 1 | 5 | 0 |\n"
    assert page == FIGURES + rows + COUNTS


def test_counts_add_up() -> None:
    page = add_counts(PAGE, "things", {"things that broke": 0, "things": 2})
    page = add_counts(page, "things", {"things": 3})
    page = add_counts(page, "others", {"things": 4})
    rows = ("| `things` | things | 5 |", "| `things` | things that broke | 0 |", "| `others` | things | 4 |")
    assert page == PAGE + "\n".join(rows) + "\n"


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
    text = soak.PAGE.read_text()
    assert 0 < text.index(f"{soak.FIGURES}\n") < text.index(f"{soak.COUNTS}\n")


@pytest.mark.parametrize(
    "step", sorted({step.arguments.split()[0] for part in PARTS.values() for step in part})
)
def test_each_step_is_a_file(step: str) -> None:
    assert (TESTS / step).is_file()


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
