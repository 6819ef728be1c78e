"""`sdeictl postmortem`."""

from __future__ import annotations

import os
import sys

import click

from sdeictl.commands.output import FILE, FORMAT, columns, print_result
from sdeictl.errors import SdeictlError, Status
from sdeictl.host.files import open_large
from sdeictl.host.journal import JOURNALS, Journal
from sdeictl.host.named import NamedFile
from sdeictl.host.open import check_exists, open_root
from sdeictl.host.reader import Reader
from sdeictl.postmortem.document import postmortem_document, postmortem_status
from sdeictl.postmortem.examine import MAX_BOOTS, examine
from sdeictl.postmortem.files import Find, read_dump, read_named
from sdeictl.postmortem.text import render_postmortem
from sdeictl.vmcore.open import is_core

DEFAULT_BOOTS = 3


@click.command(short_help="What did the last crash leave behind?")
@click.argument("paths", metavar="[PATH]...", type=FILE, nargs=-1)
@click.option(
    "--root", metavar="DIR|FILE", type=FILE,
    help="Examine another host: the directory tree of its disk, or a report of sos.",
)  # fmt: skip
@click.option(
    "--boots", type=click.IntRange(1, MAX_BOOTS), default=DEFAULT_BOOTS, show_default=True,
    help="How many boots before the running one to examine, and how many crash directories.",
)  # fmt: skip
@FORMAT
def postmortem(paths: tuple[str, ...], root: str | None, boots: int, form: str) -> None:
    """Say how earlier boots ended, which CPU was stuck, and what of it survived.

    Reads the journal of earlier boots, pstore, crash dumps and their logs, and
    the results of drills. PATH is a further log or crash dump, such as the log of
    a serial console. Evidence of the same boot is put together by the records
    that it shares, and else by the time.

    Exit status: 0 no evidence was lost, 1 a CPU that was stuck in a crash left no
    stack, or no registers in a dump that exists, 3 could not tell.
    """
    reader = Reader(open_root(root))
    named = [_read(path)._replace(named=True) for path in paths]
    found = examine(reader, journal_of(root), named, boots)
    document = postmortem_document(found)
    print_result(form, document, render_postmortem(document, columns()))
    sys.exit(postmortem_status(found))


def journal_of(root: str | None) -> Journal:
    """Return the journal of the host: of a tree, the persistent one."""
    if root is None:
        return Journal()
    return Journal(os.path.join(root, JOURNALS[0].lstrip("/")))


def _read(path: str) -> Find:
    """Return what a file holds that the user named; raise SdeictlError."""
    check_exists(path)
    try:
        if is_core(path):
            with open_large(path) as dump:
                return read_dump(path, dump)
        found = read_named(path, NamedFile(path).pieces())
    except OSError as error:
        raise SdeictlError(f"{path} cannot be read: {error.strerror}", Status.UNKNOWN) from error
    if found is None:
        raise SdeictlError(f"{path} is neither a crash dump nor a log with a kernel record", Status.UNKNOWN)
    return found
