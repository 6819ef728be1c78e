"""`sdeictl capture`."""

import click

from sdeictl.commands.output import FILE, write, write_new_file
from sdeictl.errors import SdeictlError, Status
from sdeictl.host.root import open_root
from sdeictl.probe.capture import make_capture, pack


@click.command(short_help="Write what the probe reads to a file.")
@click.argument("out", metavar="OUT.tar.gz|-", type=FILE)
def capture(out: str) -> None:
    """Write what the probe reads of this host to a file, to be judged elsewhere.

    Addresses, the command line but for known parameters, log lines that are not
    about reaching a CPU, and strings of the kernel configuration stay here; the
    file lists them. An existing file is never overwritten; - is standard output.
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
        click.echo(f"this is no arm64 host ({made.facts.architecture}): there is nothing to judge", err=True)
    if any(gap.kind == "denied" for gap in made.facts.gaps):
        raise SdeictlError("the capture lacks what was denied: run as root", Status.UNKNOWN)
