"""`sdeictl postmortem`."""

from __future__ import annotations

import os
import sys

import click

from sdeictl.commands.output import FILE, FORMAT, columns, print_result
from sdeictl.errors import SdeictlError, Status
from sdeictl.host.files import open_large
from sdeictl.host.gap import GapKind
from sdeictl.host.journal import JOURNALS, Journal
from sdeictl.host.named import NamedFile
from sdeictl.host.open import check_exists, open_root
from sdeictl.host.reader import Reader
from sdeictl.postmortem.document import STATUSES, postmortem_document, postmortem_status, read_stored
from sdeictl.postmortem.examine import MAX_BOOTS, examine
from sdeictl.postmortem.files import Find, read_dump, read_log
from sdeictl.postmortem.text import render_postmortem
from sdeictl.vmcore.open import is_core

DEFAULT_BOOTS = 3
STANDARD_INPUT = "-"


@click.command(short_help="What did the last crash leave behind?")
@click.argument("paths", metavar="[PATH|-]...", type=FILE, nargs=-1)
@click.option(
    "--root", metavar="DIR|FILE", type=FILE,
    help="Examine another host: the directory tree of its disk. Of a capture, print the account in it.",
)  # fmt: skip
@click.option(
    "--boots", type=click.IntRange(1, MAX_BOOTS), default=DEFAULT_BOOTS, show_default=True,
    help="How many boots of the journal before the running one to examine, and how many crash directories.",
)  # fmt: skip
@FORMAT
def postmortem(paths: tuple[str, ...], root: str | None, boots: int, form: str) -> None:
    """Say how earlier boots ended, which CPU was stuck, and what of it survived.

    Reads the journal of earlier boots, pstore, crash dumps and their logs, and
    the results of drills. PATH is a further log or crash dump, such as the log of
    a serial console; - is standard input. Evidence of the same boot is put
    together by the records that it shares, and else by the time.

    Exit status: 0 no evidence was lost, 1 a CPU that was stuck in a crash left no
    stack, or no registers in a dump that exists, 3 could not tell.
    """
    if root is not None and os.path.isfile(root):
        _print_stored(root, form)
    reader = Reader(open_root(root))
    named = [find._replace(named=True) for path in dict.fromkeys(paths) for find in _read(reader, path)]
    found = examine(reader, journal_of(root), named, boots)
    document = postmortem_document(found)
    print_result(form, document, render_postmortem(document, columns()))
    sys.exit(postmortem_status(found))


def _print_stored(path: str, form: str) -> None:
    """Print the account in a capture, and exit with its status; raise SdeictlError if it has none."""
    try:
        document = read_stored(open_root(path))
        lines = list(render_postmortem(document, columns()))
    except FileNotFoundError as error:
        text = f"{path} has no account of earlier boots: name a log without --root, capture with --postmortem"
        raise SdeictlError(text, Status.UNKNOWN) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SdeictlError(f"the account in {path} cannot be read: {error}", Status.UNKNOWN) from error
    print_result(form, document, lines)
    sys.exit(STATUSES[document["verdict"]["evidence_lost"]])


def journal_of(root: str | None) -> Journal:
    """Return the journal of the host: of a tree, the persistent one."""
    if root is None:
        return Journal()
    return Journal(os.path.join(root, JOURNALS[0].lstrip("/")))


def _read(reader: Reader, path: str) -> list[Find]:
    """Return what a file holds that the user named, and note a gap if that is nothing.

    Raises SdeictlError with Status.USAGE if it does not exist.
    """
    if path != STANDARD_INPUT:
        check_exists(path)
    found: list[Find] = []
    try:
        if path != STANDARD_INPUT and is_core(path):
            with open_large(path, device=True) as dump:
                found = [read_dump(path, dump)]
        else:
            found = read_log((path,), NamedFile(path).pieces())
    except OSError as error:
        reader.gap(path, GapKind.BROKEN, error.strerror or str(error))
        return []
    if not found:
        reader.gap(path, GapKind.BROKEN, "it is neither a crash dump nor a log with a kernel record")
    elif found[0].damage:
        reader.gap(path, GapKind.BROKEN, f"it cannot be read as a crash dump: {found[0].damage}")
        return []
    return found
