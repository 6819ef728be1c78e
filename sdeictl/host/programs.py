"""Runs other programs. `probe --deep`, the drills and `bench` start them only through this module.

Each program leads a session of its own. At its time limit, at Control-C or at the end of sdeictl, the whole
group ends with it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from typing import IO, cast

from sdeictl.host.files import not_found
from sdeictl.host.paths import PROGRAMS

TIMEOUT_SECONDS = 60.0
MAX_OUTPUT_BYTES = 32 << 20
MAX_ERROR_BYTES = 400
"""So much of its errors is shown."""
_KILLED_SECONDS = 1.0
"""How long to wait for a program that was killed: one that waits for a device ends only when that answers."""
_ERRORS_SECONDS = 1.0
"""How long to wait for the rest of a program's errors: another process may keep the pipe open."""


def output_of(name: str, *arguments: str, seconds: float = TIMEOUT_SECONDS) -> bytes:
    """Return what a program prints, at most MAX_OUTPUT_BYTES; a program that prints more is killed.

    Raises OSError: ENOENT if no such program is installed, ETIMEDOUT if it runs longer than `seconds`, or if
    a process that it has started keeps its output open for longer; EIO with the last line of its errors if
    it fails.
    """
    data = bytearray()
    for piece in pieces_of(name, *arguments, seconds=seconds):
        data += piece
        if len(data) > MAX_OUTPUT_BYTES:
            break
    return bytes(data[:MAX_OUTPUT_BYTES])


def pieces_of(name: str, *arguments: str, seconds: float = TIMEOUT_SECONDS) -> Iterator[bytes]:
    """Yield what a program prints, piece by piece; it is killed if the caller takes no further piece.

    Raises OSError as output_of() does.
    """
    deadline = time.monotonic() + seconds
    environment = {"PATH": ":".join(PROGRAMS), "LC_ALL": "C.UTF-8"}
    words = (_find(name), *arguments)
    with _started(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:
        errors = _Errors(cast("IO[bytes]", process.stderr))
        for piece in _read(cast("IO[bytes]", process.stdout), deadline):
            if piece is None:
                late = f"{name} did not end within {seconds:g} s"
                if _has_ended(process):
                    late = f"{name} ended, but a process that it started did not within {seconds:g} s"
                raise OSError(errno.ETIMEDOUT, late)
            yield piece
        if not _ends(process, deadline - time.monotonic()):
            raise OSError(errno.ETIMEDOUT, f"{name} did not end within {seconds:g} s")
        status = process.wait()
    if status:
        detail = errors.last_line()
        raise OSError(errno.EIO, f"{name} ended with status {status}{detail and ': ' + detail}")


class _Errors:
    """The end of what a program writes to its standard error; a flood takes no memory."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._end = b""
        # The program must not wait for a reader, whatever this process waits for.
        self._reader = threading.Thread(target=self._read, args=(pipe,), daemon=True)
        self._reader.start()

    def _read(self, pipe: IO[bytes]) -> None:
        with pipe, contextlib.suppress(OSError):
            while piece := os.read(pipe.fileno(), 1 << 16):
                self._end = (self._end + piece)[-MAX_ERROR_BYTES:]

    def last_line(self) -> str:
        """Return the last line, "" without one; for use after the end of the program."""
        self._reader.join(_ERRORS_SECONDS)
        lines = [line.strip() for line in self._end.decode("utf-8", "replace").splitlines() if line.strip()]
        return lines[-1].rstrip(".") if lines else ""


def _read(output: IO[bytes], deadline: float) -> Iterator[bytes | None]:
    """Yield what a pipe has until it is closed, and None if it is open too long.

    A process may leave the group and keep the pipe, so nothing here waits for the end of a process.
    """
    poll = select.poll()
    poll.register(output, select.POLLIN)
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not poll.poll(left * 1000):
            yield None
            return
        piece = os.read(output.fileno(), 1 << 16)
        if not piece:
            return
        yield piece


@contextlib.contextmanager
def _started(
    words: Sequence[str], *, stdout: int, stderr: int | None, env: dict[str, str] | None
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a program in a session of its own; kill it, as a group, if the context ends before it does.

    A program that has ended may leave others, such as a service that it has started.
    """
    with _Signals() as signals:
        process = _Program(words, stdout, stderr, env)
        try:
            signals.end_with_us(process)
            yield process
        finally:
            _end(process)


class _Program(subprocess.Popen[bytes]):
    """A program in a session of its own. It is killed if sdeictl cannot read whether it was started."""

    def __init__(
        self, words: Sequence[str], stdout: int, stderr: int | None, env: dict[str, str] | None
    ) -> None:
        try:
            super().__init__(
                words, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, env=env, start_new_session=True
            )
        except BaseException:
            if getattr(self, "pid", None):
                self.kill()  # it may not lead its own group yet
                _end(self)
            raise


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill a program with its group unless it has ended, and wait for it."""
    _kill_group(process)
    if process.stdout:
        process.stdout.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_KILLED_SECONDS)


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill a program and its group; do nothing after a wait, when another process may have its number."""
    if process.returncode is None:
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)


class _Signals:
    """Lets a signal that ends sdeictl end a program too: a terminal signals only its own session.

    A signal that arrives while the program is being started is taken as soon as its group can be killed.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._early: list[int] = []
        self._restore = contextlib.ExitStack()

    def __enter__(self) -> _Signals:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
                if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                    self._restore.callback(signal.signal, number, signal.signal(number, self._take))
        return self

    def end_with_us(self, process: subprocess.Popen[bytes]) -> None:
        """Name the program, which has been started."""
        self._process = process
        for number in self._early:
            self._take(number, None)

    def _take(self, number: int, _frame: object) -> None:
        if self._process is None:
            self._early.append(number)
            return
        _kill_group(self._process)
        self._restore.close()
        signal.raise_signal(number)

    def __exit__(self, *_: object) -> None:
        self._restore.close()
        if self._process is None:  # it could not be started
            for number in self._early:
                signal.raise_signal(number)


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Tell whether a program has ended; it is still to be waited for."""
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None


def _ends(process: subprocess.Popen[bytes], seconds: float | None) -> bool:
    """Tell whether a program ends within so many seconds; it is still to be waited for.

    With a limit, Popen.wait() would see the end up to 50 ms late, and `bench` times programs.
    """

    def wait() -> None:
        with contextlib.suppress(ChildProcessError):
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)

    waiting = threading.Thread(target=wait, daemon=True)
    waiting.start()
    waiting.join(None if seconds is None else max(0.0, seconds))
    return not waiting.is_alive()


def _find(name: str) -> str:
    for directory in PROGRAMS:
        if os.access(f"{directory}/{name}", os.X_OK):
            return f"{directory}/{name}"
    raise not_found(name)


def has_program(name: str) -> bool:
    """Tell whether a program is installed in one of the directories of PROGRAMS."""
    try:
        _find(name)
    except FileNotFoundError:
        return False
    return True


def run_program(words: tuple[str, ...], seconds: float | None = None) -> None:
    """Run a program that the user named, without its output.

    Raises OSError: EIO if it fails, ETIMEDOUT if it runs longer than `seconds`; None means no limit.
    """
    with _started(words, stdout=subprocess.DEVNULL, stderr=None, env=None) as process:
        if not _ends(process, seconds):
            raise OSError(errno.ETIMEDOUT, f"it did not end within {seconds:g} s", words[0])
        status = process.wait()
    if status:
        raise OSError(errno.EIO, f"it ended with status {status}", words[0])
