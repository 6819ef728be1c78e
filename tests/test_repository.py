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
from sdeictl_agent.__main__ import main as agent
from sdeictl_agent.config import DEFAULT_PORT, KEYS

from sdeictl import __version__
from sdeictl.checks.table import CHECKS
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
    run(tool("mandoc"), "-T", "lint", "-W", "warning", *sorted((PROJECT / "man").iterdir()))


def test_every_option_and_key_of_the_agent_is_in_its_pages() -> None:
    page = (PROJECT / "man/sdeictl-agent.8").read_text().replace("\\-", "-")
    assert {*options(agent), "--help", f"sdeictl {__version__}"} <= set(
        re.findall(r"--[\w-]+|sdeictl [\d.]+\d", page)
    )
    assert str(DEFAULT_PORT) in page
    keys = re.findall(r"^\.BR ([\w.]+) \"", (PROJECT / "man/sdeictl.toml.5").read_text(), re.MULTILINE)
    assert keys == list(KEYS)
    assert f"ListenStream=127.0.0.1:{DEFAULT_PORT}" in (PROJECT / "systemd/sdeictl-agent.socket").read_text()


def test_units_verify(tmp_path: Path) -> None:
    """systemd-analyze asks that what a unit starts is there, and the units it names."""
    units = [path for path in (PROJECT / "systemd").iterdir() if path.suffix != ".conf"]
    for unit in units:
        text = unit.read_text().replace("/usr/bin/sdeictl", str(tool("sdeictl")))
        (tmp_path / unit.name).write_text(text)
    for unit in units:
        run(tool("systemd-analyze"), "verify", "--man=no", tmp_path / unit.name)


@pytest.mark.parametrize(
    ("unit", "limit"), [("sdeictl-agent", 0.5), ("sdeictl-watch", 1.5), ("sdeictl-collect", 4.0)]
)
def test_what_a_unit_exposes(unit: str, limit: float) -> None:
    done = subprocess.run(
        [tool("systemd-analyze"), "security", "--offline=true", "--no-pager", f"systemd/{unit}.service"],
        cwd=PROJECT, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert found
    assert float(found[1]) <= limit


def options(command: click.Command) -> set[str]:
    return {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}


def all_commands() -> dict[str, click.Command]:
    """Return every command by its name, with its group's."""
    context = click.Context(cli)
    found: dict[str, click.Command] = {}
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert command
        inner = command.commands if isinstance(command, click.Group) else {}
        found |= {f"{name} {each}": one for each, one in inner.items()} or {name: command}
    return found


def test_every_command_and_option_is_in_the_man_page() -> None:
    page = (PROJECT / "man/sdeictl.1").read_text().replace("\\-", "-")
    synopsis, _, rest = page.partition(".SH DESCRIPTION")
    commands, _, rest = rest.partition(".SH COMMANDS")[2].partition(".SH OPTIONS")
    names = all_commands()
    assert len(names) > 8
    starts = {name: re.search(rf"^\.BI? {name}\b", commands, re.MULTILINE) for name in names}
    order = sorted(start.start() for start in starts.values() if start)
    for name, command in names.items():
        start = starts[name]
        assert start, name
        section = commands[start.start() : next((at for at in order if at > start.start()), None)]
        for option in (option for option in options(command) if option.startswith("-")):
            assert re.search(rf"^\.B[IR]? {option}\b", section, re.MULTILINE), (name, option)
        assert f".B sdeictl {name}\n" in synopsis, name
    words = set(re.findall(r"--[\w-]+|sdeictl [\d.]+\d", page))
    assert {*options(cli), "--help", f"sdeictl {__version__}"} <= words


def test_check_ids_are_unique_and_named_in_the_terms_of_the_field() -> None:
    ids = [check.id for check in CHECKS]
    assert len(ids) == len(set(ids))
    assert {check.owner for check in CHECKS} <= {"firmware", "kernel", "admin"}
    assert {check.path for check in CHECKS} == {"sdei", "pseudo-nmi", ""}


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
