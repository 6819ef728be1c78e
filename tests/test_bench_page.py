"""A comparison of runs as a page: the distribution of each run, the intervals, the noise floor."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from sdeictl.bench.compare import compare_runs, parse_aa
from sdeictl.bench.document import encode
from sdeictl.bench.page import BINS, comparison_page
from tests.support.outline import HOSTILE, Outline
from tests.test_bench import noisy, run_of
from tests.test_cli import sdeictl

OFF = [run_of(noisy(1e-7, seed)) for seed in (1, 2)]
ON = [run_of(noisy(1.05e-7, seed), "on") for seed in (3, 4)]
AA = {
    "schema": "sdeictl.bench-aa/1", "host": {}, "labels": [],
    "calls": [{"call": "getppid", "pairs": 5, "called_different": 0, "largest": 0.004, "believable": True}],
}  # fmt: skip


def page_of(noise: object = None) -> Outline:
    sides = (OFF, ON)
    aa = None if noise is None else parse_aa(json.dumps(noise).encode())
    return Outline(comparison_page(compare_runs(*sides), sides, aa))


def pictures(outline: Outline) -> list[str]:
    return [attributes["aria-label"] for tag, attributes in outline.elements if tag == "svg"]


def test_page_has_effects_and_distributions() -> None:
    outline = page_of()
    effect, times = pictures(outline)
    assert effect.startswith("getppid: +0.0")
    assert times.startswith("Distribution from ")
    for run in ("first 1", "first 2", "second 1", "second 2"):
        assert f"{run}: " in times
        assert run in outline.text()
    assert "Different: getppid" in outline.text()
    assert "add --noise with a result of `bench aa`" in outline.text()
    levels = [int(tag[1]) for tag in outline.tags() if tag in ("h1", "h2", "h3")]
    assert levels == [1, 2, 2]


def test_columns_are_the_samples() -> None:
    """Each run has its own columns; the run with pseudo-NMI stands to the right of the other."""
    outline = page_of()
    columns: dict[str, list[float]] = {}
    for tag, attributes in outline.elements:
        if tag == "rect":
            columns.setdefault(attributes["class"], []).append(float(attributes["x"].rstrip("%")))
    assert sum(columns["other"]) / len(columns["other"]) < sum(columns["unknown"]) / len(columns["unknown"])
    assert max(map(len, columns.values())) <= 2 * BINS
    said = pictures(outline)[1]
    shown = sum(map(int, re.findall(r": (\d+) samples", said)))
    (beyond,) = re.findall(r"([\d,]+) longer samples are not drawn", outline.text())
    assert shown + int(beyond.replace(",", "")) == 8000
    assert shown > 6000


def test_noise_is_a_band() -> None:
    outline = page_of(AA)
    assert "equal runs differed by up to 0.4 %" in outline.text()
    assert [attributes for tag, attributes in outline.elements if attributes.get("class") == "noise"]
    assert not [attributes for tag, attributes in page_of().elements if attributes.get("class") == "noise"]


@pytest.mark.parametrize("value", [-1.0, 1e9, "x", float("nan"), True])
def test_noise_must_be_a_fraction(value: object) -> None:
    damaged = json.loads(json.dumps(AA))
    damaged["calls"][0]["largest"] = value
    with pytest.raises(ValueError, match=r"its differences are not fractions|NaN|not JSON"):
        parse_aa(json.dumps(damaged).encode())


def test_call_without_a_name_of_our_own() -> None:
    """A stored run may come from a stranger."""
    for text in HOSTILE.values():
        sides = ([run_of(noisy(1e-7, 1))], [run_of(noisy(1e-7, 2), "on")])
        for run in (*sides[0], *sides[1]):
            run["results"][0]["call"] = text
            run["labels"] = [text]
        compared = compare_runs(*sides)
        assert "script" not in Outline(comparison_page(compared, sides, None)).tags()


def test_the_command(tmp_path: Path) -> None:
    for name, run in (("off", OFF[0]), ("on", ON[0])):
        (tmp_path / name).write_bytes(encode(run))
    (tmp_path / "aa").write_text(json.dumps(AA))
    files = [str(tmp_path / name) for name in ("off", "on")]
    done = sdeictl("bench", "compare", *files, "--format", "html", "--noise", str(tmp_path / "aa"))
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"<!DOCTYPE html>")
    wrong = sdeictl("bench", "compare", *files, "--noise", str(tmp_path / "aa"))
    assert (wrong.returncode, wrong.stdout) == (2, b"")
    no_aa = sdeictl("bench", "compare", *files, "--format", "html", "--noise", files[0])
    assert (no_aa.returncode, no_aa.stdout) == (3, b"")
    assert b"its schema is 'sdeictl.bench/1', not 'sdeictl.bench-aa/1'" in no_aa.stderr
