"""Runs the command line on hostile input, within the time and the memory of the contract."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

SECONDS = 30
MEMORY_MIB = 256
SAYS = {0, 1, 3}
"""The statuses of an answer, and of an input that cannot be read."""
_CHILD = """
import json, resource, subprocess, sys
done = subprocess.run(sys.argv[2:], timeout=30)
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
open(sys.argv[1], "w").write(json.dumps([done.returncode, peak / 1024]))
"""


class Outcome(NamedTuple):
    """How a command ended."""

    status: int
    stdout: bytes
    stderr: str
    peak_mib: float


def run(*arguments: str | Path) -> Outcome:
    """Run sdeictl; check that it needs no more than the contract allows, and has no internal error."""
    command = [sys.executable, "-m", "sdeictl", *map(str, arguments)]
    with tempfile.TemporaryDirectory() as directory:
        told = Path(directory, "told")
        # From a small process: one that is forked from here would begin with this one's own peak.
        done = subprocess.run(
            [sys.executable, "-c", _CHILD, str(told), *command],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            check=False,
            timeout=2 * SECONDS,
        )
        assert told.exists(), f"it took more than {SECONDS} s"
        status, peak = json.loads(told.read_text())
    outcome = Outcome(status, done.stdout, done.stderr.decode(), peak)
    assert status in SAYS, outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert peak <= MEMORY_MIB
    return outcome


def refused(clause: str, *arguments: str | Path) -> None:
    """Run sdeictl; check that it says why it cannot read its input, in one line, and nothing else."""
    outcome = run(*arguments)
    assert (outcome.status, outcome.stdout) == (3, b"")
    assert clause in outcome.stderr
    assert outcome.stderr.startswith("sdeictl: ")
    assert outcome.stderr.count("\n") == 1
