"""`sdeictl capture`."""

from __future__ import annotations

import json
import os

import click

from sdeictl.commands.output import FILE, check_new_file, write, write_new_file
from sdeictl.errors import SdeictlError, Status
from sdeictl.host.gap import DENIED_IN_CAPTURE, GapKind, unread_log
from sdeictl.host.open import holds_nothing, open_root
from sdeictl.host.paths import POSTMORTEM_FILE
from sdeictl.host.reader import Reader
from sdeictl.probe.capture import Capture, make_capture, pack
from sdeictl.probe.verdict import NOTHING_KNOWN, decide

DENIED = "the capture lacks the sources that were denied: run as root"
DENIED_THERE = (
    "the capture lacks the sources that were denied when --root was made: capture that host as root"
)


@click.command(short_help="Write what the probe reads to a file.")
@click.option(
    "--root",
    metavar="DIR|FILE",
    type=FILE,
    help="Capture another host: a directory tree, a capture, a report of sos, or a kernel log alone.",
)
@click.option(
    "--postmortem", is_flag=True,
    help="Add postmortem.json: how earlier boots ended. No log and no dump is added.",
)  # fmt: skip
@click.argument("out", metavar="OUT.tar.gz|-", type=FILE)
def capture(root: str | None, postmortem: bool, out: str) -> None:
    """Write what the probe reads on this host to a file, to judge the host elsewhere.

    The file has only what the checks need: known words, numbers, and names of
    the kernel's own functions. It has no names of tasks, modules or devices, no
    addresses, no general registers and no text of users. The release of the
    kernel and the names of machine, firmware and system on chip stay. The file
    lists everything that it leaves out.

    With --root, do the same to what somebody else gave you, before you pass it
    on. `sdeictl probe --root` gives the same verdict on both.

    An existing file is never overwritten; - is standard output.
    """
    if out != "-":
        check_new_file(out)
    made = make_capture(open_root(None)) if root is None else _capture_of(root)
    if postmortem:
        made = made._replace(files={**made.files, f"/{POSTMORTEM_FILE}": _postmortem_of(root)})
    if out == "-":
        write(pack(made))
    else:
        write_new_file(out, pack(made))
    _explain(made)
    denied = {gap.detail for gap in made.facts.gaps if gap.kind is GapKind.DENIED}
    if denied:
        raise SdeictlError(DENIED_THERE if denied == {DENIED_IN_CAPTURE} else DENIED, Status.UNKNOWN)


def _capture_of(path: str) -> Capture:
    """Return the capture of the host at a path.

    Raises SdeictlError: with Status.USAGE if the path is a report or does not exist, with Status.UNKNOWN if
    nothing of a host is there.
    """
    if os.path.isfile(path):
        from sdeictl.probe.stored_report import read_report  # noqa: PLC0415 - only a file can be a report

        if read_report(path) is not None:
            text = f"{path} is a report of `sdeictl probe`: it has no file of a host to capture"
            raise SdeictlError(text, Status.USAGE)
    made = make_capture(open_root(path))
    if decide(made.facts)[0].summary == NOTHING_KNOWN:
        raise holds_nothing(path, unread_log(made.facts.gaps))
    return made


def _postmortem_of(root: str | None) -> bytes:
    """Return what earlier boots left, without identifiers, names of files and free text."""
    from sdeictl.commands.postmortem import DEFAULT_BOOTS, journal_of  # noqa: PLC0415 - few captures need it
    from sdeictl.postmortem.clean import clean  # noqa: PLC0415 - as above
    from sdeictl.postmortem.document import postmortem_document  # noqa: PLC0415 - as above
    from sdeictl.postmortem.examine import examine  # noqa: PLC0415 - as above

    found = examine(Reader(open_root(root)), journal_of(root), [], DEFAULT_BOOTS)
    return json.dumps(postmortem_document(clean(found)), indent=1).encode() + b"\n"


def _explain(made: Capture) -> None:
    """Tell on standard error what the capture lacks."""
    for item in made.left_out:
        click.echo(f"left out of {item.path}: {item.what}", err=True)
    for gap in made.facts.gaps:
        click.echo(f"could not read {gap.source} ({gap.kind}): {gap.detail}", err=True)
    if made.facts.architecture not in (None, "arm64"):
        text = f"the host is not arm64 ({made.facts.architecture}): a probe of the capture cannot judge it"
        click.echo(text, err=True)
