"""The options by which an operator agrees to put a host at risk; `drill` and `bench ab` share them."""

from __future__ import annotations

import sys

import click

from sdeictl.interlock.consent import Consent

DRY_RUN = click.option(
    "--dry-run", is_flag=True, help="Print the plan, or every reason to refuse it; change nothing."
)
HOST = click.option(
    "--host", "host_name", metavar="NAME", help="The name of this host, so that no other one is meant."
)
WAY_BACK = click.option(
    "--way-back", metavar="TEXT", help="How somebody resets the host if it hangs: the address of its BMC."
)


def ask_consent(
    host_name: str | None,
    way_back: str | None,
    accepted_load: str | None = None,
    *,
    dry_run: bool,
    plain_dump: bool = False,
) -> Consent:
    """Return what the operator says; on a terminal a missing host name is asked for."""
    if host_name is None and not dry_run and sys.stdin and sys.stdin.isatty():
        question = "This can cost the host. Type its name to go on"
        host_name = click.prompt(question, err=True, default="", show_default=False)
    return Consent(host_name, way_back, plain_dump, accepted_load)
