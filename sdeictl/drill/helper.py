"""Forked children of a drill. Each waits on its own CPU and does one action on command."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Callable
from typing import NoReturn

ENDED_EARLY = "the helper ended early"
_BATCH = 64
"""How many CPUs are visited at a time: each visit takes a process and a descriptor."""
IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals that helpers ignore, because the drill itself acts on them (drill/signals.py)."""


class HelperError(Exception):
    """The helper does not run on its CPU; the message is a sentence."""


class Helper:
    """A child that runs on one CPU and waits there for go().

    It ends after its action, or when its parent ends before go(). It is a process and not a thread, because
    a thread that never returns from the kernel would keep the whole process from ending.
    """

    def __init__(self, cpu: int, action: Callable[[], None]) -> None:
        self.cpu = cpu
        command, self._command = os.pipe()
        self._answer, answer = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            os.close(self._command)
            os.close(self._answer)
            _child(cpu, action, command, answer)
        os.close(command)
        os.close(answer)
        self.result: str | None = None
        """"" after a successful action, else its error; None while the action runs."""

    def wait_ready(self, seconds: float) -> None:
        """Wait until the child runs on its CPU; raise HelperError if it does not within some seconds."""
        answer = self._read(seconds)
        if answer != "ready":
            text = answer or f"nothing ran there within {seconds:g} s"
            raise HelperError(f"A helper on CPU {self.cpu} is not ready: {text}.")

    def go(self) -> None:
        """Start the action."""
        with contextlib.suppress(BrokenPipeError):  # the child has ended, and poll() reports that
            os.write(self._command, b"g")

    def poll(self, seconds: float = 0) -> str | None:
        """Wait at most some seconds for the action; return `result`."""
        if self.result is None:
            self.result = self._read(seconds)
        return self.result

    def finish(self, seconds: float) -> bool:
        """Let the child end, and wait for at most some seconds; tell whether it has ended."""
        with contextlib.suppress(OSError):
            os.close(self._command)
        deadline = time.monotonic() + seconds
        while True:
            pid, _status = os.waitpid(self.pid, os.WNOHANG)
            if pid or time.monotonic() > deadline:
                return bool(pid)
            time.sleep(0.02)

    def _read(self, seconds: float) -> str | None:
        if not select.select([self._answer], [], [], seconds)[0]:
            return None
        line = os.read(self._answer, 4096).decode("utf-8", "replace")
        return line.strip() if line else ENDED_EARLY


def _child(cpu: int, action: Callable[[], None], command: int, answer: int) -> NoReturn:
    """Run in the child; never return to the code of the parent."""
    status = 1
    try:
        for number in IGNORED:
            signal.signal(number, signal.SIG_IGN)
        os.sched_setaffinity(0, {cpu})
        os.write(answer, b"ready\n")
        if os.read(command, 1):
            action()
            os.write(answer, b"\n")
        status = 0
    except OSError as error:
        os.write(answer, f"{error.strerror}\n".encode())
    finally:
        os._exit(status)


def find_stuck(cpus: tuple[int, ...], seconds: float) -> tuple[int, ...]:
    """Return the CPUs on which a process pinned there does not run within some seconds, or may not run.

    A process that waits for a stuck CPU cannot be killed. It holds no descriptor of this process, so that
    nothing waits for it.
    """
    batches = [cpus[first : first + _BATCH] for first in range(0, len(cpus), _BATCH)]
    return tuple(cpu for batch in batches for cpu in _visit_all(batch, seconds))


def _visit_all(cpus: tuple[int, ...], seconds: float) -> list[int]:
    """Fork a process for each CPU; return the CPUs on which none answered."""
    waiting: dict[int, tuple[int, int]] = {}
    refused = []
    for cpu in cpus:
        answer, child_end = os.pipe()
        pid = os.fork()
        if not pid:
            _visit(cpu, child_end)
        os.close(child_end)
        waiting[answer] = (cpu, pid)
    deadline = time.monotonic() + seconds
    while waiting and time.monotonic() < deadline:
        for answer in select.select(list(waiting), [], [], 0.1)[0]:
            cpu, pid = waiting.pop(answer)
            if not os.read(answer, 1):
                refused.append(cpu)
            os.close(answer)
            os.waitpid(pid, 0)
    for answer in waiting:
        os.close(answer)
    return sorted([*refused, *(cpu for cpu, _pid in waiting.values())])


def _visit(cpu: int, answer: int) -> NoReturn:
    """Run in the child: answer from a CPU, and hold no other descriptor."""
    status = 1
    try:
        os.closerange(3, answer)
        os.closerange(answer + 1, 4096)
        for descriptor in (0, 1, 2):
            os.close(descriptor)
        os.sched_setaffinity(0, {cpu})
        os.write(answer, b".")
        status = 0
    finally:
        os._exit(status)
