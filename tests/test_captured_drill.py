"""`sdeictl drill ... --dry-run --root`: what a capture shows against a drill, and what it cannot show."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from sdeictl.drill.captured import NOT_SHOWN, NOTHING_FOUND
from tests.conftest import load_host, validate
from tests.test_terminal import sdeictl

DRILLS = (("backtrace", "--masked"), ("lockup",), ("lockup", "--permanent"), ("stop",), ("crash",))


def dry_run(root: Path, *words: str) -> tuple[int, str]:
    done = sdeictl("drill", *words, "--dry-run", "--root", root)
    assert done.stderr == ""
    return done.returncode, " ".join(done.stdout.split())


@pytest.mark.parametrize("words", DRILLS, ids=" ".join)
def test_nothing_is_known_to_be_safe(words: tuple[str, ...]) -> None:
    """Whatever the capture shows, the status is not 0, and no reason is about this machine."""
    status, text = dry_run(load_host("dt-sdei").root, *words)
    assert status in (3, 4)
    assert NOT_SHOWN in text
    assert "not arm64" not in text
    assert "run it as root" not in text
    assert "not armed" not in text


@pytest.mark.parametrize(("name", "words", "sentence"), [
    ("stock-debian", ("stop",), "This kernel has no LKDTM"),
    ("lockdown", ("stop",), "The kernel is locked down (confidentiality)"),
    ("dt-sdei", ("crash",), "No crash kernel is loaded"),
    ("dt-sdei", ("backtrace", "--masked", "--seconds", "9"), "is longer than 5 s, half of watchdog_thresh"),
    ("dt-sdei", ("backtrace", "--masked", "--cpu", "9"), "CPU 9 is not online."),
])  # fmt: skip
def test_what_a_capture_shows(name: str, words: tuple[str, ...], sentence: str) -> None:
    status, text = dry_run(load_host(name).root, *words)
    assert text.startswith("refused: ")
    assert sentence in text
    assert status in (3, 4)


def test_panic_setting_of_the_capture(tmp_path: Path) -> None:
    shutil.copytree(load_host("dt-sdei").root, tmp_path / "tree", symlinks=True)
    for stored in (tmp_path / "tree/var/lib/sdeictl/drills").glob("*"):
        stored.unlink()
    status, text = dry_run(tmp_path / "tree", "backtrace", "--masked")
    assert (status, NOTHING_FOUND in text) == (3, True)
    (tmp_path / "tree/proc/sys/kernel/softlockup_panic").write_text("1\n")
    status, text = dry_run(tmp_path / "tree", "lockup")
    assert (status, "softlockup_panic is set" in text) == (4, True)


def test_reasons_as_json() -> None:
    done = sdeictl("drill", "stop", "--dry-run", "--root", load_host("stock-debian").root, "--format", "json")
    document = json.loads(done.stdout)
    validate("plan-1", document)
    assert document["plan"] is None
    assert {reason["kind"] for reason in document["reasons"]} == {"provider"}


@pytest.mark.parametrize("words", DRILLS, ids=" ".join)
def test_a_drill_runs_on_no_capture(words: tuple[str, ...], tmp_path: Path) -> None:
    done = sdeictl("drill", *words, "--root", load_host("dt-sdei").root)
    assert (done.returncode, done.stdout) == (2, "")
    assert "--root goes with --dry-run" in done.stderr
    nothing = sdeictl("drill", *words, "--dry-run", "--root", tmp_path)
    assert (nothing.returncode, nothing.stdout) == (3, "")
    assert "holds none of a host's files" in nothing.stderr


def test_module_that_is_not_built() -> None:
    status, text = dry_run(load_host("debian-11").root, "backtrace", "--masked", "--provider", "test_lockup")
    assert (status, "this kernel has no module test_lockup" in text) == (3, True)
