"""The options by which an operator lets a host be put at risk: `drill` and `bench ab` share them."""

import sys

import click

DRY_RUN = click.option(
    "--dry-run", is_flag=True, help="Print the plan, or every reason to refuse it; change nothing."
)
HOST = click.option(
    "--host", "host_name", metavar="NAME", help="This host's name, so that no other one is meant."
)
WAY_BACK = click.option(
    "--way-back", metavar="TEXT", help="How the host is reset if it does not come back: a BMC's address."
)


def ask_host_name(given: str | None, *, dry_run: bool) -> str | None:
    """Return the host's name as it was given, or typed on a terminal."""
    if given is not None or dry_run or not (sys.stdin and sys.stdin.isatty()):
        return given
    name: str = click.prompt(
        "This can cost the host. Type its name to go on", err=True, default="", show_default=False
    )
    return name
