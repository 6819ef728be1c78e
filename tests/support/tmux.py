"""A terminal for programs: a tmux server of its own."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.support.tools import tool

Tmux = Callable[..., str]
"""Calls a command of tmux, and returns what it prints."""


@contextmanager
def running_tmux(command: str, size: tuple[int, int]) -> Iterator[Tmux]:
    """Run a command on a terminal of (columns, rows); end it and everything in it at the end."""
    # The path of a socket may have 107 characters.
    with tempfile.TemporaryDirectory() as home:
        server = [tool("tmux"), "-S", f"{home}/tmux", "-f", "/dev/null"]
        variables = {"PATH": os.environ["PATH"], "HOME": home, "LC_ALL": "C.UTF-8"}

        def tmux(*words: str) -> str:
            done = subprocess.run(
                [*server, *words], check=True, env=variables, timeout=60, capture_output=True, text=True
            )
            return done.stdout

        tmux("new-session", "-d", "-x", str(size[0]), "-y", str(size[1]), command)
        try:
            yield tmux
        finally:
            tmux("kill-server")
