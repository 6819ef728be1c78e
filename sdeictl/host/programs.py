"""The only door to other programs: `probe --deep`, `drill crash` and `bench` go through it."""

import errno
import os
import subprocess
import threading
from typing import IO, cast

PROGRAMS = ("/usr/bin", "/usr/sbin", "/bin", "/sbin")
"""Where a program is looked for: the caller's own search path may lead anywhere."""
TIMEOUT_SECONDS = 60.0
MAX_OUTPUT_BYTES = 32 << 20


def output_of(name: str, *arguments: str) -> bytes:
    """Return what a program prints, or the first MAX_OUTPUT_BYTES of it.

    Raises OSError as open(2) would if there is no such program, ETIMEDOUT if it
    does not end, EIO if it fails.
    """
    late = threading.Event()
    with subprocess.Popen(  # noqa: S603 - the words are sdeictl's own
        [_find(name), *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, env={"PATH": ":".join(PROGRAMS), "LC_ALL": "C.UTF-8"},
    ) as process:  # fmt: skip

        def end() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(TIMEOUT_SECONDS, end)
        timer.daemon = True
        timer.start()
        output = cast("IO[bytes]", process.stdout)
        data = output.read(MAX_OUTPUT_BYTES)
        whole = not output.read(1)
        if not whole:
            process.kill()
        process.wait()
        timer.cancel()
    if late.is_set():
        raise OSError(errno.ETIMEDOUT, f"{name} did not end within {TIMEOUT_SECONDS:.0f} s")
    if process.returncode and whole:
        raise OSError(errno.EIO, f"{name} ended with status {process.returncode}")
    return data


def _find(name: str) -> str:
    for directory in PROGRAMS:
        if os.access(f"{directory}/{name}", os.X_OK):
            return f"{directory}/{name}"
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)


def has_program(name: str) -> bool:
    """Tell whether there is a program of this name."""
    try:
        _find(name)
    except FileNotFoundError:
        return False
    return True


def run_program(words: tuple[str, ...], seconds: float | None = None) -> None:
    """Run a program of the user's, its output thrown away; raise OSError if it fails, or takes too long."""
    try:
        done = subprocess.run(  # noqa: S603 - it is the user who names it
            words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=False, timeout=seconds
        )
    except subprocess.TimeoutExpired as error:
        text = f"it did not end within {seconds:.0f} s"
        raise OSError(errno.ETIMEDOUT, text, words[0]) from error
    if done.returncode:
        raise OSError(errno.EIO, f"it ended with status {done.returncode}", words[0])
