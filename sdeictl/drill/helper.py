"""Forked children, each on its own CPU, that do one thing when they are told."""

import contextlib
import os
import select
import signal
import time
from collections.abc import Callable
from typing import NoReturn

ENDED_EARLY = "the helper has ended early"
_BATCH = 64
"""CPUs visited at a time: each takes a process and a descriptor."""
IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class HelperError(Exception):
    """The helper is not where it should be; the message is a sentence."""


class Helper:
    """A child that has once run on its CPU and now waits for its word.

    It ends when it has done its work, or when its parent is gone before the
    word. A fork and not a thread: a thread that never comes back from the
    kernel would keep the whole process.
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

    def wait_ready(self, seconds: float) -> None:
        """Wait until the child runs on its CPU; raise HelperError if it does not."""
        answer = self._read(seconds)
        if answer != "ready":
            text = answer or f"nothing ran there within {seconds:g} s"
            raise HelperError(f"A helper on CPU {self.cpu} is not ready: {text}.")

    def go(self) -> None:
        """Let it do its work."""
        with contextlib.suppress(BrokenPipeError):  # it has ended: poll() says so
            os.write(self._command, b"g")

    def poll(self, seconds: float = 0) -> str | None:
        """Return what came of the work ("" is good, else an error), None while it is not done."""
        if self.result is None:
            self.result = self._read(seconds)
        return self.result

    def finish(self, seconds: float) -> bool:
        """Let the child end and wait for it; tell whether it has ended."""
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
    """Run in the child: no way out of here leads back into the parent's code."""
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
    """Return the CPUs on which nothing that is pinned there runs within a time, or may run at all.

    What is left there on such a CPU cannot be ended by anybody; it holds no
    descriptor of this process, so nobody waits for it.
    """
    batches = [cpus[first : first + _BATCH] for first in range(0, len(cpus), _BATCH)]
    return tuple(cpu for batch in batches for cpu in _visit_all(batch, seconds))


def _visit_all(cpus: tuple[int, ...], seconds: float) -> list[int]:
    waiting: dict[int, tuple[int, int]] = {}
    barred = []
    for cpu in cpus:
        answer, theirs = os.pipe()
        pid = os.fork()
        if not pid:
            _visit(cpu, theirs)
        os.close(theirs)
        waiting[answer] = (cpu, pid)
    deadline = time.monotonic() + seconds
    while waiting and time.monotonic() < deadline:
        for answer in select.select(list(waiting), [], [], 0.1)[0]:
            cpu, pid = waiting.pop(answer)
            if not os.read(answer, 1):
                barred.append(cpu)
            os.close(answer)
            os.waitpid(pid, 0)
    for answer in waiting:
        os.close(answer)
    return sorted([*barred, *(cpu for cpu, _pid in waiting.values())])


def _visit(cpu: int, answer: int) -> NoReturn:
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
