"""What `make` sets up: it checks first, and says what it installs before it does."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import PROJECT
from tests.support.tools import tool

MAKEFILE = (PROJECT / "Makefile").read_text()
SCRIPT = PROJECT / "tests/tools/venv.sh"


def test_help_names_each_target() -> None:
    done = subprocess.run([tool("make"), "help"], cwd=PROJECT, capture_output=True, text=True, check=True)
    named = set(re.findall(r"^make ([a-z-]+) ", done.stdout, re.MULTILINE))
    (phony,) = re.findall(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)
    rare = {"help", "lab-shell", "hosts", "truth-table"}
    assert named == set(phony.split()) - rare
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_demo_needs_no_tool_of_the_tests() -> None:
    assert re.search(r"^demo: \$\(VENV\)/installed$", MAKEFILE, re.MULTILINE)
    assert "[dev]" not in SCRIPT.read_text()


def program(directory: Path, name: str, text: str) -> None:
    (directory / name).write_text(f"#!/bin/sh\n{text}\n")
    (directory / name).chmod(0o755)


@pytest.mark.parametrize(("python", "user", "sentence"), [
    ('case "$2" in *version_info*) exit 1;; esac; echo Python 3.8.10', 0,
     "sdeictl needs Python 3.9 or later, and this is Python 3.8.10: name another one by PYTHON="),
    ('case "$2" in *ensurepip*) exit 1;; esac', 1000,
     "the module venv of Python is missing: install the Debian package python3-venv as root"),
    ('case "$2" in *ensurepip*) exit 1;; esac; exit 0', 0,
     "installing the Debian package python3-venv by apt-get: ./python lacks the module venv"),
])  # fmt: skip
def test_setup_says_what_is_missing(tmp_path: Path, python: str, user: int, sentence: str) -> None:
    program(tmp_path, "python", python)
    program(tmp_path, "id", f"echo {user}")
    program(tmp_path, "apt-get", 'echo "apt-get $1" >> called; exit 1')
    done = subprocess.run(
        ["sh", str(SCRIPT), "venv"], cwd=tmp_path, capture_output=True, text=True, check=False,
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHON": "./python"},
    )  # fmt: skip
    assert done.returncode
    assert sentence in done.stderr.splitlines()[0]
    assert not (tmp_path / "venv").exists()
    # The sentence comes before the installation, and nobody else installs anything.
    assert (tmp_path / "called").exists() == ("installing" in sentence)


def test_setup_needs_a_python() -> None:
    done = subprocess.run(["sh", str(SCRIPT), "/no/venv"], capture_output=True, text=True, check=False,
                          env=os.environ | {"PYTHON": "no-such-python"})  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("make: no-such-python does not exist: install python3, or name another")


def test_dist_builds_all_or_nothing(tmp_path: Path) -> None:
    """Without the compilers it says which packages have them, and leaves no file."""
    words = [sys.executable, "-m", "tests.tools.dist", str(tmp_path / "dist")]
    done = subprocess.run(words, cwd=PROJECT, capture_output=True, text=True, check=False,
                          env={"PATH": str(tmp_path)})  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert "nothing was built. Missing: aarch64-linux-gnu-gcc (Debian: gcc-aarch64-linux-gnu)" in done.stderr
    assert not (tmp_path / "dist").exists()
