"""`sdeictl drill`."""

import contextlib
import math
import sys
from functools import partial

import click

from sdeictl.drill import run as drill_run
from sdeictl.drill.plan import DRILLS, PROVIDERS, Request
from sdeictl.drill.render import render_drills, render_status
from sdeictl.output import FORMAT, print_result


@click.group(short_help="Provoke what a stuck CPU would suffer, and prove what arrives.")
def drill() -> None:
    """Provoke what a stuck CPU would suffer, under interlocks, and prove what arrives.

    Exit status: 0 pass, 1 fail or a CPU lost, 3 could not tell, or refused
    because privilege, platform or a way to mask a CPU is missing, 4 refused by
    policy.
    """


@drill.command("list", short_help="What drills there are, what each proves and risks.")
@FORMAT
def drill_list(form: str) -> None:
    """Print what drills there are, what each proves, risks and needs."""
    print_result(form, {"drills": [drill._asdict() for drill in DRILLS]}, render_drills())


@drill.command("backtrace", short_help="Ask every CPU for its backtrace, one of them masked.")
@click.option(
    "--masked", is_flag=True, help="Mask one CPU's interrupts for a bounded time and ask it meanwhile."
)
@click.option(
    "--cpu", type=click.IntRange(min=0), metavar="N", help="The CPU to mask; by default the last one."
)
@click.option(
    "--seconds", type=float, default=1.5, show_default=True, metavar="S",
    help="How long to mask it; at most half of watchdog_thresh.",
)  # fmt: skip
@click.option(
    "--provider", type=click.Choice([provider.name for provider in PROVIDERS]),
    help="What masks it; by default the first of these that the kernel has.",
)  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Print the plan and every reason to refuse it; change nothing.")
@FORMAT
def drill_backtrace(
    *, masked: bool, cpu: int | None, seconds: float, provider: str | None, dry_run: bool, form: str
) -> None:
    """Ask every CPU for its backtrace (sysrq-l) and tell who answered, by which path.

    With --masked, one CPU has its interrupts masked meanwhile: only its stack
    from inside that time proves that a stuck CPU can be reached. The idle states
    in which a request can lose a CPU are held off, the console is kept quiet,
    and every CPU must be alive before and after.
    """
    if not masked and (cpu is not None or provider is not None):
        raise click.UsageError("--cpu and --provider go with --masked")
    if not math.isfinite(seconds):
        raise click.UsageError("--seconds must be a number of seconds")
    request = Request(masked, cpu, seconds, provider)
    status = drill_run.run(request, dry_run=dry_run, tell=_tell, show=partial(print_result, form))
    sys.exit(status)


@drill.command("status", short_help="The last results, and whether something is left to put back.")
@FORMAT
def drill_status(form: str) -> None:
    """Print the last result of each drill, and the drill that was killed, if one was."""
    status = drill_run.read_status()
    print_result(form, status, render_status(status))


@drill.command("resume", short_help="Put back what a killed drill left.")
def drill_resume() -> None:
    """Put back what a drill that was killed has left: the console level."""
    click.echo(drill_run.resume())


def _tell(step: str) -> None:
    # Whoever reads along may go away: that is no reason to leave a drill half done.
    with contextlib.suppress(OSError):
        click.echo(f"drill: {step}", err=True)
