"""`sdeictl drill`."""

import contextlib
import math
import os
import re
import sys
from functools import partial

import click

from sdeictl.commands.consent import DRY_RUN, HOST, WAY_BACK, ask_host_name
from sdeictl.commands.output import FILE, FORMAT, print_result, write
from sdeictl.drill import run as drill_run
from sdeictl.drill.plan import DRILLS, PROVIDERS, Request
from sdeictl.drill.resume import read_status, resume
from sdeictl.drill.text import render_drills, render_result, render_status
from sdeictl.errors import SdeictlError, Status
from sdeictl.host.root import LiveRoot
from sdeictl.interlock.arming import MAX_SECONDS, arm, disarm
from sdeictl.interlock.danger import Consent
from sdeictl.interlock.host import read_boot_id

VARIANTS = ("wedged", "all-masked", "hardlockup-panic")
_UNITS = {"s": 1, "m": 60, "h": 3600}

_CPU = click.option(
    "--cpu",
    type=click.IntRange(min=0),
    metavar="N",
    help="The CPU to mask; by default the last one that is not set apart.",
)
_EVIDENCE = click.option(
    "--evidence", metavar="FILE", type=FILE,
    help="Where a log of this host's serial or net console will be after the reset.",
)  # fmt: skip


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
@_CPU
@click.option(
    "--seconds", type=float, metavar="S",
    help="How long to mask it, 1.5 by default; at most half of watchdog_thresh.",
)  # fmt: skip
@click.option(
    "--provider", type=click.Choice([provider.name for provider in PROVIDERS]),
    help="What masks it; by default the first of these that the kernel has.",
)  # fmt: skip
@DRY_RUN
@FORMAT
def drill_backtrace(
    *, masked: bool, cpu: int | None, seconds: float | None, provider: str | None, dry_run: bool, form: str
) -> None:
    """Ask every CPU for its backtrace (sysrq-l) and tell who answered, by which path.

    With --masked, one CPU has its interrupts masked meanwhile: only its stack
    from inside that time proves that a stuck CPU can be reached. The idle states
    in which a request can lose a CPU are held off, the console is kept quiet,
    and every CPU must be alive before and after.
    """
    if not masked and (cpu is not None or provider is not None or seconds is not None):
        raise click.UsageError("--cpu, --seconds and --provider go with --masked")
    request = Request(masked, cpu, provider=provider)
    if seconds is not None:
        if not math.isfinite(seconds):
            raise click.UsageError("--seconds must be a number of seconds")
        request = request._replace(seconds=seconds)
    show = partial(print_result, form)
    sys.exit(drill_run.run_backtrace(request, dry_run=dry_run, tell=_tell, show=show))


@drill.command("lockup", short_help="Mask a CPU until the hard-lockup detector must report it.")
@click.option("--permanent", is_flag=True, help="For good, by LKDTM: THE HOST IS RESET AFTERWARDS.")
@_CPU
@click.option(
    "--thresh", type=click.IntRange(min=1), metavar="S",
    help="Lower watchdog_thresh to this meanwhile: the CPU is masked for 2.5 times as long.",
)  # fmt: skip
@HOST
@WAY_BACK
@_EVIDENCE
@DRY_RUN
@FORMAT
def drill_lockup(  # noqa: PLR0913 - one for each option
    *,
    permanent: bool,
    cpu: int | None,
    thresh: int | None,
    host_name: str | None,
    way_back: str | None,
    evidence: str | None,
    dry_run: bool,
    form: str,
) -> None:
    """Mask a CPU past the hard-lockup threshold: is it reported, with its stack?

    For 2.5 times watchdog_thresh (25 s where that is 10) by the module
    test_lockup; the CPU then comes back. RCU stalls and soft lockups may be
    reported too. It has to be armed (`sdeictl drill arm`), and the host named.
    --way-back and --evidence go with --permanent, --thresh without it.
    """
    show = partial(print_result, form)
    if permanent and thresh is not None:
        raise click.UsageError("--thresh does not go with --permanent")
    if not permanent and (evidence or way_back):
        raise click.UsageError("--evidence and --way-back go with --permanent")
    consent = Consent(ask_host_name(host_name, dry_run=dry_run), way_back)
    if permanent:
        request = drill_run.ResetRequest("lockup", "permanent", cpu, evidence)
        sys.exit(drill_run.run_reset(request, consent, dry_run=dry_run, tell=_tell, show=show))
    masked = Request(masked=True, cpu=cpu, provider="test_lockup")
    sys.exit(drill_run.run_lockup(masked, thresh, consent, dry_run=dry_run, tell=_tell, show=show))


@drill.command("stop", short_help="RESET THE HOST with a CPU masked: is that CPU stopped?")
@_CPU
@HOST
@WAY_BACK
@_EVIDENCE
@DRY_RUN
@FORMAT
def drill_stop(
    *,
    cpu: int | None,
    host_name: str | None,
    way_back: str | None,
    evidence: str | None,
    dry_run: bool,
    form: str,
) -> None:
    """Mask a CPU for good and RESET THE HOST (sysrq-b): by which rung is that CPU stopped?

    All file systems are synced before; nothing is shut down. After the boot
    `sdeictl drill resume` reads the rungs from the ramoops console, or from a log
    of the serial or net console. It has to be armed, and the host named.
    """
    consent = Consent(ask_host_name(host_name, dry_run=dry_run), way_back)
    request = drill_run.ResetRequest("stop", None, cpu, evidence)
    show = partial(print_result, form)
    sys.exit(drill_run.run_reset(request, consent, dry_run=dry_run, tell=_tell, show=show))


@drill.command("crash", short_help="CRASH THE HOST with CPUs masked: are they in the dump?")
@click.option(
    "--variant", type=click.Choice(VARIANTS), default=VARIANTS[0], show_default=True,
    help="One CPU masked, then a panic; all masked but the one that panics; or the detector's own panic.",
)  # fmt: skip
@_CPU
@HOST
@WAY_BACK
@click.option(
    "--plain-dump", is_flag=True, help="The kdump service also saves a dump that makedumpfile cannot read."
)
@DRY_RUN
@FORMAT
def drill_crash(  # noqa: PLR0913 - one for each option
    *,
    variant: str,
    cpu: int | None,
    host_name: str | None,
    way_back: str | None,
    plain_dump: bool,
    dry_run: bool,
    form: str,
) -> None:
    """CRASH THE HOST through kdump with CPUs masked: does the dump hold their registers?

    All file systems are synced before. After the boot `sdeictl drill resume`
    looks for the dump and into it. It has to be armed, and the host named.
    """
    if variant == "all-masked" and cpu is not None:
        raise click.UsageError("--cpu does not go with --variant all-masked")
    consent = Consent(ask_host_name(host_name, dry_run=dry_run), way_back, plain_dump)
    request = drill_run.ResetRequest("crash", variant, cpu)
    show = partial(print_result, form)
    sys.exit(drill_run.run_reset(request, consent, dry_run=dry_run, tell=_tell, show=show))


@drill.command("arm", short_help="Allow one drill that can cost the host, for a while.")
@click.option("--for", "time", metavar="TIME", help="For how long: 90s, 10m, 1h at most.")
@click.option("--off", is_flag=True, help="Take it back.")
def drill_arm(*, time: str | None, off: bool) -> None:
    """Allow one drill that can cost the host to begin, for a while, on this boot.

    `lockup`, `stop`, `crash` and `bench ab` are refused without it. What begins
    takes it back; so does a reboot. `drill status` tells whether it is armed.
    """
    if off == (time is not None):
        raise click.UsageError("exactly one of --for and --off is needed")
    if os.geteuid():
        raise SdeictlError("only root can allow a drill, or take that back", Status.UNKNOWN)
    try:
        if time is not None:
            arm(_seconds(time), read_boot_id(LiveRoot()))
        else:
            disarm()
    except OSError as error:
        raise SdeictlError(f"it cannot be noted: {error.strerror}", Status.REFUSED) from error
    said = "not armed" if off else f"armed for {time}: one drill that can cost this host may begin"
    write(f"{said}\n".encode())


def _seconds(time: str) -> int:
    match = re.fullmatch(r"(\d{1,5})([smh])", time, re.ASCII)
    seconds = int(match[1]) * _UNITS[match[2]] if match else 0
    if not 0 < seconds <= MAX_SECONDS:
        raise click.UsageError("--for takes a time such as 90s, 10m or 1h, and an hour at most")
    return seconds


@drill.command("status", short_help="The last results, and whether something is left to put back.")
@FORMAT
def drill_status(form: str) -> None:
    """Print the last result of each drill, what has not ended, and whether one is allowed (`drill arm`)."""
    status = read_status()
    print_result(form, status, render_status(status))
    sys.exit(Status.UNKNOWN if status["unreadable"] else Status.GOOD)


@drill.command("resume", short_help="End a drill that was killed, or that reset the host.")
@click.option(
    "--evidence", metavar="FILE", type=FILE, help="The log, or the crash dump, that outlasted the reset."
)
@FORMAT
def drill_resume(evidence: str | None, form: str) -> None:
    """End a drill that has not ended: put back what it left, judge it by what outlasted a reset.

    Exit status: that of the drill if it is judged now, else 0.
    """
    if evidence and not os.path.exists(evidence):
        raise SdeictlError(f"{evidence} does not exist", Status.USAGE)
    resumed = resume(evidence, _tell)
    lines = [((resumed.sentence, ""),), *(render_result(resumed.result) if resumed.result else ())]
    print_result(form, {"resumed": resumed.sentence, "result": resumed.result}, lines)
    sys.exit(resumed.status)


def _tell(step: str) -> None:
    # Whoever reads along may go away: that is no reason to leave a drill half done.
    with contextlib.suppress(OSError):
        click.echo(f"drill: {step}", err=True)
