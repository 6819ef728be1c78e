"""`sdeictl capture`."""

from __future__ import annotations

import click

from sdeictl.commands.output import FILE, write, write_new_file
from sdeictl.errors import SdeictlError, Status
from sdeictl.host.gap import GapKind
from sdeictl.host.open import open_root
from sdeictl.probe.capture import make_capture, pack


@click.command(short_help="Write what the probe reads to a file.")
@click.argument("out", metavar="OUT.tar.gz|-", type=FILE)
def capture(out: str) -> None:
    """Write what the probe reads on this host to a file, to judge the host elsewhere.

    The file leaves out addresses, command-line parameters other than known
    public ones, log lines that are not about reaching a CPU, task names, and
    kernel options with string values. In log lines it masks hexadecimal values
    of 12 to 16 digits, such as general registers; pstate, pmr and the symbol of
    pc stay. It lists everything that it leaves out.

    An existing file is never overwritten; - is standard output.
    """
    made = make_capture(open_root(None))
    if out == "-":
        write(pack(made))
    else:
        write_new_file(out, pack(made))
    for item in made.left_out:
        click.echo(f"left out of {item.path}: {item.what}", err=True)
    for gap in made.facts.gaps:
        click.echo(f"could not read {gap.source} ({gap.kind}): {gap.detail}", err=True)
    if made.facts.architecture not in (None, "arm64"):
        text = f"this host is not arm64 ({made.facts.architecture}): a probe of the capture cannot judge it"
        click.echo(text, err=True)
    if any(gap.kind is GapKind.DENIED for gap in made.facts.gaps):
        raise SdeictlError("the capture lacks the sources that were denied: run as root", Status.UNKNOWN)
