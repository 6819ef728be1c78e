"""Input and output of the commands. Results go to standard output, everything else to standard error."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice

import click

from sdeictl.errors import SdeictlError, Status
from sdeictl.host.files import open_named, read_stream, write_aside
from sdeictl.text import Line, print_styled, to_plain

FORMAT = click.option(
    "--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True,
    help="How to print the result.",
)  # fmt: skip

_PIECE_BYTES = 1 << 18
_LINES = 10_000
"""So many lines are printed at a time: the text of all would take as much memory as the result."""
MIN_COLUMNS, DEFAULT_COLUMNS = 40, 80
"""A narrower terminal gets lines of the least width, which the tables need."""

FILE = click.Path(readable=False, allow_dash=True)
"""A file name, which a shell can complete. The command that opens the file reports errors, not click."""


def read_document(path: str, limit: int) -> bytes:
    """Return a file of at most `limit` bytes that the user named; `-` is standard input.

    Raises SdeictlError: with Status.USAGE if it does not exist, with Status.UNKNOWN if it cannot be read.
    """
    with _errors_of(path):
        return read_stream(path, limit)


def read_pieces(path: str) -> Iterator[bytes]:
    """Open a file that the user named, and return its content piece by piece; raise as read_document()."""
    with _errors_of(path):
        file = open_named(path)
    return _pieces(path, file)


def _pieces(path: str, file: io.BufferedReader) -> Iterator[bytes]:
    with _errors_of(path), file:
        while piece := file.read1(_PIECE_BYTES):
            yield piece


@contextmanager
def _errors_of(path: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise SdeictlError(f"{path} does not exist", Status.USAGE) from error
    except OSError as error:
        raise SdeictlError(f"{path} cannot be read: {error.strerror}", Status.UNKNOWN) from error


def check_new_file(path: str) -> None:
    """Raise SdeictlError if a file exists or has no directory; for use before work that would be lost."""
    if os.path.lexists(path):
        raise SdeictlError(f"{path} exists already; choose another name", Status.USAGE)
    directory = os.path.dirname(path) or "."
    if not os.path.isdir(directory):
        raise SdeictlError(f"{path} cannot be written: {directory} is not a directory", Status.USAGE)


def write_new_file(path: str, data: bytes) -> None:
    """Write a new file; raise SdeictlError if it exists already or cannot be written."""
    check_new_file(path)
    try:
        write_aside(path, data)
    except OSError as error:
        raise SdeictlError(f"{path} cannot be written: {error.strerror}", Status.USAGE) from error


def columns() -> int:
    """Return the width for lines of text: of the terminal, or what COLUMNS says; 80 for a file or a pipe."""
    asked = os.environ.get("COLUMNS", "")
    if asked.isdecimal() and int(asked):
        return max(int(asked), MIN_COLUMNS)
    size = _terminal_size()
    return max(size.columns, MIN_COLUMNS) if size else DEFAULT_COLUMNS


def is_taller_than_terminal(lines: int) -> bool:
    """Tell whether so many lines scroll the first of them out of the terminal, above the prompt."""
    size = _terminal_size()
    return size is not None and lines >= size.lines


def _terminal_size() -> os.terminal_size | None:
    # shutil has this too, but to import it takes a tenth of the time of a probe.
    try:
        size = os.get_terminal_size(sys.stdout.fileno()) if sys.stdout else None
    except OSError:
        return None  # a file or a pipe
    return size if size and size.columns and size.lines else None


def print_result(form: str, document: Mapping[str, object], lines: Iterable[Line]) -> None:
    """Print a result as JSON, styled on a terminal, or as plain lines."""
    if form == "json":
        write_json(document)
    else:
        print_lines(lines)


def write_json(document: object) -> None:
    """Write a document, or a list of them, as JSON."""
    write(json.dumps(document, indent=2).encode() + b"\n")


def print_lines(lines: Iterable[Line]) -> None:
    """Print lines of text, styled on a terminal."""
    if sys.stdout is not None and sys.stdout.isatty():
        print_styled(lines)
        return
    left = iter(lines)
    while part := [*islice(left, _LINES)]:
        write(to_plain(part).encode("utf-8", "replace"))


def write(data: bytes) -> None:
    """Write to standard output. A reader that closes it early does not change the exit status.

    Raises SdeictlError for any other error.
    """
    if sys.stdout is None:
        raise SdeictlError("standard output is closed", Status.UNKNOWN)
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except OSError as error:
        # The bytes in the buffer must not raise the error again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            raise SdeictlError(f"the result cannot be written: {error.strerror}", Status.UNKNOWN) from error
