"""`sdeictl version`."""

from __future__ import annotations

import click

from sdeictl import __version__
from sdeictl.commands.output import FORMAT, print_result


@click.command()
@FORMAT
def version(form: str) -> None:
    """Print the version of sdeictl."""
    print_result(form, {"name": "sdeictl", "version": __version__}, (((f"sdeictl {__version__}", ""),),))
