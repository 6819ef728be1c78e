"""The repository checks itself: style, types, shell scripts, man page, package.

A missing tool skips a check on a developer's machine, never where CI is set.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from sdeictl import __version__
from sdeictl.checks import CHECKS
from sdeictl.cli import cli
from tests.conftest import PROJECT

SHELL_SCRIPTS = sorted(
    path
    for pattern in ("tests/**/*.sh", "tests/lab/parts/*-init", ".ci/run")
    for path in PROJECT.glob(pattern)
    if "__pycache__" not in path.parts
)


def tool(name: str) -> str:
    here = Path(sys.executable).parent / name
    found = str(here) if here.exists() else shutil.which(name)
    if not found:
        if os.environ.get("CI"):
            pytest.fail(f"{name} is missing: CI must have it")
        pytest.skip(f"{name} is not installed")
    return found


def run(*command: str | Path) -> None:
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False, timeout=170)
    assert done.returncode == 0, done.stdout + done.stderr


def test_ruff() -> None:
    run(tool("ruff"), "check", ".")
    run(tool("ruff"), "format", "--check", ".")


def test_mypy() -> None:
    run(tool("mypy"))


def test_shellcheck() -> None:
    assert len(SHELL_SCRIPTS) > 5
    run(tool("shellcheck"), "--external-sources", *SHELL_SCRIPTS)


def test_man_page_lint() -> None:
    run(tool("mandoc"), "-T", "lint", "-W", "warning", "man/sdeictl.1")


def options(command: click.Command) -> set[str]:
    return {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}


def test_every_command_and_option_is_in_the_man_page() -> None:
    page = (PROJECT / "man/sdeictl.1").read_text().replace("\\-", "-")
    groups = {
        name: command.commands for name, command in cli.commands.items() if isinstance(command, click.Group)
    }
    flat = {name: command for name, command in cli.commands.items() if name not in groups}
    flat |= {f"{group} {name}": command for group, inner in groups.items() for name, command in inner.items()}
    for name, command in flat.items():
        assert re.search(rf"^\.BI? {name}\b", page, re.MULTILINE), name
        for option in options(command):
            assert not option.startswith("-") or option in page, option
    words = set(re.findall(r"--[\w-]+|sdeictl [\d.]+\d", page))
    assert {*options(cli), "--help", f"sdeictl {__version__}"} <= words


def test_check_ids_are_unique_and_named_in_the_terms_of_the_field() -> None:
    ids = [check.id for check in CHECKS]
    assert len(ids) == len(set(ids))
    assert {check.owner for check in CHECKS} <= {"firmware", "kernel", "admin"}
    assert {check.path for check in CHECKS} == {"sdei", "pseudo-nmi"}


def test_the_wheel_installs_in_an_empty_environment(tmp_path: Path) -> None:
    python = tmp_path / "venv/bin/python"
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path, PROJECT)
    run(sys.executable, "-m", "venv", tmp_path / "venv")
    (wheel,) = tmp_path.glob("*.whl")
    run(python, "-m", "pip", "install", "--quiet", wheel)
    assert (tmp_path / "venv/share/man/man1/sdeictl.1").exists()
    (tmp_path / "elsewhere").mkdir()
    done = subprocess.run(
        [tmp_path / "venv/bin/sdeictl", "probe", "--root", PROJECT / "tests/hosts/dt-sdei/root"],
        cwd=tmp_path / "elsewhere", capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "READY  nmi path: sdei")
    schemas = "import importlib.resources as r; print(*r.files('sdeictl.schemas').iterdir())"
    run(python, "-c", schemas)
