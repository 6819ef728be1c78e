"""`sdeictl analyze`."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator, Sequence

import click

from sdeictl.commands.output import FILE, FORMAT, columns, print_lines, write
from sdeictl.errors import SdeictlError, Status
from sdeictl.host.archive import ArchiveRoot
from sdeictl.host.named import NamedFile
from sdeictl.host.open import check_exists, open_root
from sdeictl.host.paths import CAPTURED_LOGS
from sdeictl.host.root import Root
from sdeictl.klog.analysis import Source, analyze_files
from sdeictl.klog.document import analysis_json
from sdeictl.klog.render import render_analysis
from sdeictl.text import visible

FORMATS = "sdeictl reads dmesg, journalctl, syslog, /dev/kmsg, pstore and serial console logs"
PROGRESS_BYTES = 64 << 20
"""From this size on a terminal shows how much of the files is read."""
CAPTURED = "A capture keeps only the lines that sdeictl knows, without addresses and task names."


@click.command(short_help="Which CPUs answered the backtrace requests in a kernel log?")
@click.argument("files", metavar="FILE|-...", type=FILE, nargs=-1, required=True)
@FORMAT
def analyze(files: tuple[str, ...], form: str) -> None:
    """Report the backtrace requests, lockups, stalls, panics and stops in a kernel log.

    For each backtrace request, show the CPU that sent it, the CPUs that
    answered, whether they were masked, and the path of the request.

    FILE is the output of dmesg or journalctl in any of their formats, text of
    /dev/kmsg, a syslog file, the log of a serial console, pstore records joined
    in one file, a capture, or a report of sos; - is standard input. It may have
    been pasted into a mail or a web page, or be packed by gzip, xz, bzip2 or
    zstd. The directory of a report of sos also works: its log is read. Several
    files are one log, in the order given.

    Exit status: 0 if a FILE contains a kernel record, 3 otherwise.
    """
    gc.enable()  # __main__ turned it off: the episodes of a long log leave much behind, one after the other
    analysis = analyze_files(_sources(files))
    if not analysis.records:
        name = "the input" if files == ("-",) else ", ".join(files)
        damage = "".join(f" {note}" for file in analysis.files for note in file.notes[:-1])
        raise SdeictlError(f"no kernel record in {name}; {FORMATS}.{damage}", Status.UNKNOWN)
    if form == "json":
        for text in analysis_json(analysis):
            write(text.encode())
    else:
        print_lines(render_analysis(analysis, columns()))


def _sources(paths: Sequence[str]) -> list[Source]:
    """Return each file as a source; raise SdeictlError if one does not exist."""
    for path in paths:
        if path != "-":
            check_exists(path)
    return [_source(path) for path in paths]


def _source(path: str) -> Source:
    file = NamedFile(path)
    captured = []

    def pieces() -> Iterator[bytes]:
        try:
            if os.path.isdir(path):
                yield _log_in_directory(path)
                return
            yield from _with_progress(path, file)
            if file.is_archive:
                root = open_root(path)
                captured.extend([CAPTURED] if isinstance(root, ArchiveRoot) else [])
                yield _captured_log(root)
        except OSError as error:
            raise SdeictlError(f"{path} cannot be read: {error.strerror}", Status.UNKNOWN) from error

    def notes() -> list[str]:
        damage = [f"The end of the file is missing: {file.damage}."] if file.damage else []
        return captured + damage

    return Source(path, pieces(), notes)


def _with_progress(path: str, file: NamedFile) -> Iterator[bytes]:
    """Yield the pieces of a file; on a terminal, show how much of a large one is read."""
    size = os.path.getsize(path) if os.path.isfile(path) else 0
    if size < PROGRESS_BYTES or not sys.stderr.isatty():
        yield from file.pieces()
        return
    with click.progressbar(range(size), label=visible(path), file=sys.stderr) as bar:
        for piece in file.pieces():
            yield piece
            bar.update(file.bytes_read - bar.pos)


def _log_in_directory(path: str) -> bytes:
    """Return the kernel log of a report of sos, or of another tree; raise SdeictlError if there is none."""
    log = _captured_log(open_root(path))
    if not log:
        text = "it is a directory without kmsg.txt, dmesg.txt or the log of a report of sos"
        raise SdeictlError(f"{path} cannot be read: {text}", Status.UNKNOWN)
    return log


def _captured_log(root: Root) -> bytes:
    """Return the kernel log in a capture or a report of sos."""
    for name in CAPTURED_LOGS:
        try:
            return root.read(name)
        except FileNotFoundError:
            continue
    return b""
