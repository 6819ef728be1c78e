"""The lab's builder: resumable, keyed by the recipe, and plain about what failed. No emulator, no network."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab import build
from tests.lab.build import Lab, LabError
from tests.lab.recipes import Part


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A lab of one part, `thing`, whose recipe a test writes."""
    directory = tmp_path / "parts"
    directory.mkdir()
    (directory / "lib.sh").write_text("")
    (directory / "apt.sh").write_text('mkdir -p "$1"')
    (directory / "input").write_text("1")
    monkeypatch.setattr(build, "PARTS", directory)
    monkeypatch.setattr(build, "PARTS_TABLE", (Part("thing", ("input",), ("result",)),))
    monkeypatch.setattr(build, "ensure_tools", lambda: None)
    return directory


def test_recipe_is_built_once(parts: Path, tmp_path: Path) -> None:
    (parts / "thing.sh").write_text('cat "$LAB_PARTS/input" > result; echo run >> runs')
    lab = Lab(tmp_path / "cache")
    lab.build()
    first = lab.part("thing")
    lab.build()
    assert lab.part("thing") == first
    assert (lab.cache / "thing.work/runs").read_text() == "run\n"
    (parts / "input").write_text("2")
    with pytest.raises(LabError, match="run `make lab`"):
        lab.part("thing")
    lab.build()
    assert (lab.part("thing") / "result").read_text() == "2"
    assert not first.exists()


def test_failed_part_continues(parts: Path, tmp_path: Path) -> None:
    (parts / "thing.sh").write_text("echo half > half; echo the reason >&2; exit 3")
    lab = Lab(tmp_path / "cache")
    with pytest.raises(LabError, match=r"(?s)the reason.*thing failed with status 3") as error:
        lab.build()
    assert "thing.log" in str(error.value)
    (parts / "thing.sh").write_text("cp half result")
    lab.build()
    assert (lab.part("thing") / "result").read_text() == "half\n"


def test_part_takes_another_suite(parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (parts / "apt.sh").write_text('mkdir -p "$1"; echo "$@" > "$1/apt.conf"')
    (parts / "thing.sh").write_text('cp "$APT_CONFIG" result')
    other = Part("other", ("input",), ("result",), like="thing", suite="unstable")
    monkeypatch.setattr(build, "PARTS_TABLE", (Part("thing", ("input",), ("result",)), other))
    lab = Lab(tmp_path / "cache")
    lab.build()
    assert (
        (lab.part("thing") / "result")
        .read_text()
        .endswith("/apt deb deb-src amd64,arm64 trixie trixie-backports\n")
    )
    assert (lab.part("other") / "result").read_text().endswith("/apt-unstable deb amd64 unstable\n")


def test_part_without_result_fails(parts: Path, tmp_path: Path) -> None:
    (parts / "thing.sh").write_text("true")
    lab = Lab(tmp_path / "cache")
    with pytest.raises(LabError, match="left no result"):
        lab.build()
    with pytest.raises(LabError, match="is not built"):
        lab.part("thing")
