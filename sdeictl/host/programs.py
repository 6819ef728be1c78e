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


def output_of(name: str, *arguments: str) -> bytes:
    """Return what a program prints, at most MAX_OUTPUT_BYTES; a program that prints more is killed.

    Raises OSError: ENOENT if no such program is installed, ETIMEDOUT if it runs longer than
    TIMEOUT_SECONDS, EIO if it fails.
    """
    expired = threading.Event()
    with subprocess.Popen(  # noqa: S603 - sdeictl chooses the program and the arguments
        [_find(name), *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, env={"PATH": ":".join(PROGRAMS), "LC_ALL": "C.UTF-8"},
    ) as process:  # fmt: skip
        timer = threading.Timer(TIMEOUT_SECONDS, _kill, (process, expired))
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
        raise OSError(errno.ETIMEDOUT, f"{name} did not end within {TIMEOUT_SECONDS:.0f} s")
    if process.returncode and not cut:
        raise OSError(errno.EIO, f"{name} ended with status {process.returncode}")
    return data


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
