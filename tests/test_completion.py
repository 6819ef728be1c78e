"""Completion in real shells: what a person types, and what appears."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sdeictl.commands import complete
from tests.support.tmux import Tmux, running_tmux
from tests.support.tools import tool

SHELLS = {
    "bash": ("bash --norc --noprofile -i", 'eval "$(_SDEICTL_COMPLETE=bash_source sdeictl)"'),
    "zsh": ("zsh -f -i", 'autoload -U compinit; compinit -u; eval "$(_SDEICTL_COMPLETE=zsh_source sdeictl)"'),
    "fish": ("fish --no-config -i", "_SDEICTL_COMPLETE=fish_source sdeictl | source"),
}
"""How a shell starts without anybody's configuration, and the line of the README."""
TYPED = (
    ("sdeictl explain sdei-ans", "sdeictl explain sdei-answered"),
    ("sdeictl bench run getppid", "getppid-raw"),
    ("sdeictl drill back", "sdeictl drill backtrace"),
    ("sdeictl help fleet re", "sdeictl help fleet report"),
    ("sdeictl probe --form", "sdeictl probe --format"),
)
SECONDS = 60


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest) -> Iterator[Tmux]:
    """Start a shell that completes sdeictl."""
    command, line = SHELLS[request.param]
    tool(command.split()[0])
    programs = Path(sys.executable).parent
    with running_tmux(f"env PATH={programs}:$PATH {command}", (100, 30)) as tmux:
        type_words(tmux, f"{line}; echo rea''dy", "Enter")
        wait_for(tmux, "\nready")
        yield tmux


def type_words(tmux: Tmux, words: str, *keys: str) -> None:
    tmux("send-keys", "-l", words)
    tmux("send-keys", *keys)


def wait_for(tmux: Tmux, words: str) -> None:
    """Wait until the terminal shows the words; fail with what it shows instead."""
    end = time.monotonic() + SECONDS
    shown = ""
    while time.monotonic() < end:
        shown = "\n" + tmux("capture-pane", "-p", "-S", "-")
        if words in shown:
            return
        time.sleep(0.1)
    raise AssertionError(f"no {words!r} in:\n{shown}")


def test_real_shells_complete(shell: Tmux) -> None:
    for typed, completed in TYPED:
        type_words(shell, typed, "Tab")
        # Where several names fit, the second Tab shows them.
        if not completed.startswith(typed):
            shell("send-keys", "Tab")
        wait_for(shell, completed)
        shell("send-keys", "C-c")
        type_words(shell, "clear", "Enter")


def test_stored_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offered(incomplete: str) -> list[tuple[str, str]]:
        found = complete.stored_runs(None, None, incomplete)  # type: ignore[arg-type] # it needs neither
        return [(item.type, item.value) for item in found]

    monkeypatch.setattr(complete, "BENCH_RESULTS", str(tmp_path))
    assert offered("") == [("file", "")]
    for name in ("20260101-run.json", "20260102-run.json", "experiment"):
        (tmp_path / name).touch()
    first, second = (("plain", f"{tmp_path}/2026010{day}-run.json") for day in (1, 2))
    assert offered("") == [first, second]
    assert offered("20260102") == [second]
    assert offered(f"{tmp_path}/20260101") == [first]
    assert offered("./on.json") == [("file", "./on.json")]
