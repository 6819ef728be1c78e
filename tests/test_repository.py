"""The repository checks itself: style, types, shell scripts, man pages, package.

A missing tool skips a check on a developer's machine, never where CI is set.
"""

from __future__ import annotations

import itertools
import os
import re
import shlex
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

import click
import pytest
from sdeictl_agent.config import DEFAULT_PORT, KEYS
from sdeictl_agent.exporter import main as agent

from sdeictl import __version__
from sdeictl.cli import cli
from sdeictl.errors import Status
from sdeictl.klog.words import NmiPath
from sdeictl.probe.checks.table import CHECKS
from tests.conftest import PROJECT
from tests.support import toml
from tests.support.tools import run, tool

SHELL_SCRIPTS = sorted(
    path
    for pattern in (
        "tests/**/*.sh",
        "tests/lab/parts/*-init",
        "tests/lab/parts/system-*",
        "debian/postinst",
        "debian/postrm",
        ".ci/run",
    )
    for path in PROJECT.glob(pattern)
    if "__pycache__" not in path.parts
)
MAN = PROJECT / "man"
README = (PROJECT / "README.md").read_text()


def test_ruff() -> None:
    run(tool("ruff"), "check", ".")
    run(tool("ruff"), "format", "--check", ".")


def test_a_newline_alone_ends_a_line() -> None:
    paths = [path for package in ("sdeictl", "agent") for path in (PROJECT / package).rglob("*.py")]
    found = {path.name: len(re.findall(r"[\w)]\.splitlines\(", path.read_text())) for path in paths}
    # A program that shows its progress ends its last line with a carriage return.
    assert {name: count for name, count in found.items() if count} == {"programs.py": 1}


def test_mypy() -> None:
    run(tool("mypy"))


def test_shellcheck() -> None:
    assert len(SHELL_SCRIPTS) > 5
    run(tool("shellcheck"), "--external-sources", *SHELL_SCRIPTS)


def test_man_page_lint() -> None:
    run(tool("mandoc"), "-T", "lint", "-W", "warning", *sorted(MAN.iterdir()))


def commands_below(name: str, command: click.Command) -> dict[str, click.Command]:
    """Return a command and those below it, by the names of their pages."""
    found = {name: command}
    if isinstance(command, click.Group):
        context = click.Context(command)
        for each in command.list_commands(context):
            inner = command.get_command(context, each)
            assert inner
            found |= commands_below(f"{name}-{each}", inner)
    return found


PROGRAMS: dict[str, click.Command] = {"sdeictl": cli, "sdeictl-agent": agent}
COMMANDS = {
    name: command for program in PROGRAMS.items() for name, command in commands_below(*program).items()
}


def options(name: str) -> set[str]:
    every = {"-h", "--help"} if name in PROGRAMS else set()
    for parameter in COMMANDS[name].params:
        if isinstance(parameter, click.Option):
            every |= {*parameter.opts, *parameter.secondary_opts}
    return every


def page_of(name: str) -> str:
    """Return a page without its marks for fonts and hyphens."""
    file = f"{name}.{8 if name.startswith('sdeictl-agent') else 1}"
    return re.sub(r"\\f[BIPR]", "", (MAN / file).read_text().replace("\\-", "-"))


def section(page: str, title: str) -> str:
    return page.partition(f"\n.SH {title}\n")[2].partition("\n.SH ")[0]


def options_in(text: str) -> set[str]:
    return set(re.findall(r"(?<![\w-])--?[a-z][\w-]*", text))


def long_options(names: Iterable[str]) -> set[str]:
    return {option for name in names for option in options(name) if option.startswith("--")}


def pages_named(text: str) -> set[str]:
    return {f"{name}.{number}" for name, number in re.findall(r"^\.BR (\S+) \((\d)\)", text, re.MULTILINE)}


def calls_in(text: str) -> Iterator[tuple[str, list[str]]]:
    """Yield what examples call: a command, by the name of its page, and its arguments."""
    for line in re.findall(r"^\$ (.*)", text, re.MULTILINE):
        words = shlex.shlex(line, posix=True, punctuation_chars=True)
        words.whitespace_split = True
        for shell_word, group in itertools.groupby(words, lambda word: set(word) <= set("();<>|&")):
            call = list(group)
            program = next((word for word in call if word in PROGRAMS), None)
            if shell_word or program is None:
                continue
            name, arguments = program, call[call.index(program) + 1 :]
            while isinstance(COMMANDS[name], click.Group):
                name = f"{name}-{arguments.pop(0)}"
            yield name, arguments


def test_each_command_has_a_page() -> None:
    scripts = toml.loads((PROJECT / "pyproject.toml").read_text())["project"]["scripts"]
    assert {path.stem for path in MAN.iterdir() if path.suffix in (".1", ".8")} == {*COMMANDS, *scripts}
    assert len(COMMANDS) > 20


@pytest.mark.parametrize("path", sorted(MAN.iterdir()), ids=lambda path: path.name)
def test_page_refers_to_existing_pages(path: Path) -> None:
    text = path.read_text().replace("\\-", "-")
    title, number = path.stem.upper(), path.suffix[1:]
    assert re.match(rf'\.TH {title} {number} [\d-]+ "sdeictl {re.escape(__version__)}" "', text)
    assert section(text, "NAME").startswith(f"{path.stem} - ")
    named = {name for name in pages_named(text) if name.startswith("sdeictl")}
    assert named
    assert named <= {page.name for page in MAN.iterdir()} - {path.name}
    assert pages_named(section(text, "SEE ALSO"))


@pytest.mark.parametrize("name", COMMANDS)
def test_page_has_all_options(name: str) -> None:
    page = page_of(name)
    items = re.split(r"^\.TP\n", section(page, "OPTIONS"), flags=re.MULTILINE)[1:]
    told = {option: item for item in items for option in options_in(item.partition("\n")[0])}
    assert set(told) == options(name)
    assert options_in(section(page, "SYNOPSIS")) == options(name) - {"-h"}
    for parameter in COMMANDS[name].params:
        if isinstance(parameter, click.Option):
            item = told[parameter.opts[0]]
            values: list[object] = []
            if isinstance(parameter.type, click.Choice):
                values += parameter.type.choices
            if isinstance(parameter.type, click.IntRange):
                values += [limit for limit in (parameter.type.min, parameter.type.max) if limit and limit > 1]
            if parameter.show_default:
                values.append(parameter.default)
            missing = [value for value in values if not re.search(rf"(?<![\w-]){value}(?![\w-])", item)]
            assert not missing, parameter.opts
    # Elsewhere it may name the options of the commands that it refers to.
    others = {each.rpartition(".")[0] for each in pages_named(page)} & set(COMMANDS)
    foreign = {"--mem-usage"}  # of makedumpfile
    named = {option for option in options_in(page) if option.startswith("--")}
    assert named <= long_options({name, *others}) | foreign


@pytest.mark.parametrize("name", COMMANDS)
def test_page_examples_can_be_called(name: str) -> None:
    calls = list(calls_in(section(page_of(name), "EXAMPLES")))
    assert any(called == name or called.startswith(f"{name}-") for called, _ in calls)
    for called, arguments in calls:
        with COMMANDS[called].make_context(called, list(arguments)):
            pass


@pytest.mark.parametrize("name", COMMANDS)
def test_page_names_commands_and_statuses(name: str) -> None:
    page = page_of(name)
    below = {f"{each}.1" for each in commands_below(name, COMMANDS[name])} - {f"{name}.1"}
    assert pages_named(section(page, "COMMANDS")) == below
    statuses = {
        int(number) for number in re.findall(r"^\.B (\d+)$", section(page, "EXIT STATUS"), re.MULTILINE)
    }
    assert statuses
    assert statuses <= set(Status)
    assert name != "sdeictl" or statuses == set(Status)


def test_agent_pages_match_its_configuration() -> None:
    assert f"127.0.0.1:{DEFAULT_PORT} by default" in page_of("sdeictl-agent")
    keys = re.findall(r"^\.BR ([\w.]+) \"", (MAN / "sdeictl.toml.5").read_text(), re.MULTILINE)
    assert keys == list(KEYS)
    assert f"ListenStream=127.0.0.1:{DEFAULT_PORT}" in (PROJECT / "systemd/sdeictl-agent.socket").read_text()


def complete(program: str, how: str, **variables: str) -> str:
    name = f"_{program.replace('-', '_').upper()}_COMPLETE"
    done = subprocess.run(
        [tool(program)], env=os.environ | variables | {name: how},
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert not done.stderr
    return done.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
@pytest.mark.parametrize("program", PROGRAMS)
def test_completions_are_made_for_each_shell(program: str, shell: str) -> None:
    assert re.search(rf"complet.* {program}\b", complete(program, f"{shell}_source"))
    assert f"_SDEICTL_COMPLETE={shell}_source sdeictl" in README


def test_completions_name_commands_and_choices() -> None:
    assert complete("sdeictl", "bash_complete", COMP_WORDS="sdeictl pro", COMP_CWORD="1") == "plain,probe\n"
    words = "sdeictl drill crash --variant w"
    assert complete("sdeictl", "bash_complete", COMP_WORDS=words, COMP_CWORD="4") == "plain,wedged\n"


def test_units_verify(tmp_path: Path) -> None:
    """systemd-analyze asks that what a unit starts is there, and the units it names."""
    units = [path for path in (PROJECT / "systemd").iterdir() if path.suffix != ".conf"]
    for unit in units:
        text = unit.read_text().replace("/usr/bin/sdeictl", str(tool("sdeictl")))
        (tmp_path / unit.name).write_text(text)
    for unit in units:
        run(tool("systemd-analyze"), "verify", "--man=no", tmp_path / unit.name)


@pytest.mark.parametrize(
    ("unit", "limit"),
    [("sdeictl-agent", 0.2), ("sdeictl-watch", 1.4), ("sdeictl-collect", 2.3), ("sdeictl-textfile", 1.1)],
)
def test_what_a_unit_exposes(unit: str, limit: float) -> None:
    done = subprocess.run(
        [tool("systemd-analyze"), "security", "--offline=true", "--no-pager", f"systemd/{unit}.service"],
        cwd=PROJECT, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert found
    assert float(found[1]) <= limit


def test_check_ids_are_unique() -> None:
    ids = [check.id for check in CHECKS]
    assert len(ids) == len(set(ids))
    assert {check.path for check in CHECKS} == {NmiPath.SDEI, NmiPath.PSEUDO_NMI, None}
