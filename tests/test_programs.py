"""sdeictl ends a program at its time limit with all that it has started, and does not wait any longer."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from sdeictl.host import programs
from sdeictl.host.programs import output_of, run_program

SECONDS = 60.0
RUNNERS = ("output_of", "run_program")


class Program:
    """A shell script that leaves the number of a process it has started in a file."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "thing"
        self._number = directory / "number"

    def write(self, script: str) -> None:
        self.path.write_text(f"#!/bin/sh\nnote() {{ echo $! > {self._number}; }}\n{script}\n")
        self.path.chmod(0o755)

    def run(self, how: str, seconds: float = 1) -> None:
        if how == "output_of":
            output_of("thing", seconds=seconds)
        else:
            run_program((str(self.path),), seconds)

    def child(self) -> int:
        wait_until(lambda: self._number.exists() and self._number.read_text().endswith("\n"))
        return int(self._number.read_text())

    def child_runs(self) -> bool:
        return runs(self.child())

    def end_child(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.child(), signal.SIGKILL)


def runs(number: int) -> bool:
    """Tell whether a process still runs; a dead one that nobody has waited for does not."""
    try:
        return psutil.Process(number).status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.NoSuchProcess:
        return False


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    monkeypatch.setattr(programs, "PROGRAMS", (str(tmp_path), "/usr/bin", "/bin"))
    return Program(tmp_path)


@pytest.mark.parametrize("how", RUNNERS)
@pytest.mark.parametrize(
    "script",
    [
        "sleep 600 & note; wait",
        "(trap '' HUP INT TERM; sleep 600; :) & note; wait",
        "sleep 600 & note; kill -STOP $$",
        "exec > /dev/null; sleep 600 & note; wait",
        "(while :; do echo 123; done) & note; wait",
    ],
    ids=["waits", "ignores signals", "is stopped", "closes its output", "prints"],
)
def test_limit_ends_the_whole_group(
    program: Program, how: str, script: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "MAX_OUTPUT_BYTES", 1 << 40)
    program.write(script)
    with pytest.raises(OSError, match="did not end within 1 s"):
        program.run(how)
    wait_until(lambda: not program.child_runs())


@pytest.mark.parametrize("how", RUNNERS)
def test_who_left_the_group_delays_nobody(program: Program, how: str) -> None:
    program.write("setsid sleep 600 & note; wait")
    with pytest.raises(OSError, match="did not end within 1 s"):
        program.run(how)
    assert program.child_runs()
    program.end_child()


@pytest.mark.parametrize("prefix", ["", "setsid "])
def test_open_output_is_not_an_end(program: Program, prefix: str) -> None:
    program.write(f"echo half; {prefix}sleep 600 & note")
    # Where other jobs hold the machine, the shell may not end within the first limits.
    for seconds in (1, 2, 4, 8, 16):
        with pytest.raises(OSError, match=f"within {seconds} s$") as raised:
            program.run("output_of", seconds)
        wait_until(lambda: program.child_runs() is bool(prefix))
        program.end_child()
        if "thing did not end" not in str(raised.value):
            break
    assert "thing ended, but a process that it started did not" in str(raised.value)


@pytest.mark.parametrize("how", RUNNERS)
def test_program_may_leave_a_service(program: Program, how: str) -> None:
    program.write("sleep 600 > /dev/null & note")
    program.run(how, SECONDS)
    assert program.child_runs()
    program.end_child()


def test_flood_of_output_is_cut(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "MAX_OUTPUT_BYTES", 1000)
    program.write("sleep 600 & note; while :; do echo 123; done")
    assert output_of("thing", seconds=SECONDS) == b"123\n" * 250
    wait_until(lambda: not program.child_runs())


def test_flood_of_errors_needs_no_memory(program: Program) -> None:
    """It goes through a pipe, which holds 64 KiB; the program runs on, and its last line is known."""
    flood = "head -c 300000000 /dev/zero >&2"
    program.write(f"[ -p /proc/self/fd/2 ] || exit 1; {flood}; echo >&2; echo the reason. >&2; exit 3")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(OSError, match=r"thing ended with status 3: the reason$"):
        output_of("thing", seconds=SECONDS)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KiB


@pytest.mark.parametrize("prefix", ["", "setsid "])
def test_open_errors_delay_nobody(program: Program, prefix: str) -> None:
    program.write(f"echo the reason >&2; {prefix}sleep 600 > /dev/null & note; exit 3")
    with pytest.raises(OSError, match=r"thing ended with status 3: the reason$"):
        output_of("thing", seconds=SECONDS)
    program.end_child()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_programs_end_with_sdeictl(program: Program, number: signal.Signals) -> None:
    program.write("sleep 600 & note; wait")
    code = "import sys; from sdeictl.host.programs import run_program; run_program((sys.argv[1],), 600)"
    # The tests may inherit signals that are ignored: SIGINT in the background of a shell, SIGHUP by nohup(1).
    words = ["env", "--default-signal", sys.executable, "-c", code, str(program.path)]
    caller = subprocess.Popen(words, stderr=subprocess.DEVNULL)
    assert program.child_runs()
    caller.send_signal(number)
    assert caller.wait(SECONDS) == -number
    wait_until(lambda: not program.child_runs())


def test_no_limit_waits_for_the_end(program: Program) -> None:
    program.write("sleep 0.2; exit 3")
    with pytest.raises(OSError, match="ended with status 3"):
        run_program((str(program.path),))


@pytest.mark.parametrize("how", RUNNERS)
def test_start_that_fails_halfway(program: Program, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """The program runs, but the pipe cannot be read that tells so."""
    before = psutil.Process().children()
    started: list[psutil.Process] = []

    def read(_descriptor: int, _size: int) -> bytes:
        started.extend(each for each in psutil.Process().children() if each not in before)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    program.write("exec sleep 600")
    monkeypatch.setattr(os, "read", read)
    with pytest.raises(OSError, match="Input/output error"):
        program.run(how)
    monkeypatch.undo()
    assert started
    wait_until(lambda: not any(runs(each.pid) for each in started))
