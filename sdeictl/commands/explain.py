"""`sdeictl explain`."""

from __future__ import annotations

import click

from sdeictl.commands.output import FORMAT, print_result
from sdeictl.probe.checks.table import CHECKS
from sdeictl.probe.text import render_check, render_checks


@click.command(short_help="Why does a check matter, and who can fix it?")
@click.argument("check_id", metavar="[CHECK_ID]", required=False)
@FORMAT
def explain(check_id: str | None, form: str) -> None:
    """Explain a check: its question, why it matters, its remedy and its owner.

    Without CHECK_ID, list all checks.
    """
    if check_id is None:
        print_result(form, {"checks": [check.document() for check in CHECKS]}, render_checks(CHECKS))
        return
    check = next((check for check in CHECKS if check.id == check_id), None)
    if check is None:
        near = ", ".join(check.id for check in CHECKS if check_id in check.id)
        hint = f"similar names: {near}" if near else "`sdeictl explain` lists all checks"
        raise click.UsageError(f"unknown check {check_id!r}; {hint}")
    print_result(form, check.document(), render_check(check))
