"""Input and output of the commands: results to the standard output, sentences to the standard error."""

import json
import os
import sys
from collections.abc import Iterable

import click

from sdeictl.errors import SdeictlError, Status
from sdeictl.host.root import read_stream
from sdeictl.probe.report import Json
from sdeictl.text import Line, plain, print_styled

FORMAT = click.option(
    "--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True,
    help="How to print the result.",
)  # fmt: skip

FILE = click.Path(readable=False, allow_dash=True)
"""Lets a shell complete file names; who opens the file says what is wrong with it."""


def read_input(path: str) -> bytes:
    """Return the content of a file the user named; - is the standard input."""
    try:
        return read_stream(path)
    except FileNotFoundError as error:
        raise SdeictlError(f"{path} does not exist", Status.USAGE) from error
    except OSError as error:
        raise SdeictlError(f"{path} cannot be read: {error.strerror}", Status.UNKNOWN) from error


def check_new_file(path: str) -> None:
    """Raise SdeictlError if a file exists that must not: before the work, which would be lost."""
    if os.path.lexists(path):
        raise SdeictlError(f"{path} exists already; choose another name", Status.USAGE)


def write_new_file(path: str, data: bytes) -> None:
    """Write a file that must not exist yet."""
    check_new_file(path)
    try:
        with open(path, "xb") as file:
            file.write(data)
    except OSError as error:
        raise SdeictlError(f"{path} cannot be written: {error.strerror}", Status.USAGE) from error


def print_result(form: str, document: Json, lines: Iterable[Line]) -> None:
    """Print a result as JSON, styled on a terminal, or as plain lines."""
    if form == "json":
        write(json.dumps(document, indent=2).encode() + b"\n")
    elif sys.stdout is not None and sys.stdout.isatty():
        print_styled(lines)
    else:
        write(plain(lines).encode("utf-8", "replace"))


def write(data: bytes) -> None:
    """Write to the standard output; a reader that goes away early does not change the exit status."""
    if sys.stdout is None:
        raise SdeictlError("the standard output is closed", Status.UNKNOWN)
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except OSError as error:
        # What is still buffered must not raise again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            raise SdeictlError(f"the result cannot be written: {error.strerror}", Status.UNKNOWN) from error
