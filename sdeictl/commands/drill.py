"""`sdeictl drill`."""

from __future__ import annotations

import contextlib
import math
import os
import re
import sys
from collections.abc import Iterator
from typing import NoReturn

import click

from sdeictl.commands.consent import DRY_RUN, HOST, WAY_BACK, ask_consent
from sdeictl.commands.group import Group
from sdeictl.commands.output import FILE, FORMAT, columns, print_result, write
from sdeictl.drill.backtrace import plan_backtrace, run_backtrace
from sdeictl.drill.captured import (
    NOT_SHOWN,
    NOTHING_FOUND,
    reasons_against_backtrace,
    reasons_against_lockup,
    reasons_against_reset,
)
from sdeictl.drill.case import DrillRefusedError, reasons_against_arming
from sdeictl.drill.catalog import DRILLS, variants_of
from sdeictl.drill.lockup import plan_lockup, run_lockup
from sdeictl.drill.reset import ResetRequest, plan_reset, run_reset
from sdeictl.drill.result import drill_document, refuse
from sdeictl.drill.resume import resume
from sdeictl.drill.status import read_status
from sdeictl.drill.text import render_drills, render_result, render_status
from sdeictl.errors import SdeictlError, Status
from sdeictl.host.live import LiveRoot
from sdeictl.host.open import check_exists
from sdeictl.interlock.arming import MAX_SECONDS, arm, disarm
from sdeictl.interlock.consent import Consent
from sdeictl.interlock.dry_run import PlanLine, plan_document, render_plan, render_reasons
from sdeictl.interlock.refusals import Reason, refused_status
from sdeictl.interlock.results import DrillDocument
from sdeictl.interlock.survey import read_boot_id
from sdeictl.interlock.window import PROVIDERS, WindowRequest
from sdeictl.probe.drills import DRILL_OUTCOMES, DrillKind, DrillOutcome
from sdeictl.text import fitted, wrapped

VARIANTS = variants_of(DrillKind.CRASH)
_UNITS = {"s": 1, "m": 60, "h": 3600}

_CPU = click.option(
    "--cpu",
    type=click.IntRange(min=0),
    metavar="N",
    help="The CPU to mask; by default the one on which a mask delays least.",
)
_ACCEPT_LOAD = click.option(
    "--accept-load", "accepted_load", metavar="TEXT",
    help="Accept what the chosen CPU runs, repeated as the refusal names it.",
)  # fmt: skip
_ROOT = click.option(
    "--root", metavar="DIR|FILE", type=FILE,
    help="With --dry-run: say what speaks against the drill on a captured host.",
)  # fmt: skip
_EVIDENCE = click.option(
    "--evidence", metavar="FILE", type=FILE,
    help="The file that will hold the log of this host's serial or net console after the reset.",
)  # fmt: skip


@click.group(cls=Group, short_help="Mask a CPU under interlocks, and prove that it is reached.")
def drill() -> None:
    """Mask a CPU under interlocks, as a lockup does, and prove that it is reached.

    Exit status: 0 pass, 1 fail or a CPU lost, 3 could not tell, or refused
    because privilege, platform or a way to mask a CPU is missing, 4 refused by
    policy.
    """


@drill.command("list", short_help="List the drills: what each proves, risks and needs.")
@FORMAT
def drill_list(form: str) -> None:
    """List the drills: what each proves, risks and needs."""
    rows = [
        {"name": each.command, "proves": each.proves, "risks": each.risks, "needs": each.needs}
        for each in DRILLS
    ]
    print_result(form, {"drills": rows}, fitted(render_drills(), columns()))


@drill.command("backtrace", short_help="Ask every CPU for its backtrace, one of them masked.")
@click.option("--masked", is_flag=True, help="Mask one CPU for a bounded time, and ask it in that time.")
@_CPU
@_ACCEPT_LOAD
@click.option(
    "--seconds", type=float, metavar="S",
    help="How long to mask it, 1.5 by default; at most half of watchdog_thresh.",
)  # fmt: skip
@click.option(
    "--provider", type=click.Choice([provider.name for provider in PROVIDERS]),
    help="What masks it; by default the first of these that suits the host.",
)  # fmt: skip
@DRY_RUN
@_ROOT
@FORMAT
def drill_backtrace(  # noqa: PLR0913 - one for each option
    *,
    masked: bool,
    cpu: int | None,
    accepted_load: str | None,
    seconds: float | None,
    provider: str | None,
    dry_run: bool,
    root: str | None,
    form: str,
) -> None:
    """Ask every CPU for its backtrace (sysrq-l); report who answers, and by which path.

    With --masked the interrupts of one CPU are masked in that time. Only its
    stack from inside that time proves that a stuck CPU can be reached. The drill
    holds the CPUs out of the idle states in which a request can lose one, keeps
    the console quiet, and checks before and after that every CPU is alive.
    """
    if not masked and (cpu is not None or provider is not None or seconds is not None):
        raise click.UsageError("--cpu, --seconds and --provider go with --masked")
    if accepted_load is not None and cpu is None:
        raise click.UsageError("--accept-load goes with --cpu")
    request = WindowRequest(masked, cpu, provider=provider, accepted_load=accepted_load)
    if seconds is not None:
        if not math.isfinite(seconds):
            raise click.UsageError("--seconds must be a number of seconds")
        request = request._replace(seconds=seconds)
    if root is not None:
        _need_dry_run(dry_run=dry_run)
        _show_captured(form, reasons_against_backtrace(root, request))
    with _refusals(form, dry_run=dry_run):
        if dry_run:
            _show_plan(form, plan_backtrace(request))
        _show_result(form, run_backtrace(request, _tell))


@drill.command("lockup", short_help="Mask a CPU until the hard-lockup detector must report it.")
@click.option("--permanent", is_flag=True, help="For good, by LKDTM: THE HOST IS RESET AFTERWARDS.")
@_CPU
@_ACCEPT_LOAD
@click.option(
    "--thresh", type=click.IntRange(min=1), metavar="S",
    help="Lower watchdog_thresh to this during the drill: the CPU is masked for 2.5 times as long.",
)  # fmt: skip
@HOST
@WAY_BACK
@_EVIDENCE
@DRY_RUN
@_ROOT
@FORMAT
def drill_lockup(  # noqa: PLR0913 - one for each option
    *,
    permanent: bool,
    cpu: int | None,
    accepted_load: str | None,
    thresh: int | None,
    host_name: str | None,
    way_back: str | None,
    evidence: str | None,
    dry_run: bool,
    root: str | None,
    form: str,
) -> None:
    """Mask a CPU past the hard-lockup threshold: is it reported, with its stack?

    The module test_lockup masks it for 2.5 times watchdog_thresh (25 s if that
    is 10); then the CPU comes back. The kernel may also report RCU stalls and
    soft lockups. The host must be armed (`sdeictl drill arm`) and named.
    --way-back and --evidence go with --permanent, --thresh without it.
    """
    if permanent and thresh is not None:
        raise click.UsageError("--thresh does not go with --permanent")
    if not permanent and (evidence or way_back):
        raise click.UsageError("--evidence and --way-back go with --permanent")
    if root is not None and not permanent:
        _need_dry_run(dry_run=dry_run)
        _show_captured(form, reasons_against_lockup(root, cpu, thresh))
    consent = ask_consent(host_name, way_back, accepted_load, dry_run=dry_run)
    if permanent:
        _reset(
            ResetRequest(DrillKind.LOCKUP, "permanent", cpu, evidence), consent, form, root, dry_run=dry_run
        )
    with _refusals(form, dry_run=dry_run):
        if dry_run:
            _show_plan(form, plan_lockup(cpu, thresh, consent))
        _show_result(form, run_lockup(cpu, thresh, consent, _tell))


@drill.command("stop", short_help="RESET THE HOST with a CPU masked: is that CPU stopped?")
@_CPU
@_ACCEPT_LOAD
@HOST
@WAY_BACK
@_EVIDENCE
@DRY_RUN
@_ROOT
@FORMAT
def drill_stop(  # noqa: PLR0913 - one for each option
    *,
    cpu: int | None,
    accepted_load: str | None,
    host_name: str | None,
    way_back: str | None,
    evidence: str | None,
    dry_run: bool,
    root: str | None,
    form: str,
) -> None:
    """Mask a CPU for good and RESET THE HOST (sysrq-b): which rung stops that CPU?

    All file systems are synced before; nothing is shut down. After the reboot
    `sdeictl drill resume` reads the rungs of the stop ladder from the ramoops
    console, or from a log of the serial or net console. The host must be armed
    and named.
    """
    consent = ask_consent(host_name, way_back, accepted_load, dry_run=dry_run)
    _reset(ResetRequest(DrillKind.STOP, None, cpu, evidence), consent, form, root, dry_run=dry_run)


@drill.command("crash", short_help="CRASH THE HOST with CPUs masked: are they in the dump?")
@click.option(
    "--variant", type=click.Choice(VARIANTS), default=VARIANTS[0], show_default=True,
    help="One CPU masked, then a panic; all masked but the one that panics; or the detector's own panic.",
)  # fmt: skip
@_CPU
@_ACCEPT_LOAD
@HOST
@WAY_BACK
@click.option(
    "--plain-dump", is_flag=True, help="The kdump service also saves a dump that makedumpfile cannot read."
)
@DRY_RUN
@_ROOT
@FORMAT
def drill_crash(  # noqa: PLR0913 - one for each option
    *,
    variant: str,
    cpu: int | None,
    accepted_load: str | None,
    host_name: str | None,
    way_back: str | None,
    plain_dump: bool,
    dry_run: bool,
    root: str | None,
    form: str,
) -> None:
    """CRASH THE HOST through kdump with CPUs masked: does the dump hold their registers?

    All file systems are synced before. After the reboot `sdeictl drill resume`
    finds the dump and judges it. The host must be armed and named.
    """
    if variant == "all-masked" and cpu is not None:
        raise click.UsageError("--cpu does not go with --variant all-masked")
    consent = ask_consent(host_name, way_back, accepted_load, dry_run=dry_run, plain_dump=plain_dump)
    _reset(ResetRequest(DrillKind.CRASH, variant, cpu), consent, form, root, dry_run=dry_run)


def _reset(
    request: ResetRequest, consent: Consent, form: str, root: str | None, *, dry_run: bool
) -> NoReturn:
    if root is not None:
        _need_dry_run(dry_run=dry_run)
        _show_captured(form, reasons_against_reset(root, request))
    with _refusals(form, dry_run=dry_run):
        if dry_run:
            _show_plan(form, plan_reset(request, consent))
        _show_result(form, run_reset(request, consent, _tell))


@contextlib.contextmanager
def _refusals(form: str, *, dry_run: bool) -> Iterator[None]:
    """Show a refusal, as a plan or as a result, and end with its status; nothing is stored of it."""
    try:
        yield
    except DrillRefusedError as refusal:
        lines = render_reasons(refusal.reasons, columns())
        if dry_run:
            print_result(form, plan_document(None, refusal.reasons), lines)
        else:
            print_result(form, drill_document(refuse(refusal.reasons), refusal.identity), lines)
        sys.exit(refused_status(refusal.reasons))


def _show_plan(form: str, lines: list[PlanLine]) -> NoReturn:
    print_result(form, plan_document(lines, ()), render_plan(lines, columns()))
    sys.exit(Status.GOOD)


def _need_dry_run(*, dry_run: bool) -> None:
    if not dry_run:
        raise click.UsageError("--root goes with --dry-run: a drill runs on the host itself")


def _show_captured(form: str, reasons: list[Reason]) -> NoReturn:
    """Show what speaks against a drill on a captured host, and exit; nothing there is known to be safe."""
    found = list(render_reasons(reasons, columns())) if reasons else []
    said = NOT_SHOWN if reasons else f"{NOTHING_FOUND} {NOT_SHOWN}"
    lines = [*found, *wrapped(said, columns())]
    print_result(form, plan_document(None, reasons), lines)
    sys.exit(refused_status(reasons) if reasons else Status.UNKNOWN)


def _show_result(form: str, document: DrillDocument) -> NoReturn:
    print_result(form, document, fitted(render_result(document), columns()))
    sys.exit(DRILL_OUTCOMES[DrillOutcome(document["outcome"])].status)


@drill.command("arm", short_help="Allow one drill that can cost the host, for a while.")
@click.option("--for", "time", metavar="TIME", help="For how long: 90s, 10m, 1h at most.")
@click.option("--off", is_flag=True, help="Disarm the host.")
def drill_arm(*, time: str | None, off: bool) -> None:
    """Allow one drill that can cost the host to begin, for a while, in this boot.

    `lockup`, `stop`, `crash` and `bench ab` are refused without it. The drill
    that begins disarms the host; so does a reboot. `drill status` shows whether
    the host is armed.
    """
    if off == (time is not None):
        raise click.UsageError("exactly one of --for and --off is needed")
    if off and os.geteuid():
        raise SdeictlError("only root can disarm a host", Status.UNKNOWN)
    seconds = None if time is None else _seconds(time)
    if seconds is not None and (reasons := reasons_against_arming()):
        text = f"nothing that needs arming can run here. {' '.join(reason.text for reason in reasons)}"
        raise SdeictlError(text, refused_status(reasons))
    try:
        if seconds is not None:
            arm(seconds, read_boot_id(LiveRoot()))
        else:
            disarm()
    except OSError as error:
        raise SdeictlError(f"it cannot be noted: {error.strerror}", Status.REFUSED) from error
    said = "not armed" if off else f"armed for {time}: one drill that can take this host down may begin"
    write(f"{said}\n".encode())


def _seconds(time: str) -> int:
    match = re.fullmatch(r"(\d{1,5})([smh])", time, re.ASCII)
    seconds = int(match[1]) * _UNITS[match[2]] if match else 0
    if not 0 < seconds <= MAX_SECONDS:
        raise click.UsageError("--for takes a time such as 90s, 10m or 1h, and an hour at most")
    return seconds


@drill.command("status", short_help="Show the last results, and whether a drill left something to restore.")
@FORMAT
def drill_status(form: str) -> None:
    """Show the last result of each drill, a drill that has not ended, and whether the host is armed."""
    status = read_status()
    print_result(form, status, fitted(render_status(status), columns()))
    sys.exit(Status.UNKNOWN if status["unreadable"] else Status.GOOD)


@drill.command("resume", short_help="End a drill that was killed, or that reset the host.")
@click.option(
    "--evidence", metavar="FILE", type=FILE, help="The log, or the crash dump, that survived the reset."
)
@FORMAT
def drill_resume(evidence: str | None, form: str) -> None:
    """End a drill that has not ended: restore what it left; judge it if it reset the host.

    Exit status: the status of the drill if this command judges it; 1 if a CPU is
    lost; 3 or 4 if the command is refused; else 0.
    """
    if evidence:
        check_exists(evidence)
    resumed = resume(evidence, _tell)
    lines = [((resumed.sentence, ""),), *(render_result(resumed.result) if resumed.result else ())]
    document = {"resumed": resumed.sentence, "result": resumed.result}
    print_result(form, document, fitted(lines, columns()))
    sys.exit(resumed.status)


def _tell(step: str) -> None:
    # Finish the drill even if the reader of its output goes away.
    with contextlib.suppress(OSError):
        click.echo(f"drill: {step}", err=True)
