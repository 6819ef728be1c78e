"""`sdeictl explain`."""

from __future__ import annotations

import click

from sdeictl.commands import complete
from sdeictl.commands.output import FORMAT, columns, print_result
from sdeictl.errors import did_you_mean
from sdeictl.probe.check_text import render_check, render_checks
from sdeictl.probe.checks.table import CHECKS


@click.command(short_help="Why does a check matter, and who can fix it?")
@click.argument("check_id", metavar="[CHECK_ID]", required=False, shell_complete=complete.checks)
@FORMAT
def explain(check_id: str | None, form: str) -> None:
    """Explain a check: its question, why it matters, its remedy and its owner.

    Without CHECK_ID, list all checks.
    """
    if check_id is None:
        document = {"checks": [check.document() for check in CHECKS]}
        print_result(form, document, render_checks(CHECKS, columns()))
        return
    check = next((check for check in CHECKS if check.id == check_id), None)
    if check is None:
        known = [check.id for check in CHECKS]
        hint = did_you_mean(check_id, known) or "`sdeictl explain` lists all checks"
        raise click.UsageError(f"there is no check {check_id!r}; {hint}")
    print_result(form, check.document(), render_check(check, columns()))
