"""The soak tests: parts that go on where they were stopped, and figures that add up."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import TESTS
from tests.tools import soak
from tests.tools.soak import PARTS, Figures, Step, add_figures

STEP = Step("test_thing.py -k 'one or two'", {"SDEICTL_EXAMPLES": "7"})
PAGE = "# Soak\n\n## Figures\n\n| part | step | runs | passed | failed |\n|---|---|---|---|---|\n"


def test_figures_add_up() -> None:
    page = add_figures(PAGE, "things", STEP, Figures(1, 3, 0))
    page = add_figures(page, "others", STEP, Figures(1, 5, 0))
    page = add_figures(page, "things", STEP, Figures(1, 2, 1))
    text = "SDEICTL_EXAMPLES=7 test_thing.py -k 'one or two'"
    assert page == PAGE + f"| `things` | `{text}` | 2 | 5 | 1 |\n| `others` | `{text}` | 1 | 5 | 0 |\n"


def test_page_has_a_table() -> None:
    assert soak.HEADING in soak.PAGE.read_text()


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

    def run(step: Step) -> Figures:
        if step.arguments == "two.py" and next(stops, False):
            raise TimeoutError
        done.append(step.arguments)
        return Figures(1, 1, int(step.arguments == "three.py"))

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
    assert soak.run_step(Step("no_such_file.py --no-such-option")) == Figures(1, 0, 1)
