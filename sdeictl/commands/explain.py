"""`sdeictl explain`."""

import click

from sdeictl.commands.output import FORMAT, print_result
from sdeictl.probe.checks.table import CHECKS
from sdeictl.probe.text import render_check, render_checks


@click.command(short_help="What a check asks, why, and what mends it.")
@click.argument("check_id", metavar="[CHECK_ID]", required=False)
@FORMAT
def explain(check_id: str | None, form: str) -> None:
    """Print what a check asks, why it matters, what mends it and who can; without CHECK_ID, all checks."""
    if check_id is None:
        print_result(form, {"checks": [check.to_json() for check in CHECKS]}, render_checks(CHECKS))
        return
    check = next((check for check in CHECKS if check.id == check_id), None)
    if check is None:
        near = ", ".join(check.id for check in CHECKS if check_id in check.id)
        hint = f"there are {near}" if near else "sdeictl explain lists them"
        raise click.UsageError(f"there is no check {check_id!r}; {hint}")
    print_result(form, check.to_json(), render_check(check))
