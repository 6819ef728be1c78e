"""Runs other programs. `probe --deep`, `drill crash` and `bench` start them only through this module."""

from __future__ import annotations

import errno
import os
import subprocess
import threading
from typing import IO, cast

from sdeictl.host.files import not_found
from sdeictl.host.paths import PROGRAMS

TIMEOUT_SECONDS = 60.0
MAX_OUTPUT_BYTES = 32 << 20
MAX_ERROR_BYTES = 400
"""So much of its errors is shown."""


def output_of(name: str, *arguments: str, seconds: float = TIMEOUT_SECONDS) -> bytes:
    """Return what a program prints, at most MAX_OUTPUT_BYTES; a program that prints more is killed.

    Raises OSError: ENOENT if no such program is installed, ETIMEDOUT if it runs longer than `seconds`, EIO
    with the last line of its errors if it fails.
    """
    errors = os.memfd_create("errors")  # a pipe that nobody reads could fill up
    try:
        return _output_of(name, arguments, seconds, errors)
    finally:
        os.close(errors)


def _output_of(name: str, arguments: tuple[str, ...], seconds: float, errors: int) -> bytes:
    expired = threading.Event()
    with subprocess.Popen(  # noqa: S603 - sdeictl chooses the program and the arguments
        [_find(name), *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=errors, env={"PATH": ":".join(PROGRAMS), "LC_ALL": "C.UTF-8"},
    ) as process:  # fmt: skip
        timer = threading.Timer(seconds, _kill, (process, expired))
        timer.daemon = True
        timer.start()
        output = cast("IO[bytes]", process.stdout)
        data = output.read(MAX_OUTPUT_BYTES)
        cut = bool(output.read(1))
        if cut:
            process.kill()
        process.wait()
        timer.cancel()
    if expired.is_set():
        raise OSError(errno.ETIMEDOUT, f"{name} did not end within {seconds:.0f} s")
    if process.returncode and not cut:
        detail = _last_line(errors)
        raise OSError(errno.EIO, f"{name} ended with status {process.returncode}{detail and ': ' + detail}")
    return data


def _last_line(errors: int) -> str:
    """Return the end of what a program wrote to its standard error, as one line."""
    size = os.fstat(errors).st_size
    text = os.pread(errors, MAX_ERROR_BYTES, max(0, size - MAX_ERROR_BYTES)).decode("utf-8", "replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else ""


def _kill(process: subprocess.Popen[bytes], expired: threading.Event) -> None:
    expired.set()
    process.kill()


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
    try:
        done = subprocess.run(  # noqa: S603 - the user names the program
            words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=False, timeout=seconds
        )
    except subprocess.TimeoutExpired as error:
        text = f"it did not end within {seconds:.0f} s"
        raise OSError(errno.ETIMEDOUT, text, words[0]) from error
    if done.returncode:
        raise OSError(errno.EIO, f"it ended with status {done.returncode}", words[0])
