"""The commands. The only place that prints, exits or builds a console."""

import contextlib
import json
import math
import os
import sys
from collections.abc import Iterable
from functools import partial
from typing import NoReturn

import click

from sdeictl import __version__
from sdeictl.analysis import analyze as analyze_log
from sdeictl.capture import make_capture, pack
from sdeictl.collect import collect
from sdeictl.drill import run as drill_run
from sdeictl.drill.plan import DRILLS, PROVIDERS, Request
from sdeictl.drill.render import render_drills, render_status
from sdeictl.errors import SdeictlError, Status
from sdeictl.klog import parse_log
from sdeictl.render import Line, plain, print_styled, render_analysis, render_report
from sdeictl.report import Json, analysis_json, build_report
from sdeictl.root import open_root, read_stream

COMPRESSED = (b"\x1f\x8b", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd", b"BZh")
"""How files of gzip, xz, zstd and bzip2 begin."""
FORMAT = click.option(
    "--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True,
    help="How to print the result.",
)  # fmt: skip


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="sdeictl", message="%(prog)s %(version)s")
def cli() -> None:
    """Can this arm64 host still reach a CPU that is stuck with its interrupts masked?

    By SDEI firmware events, by GICv3 pseudo-NMI, or not at all. Nothing but
    `drill` changes the host.

    Exit status: 0 good, 1 a masked CPU cannot be reached or a drill failed, 2
    usage, 3 could not tell, 4 refused by policy, 70 internal error.
    """


@cli.command(short_help="By what does this host reach a masked CPU?")
@click.option(
    "--root", metavar="DIR|FILE", help="Judge a captured host: a directory, or a file of `sdeictl capture`."
)
@click.option(
    "--kernel-log", metavar="FILE", help="Kernel log to use in place of the host's own; - for standard input."
)
@FORMAT
def probe(root: str | None, kernel_log: str | None, form: str) -> None:
    """Tell by what this host reaches a masked CPU, and what is missing.

    Exit status: 0 it can, 1 it cannot, 3 could not tell.
    """
    log = None if kernel_log is None else _read_input(kernel_log)
    report = build_report(collect(open_root(root), log))
    _print(form, report, render_report(report))
    statuses = {True: Status.GOOD, False: Status.FAILED, None: Status.UNKNOWN}
    sys.exit(statuses[report["verdict"]["ready"]])


@cli.command(short_help="Write what the probe reads to a file.")
@click.argument("out", metavar="OUT.tar.gz|-")
def capture(out: str) -> None:
    """Write what the probe reads of this host to a file, to be judged elsewhere.

    Addresses, the command line but for known parameters, log lines that are not
    about reaching a CPU, and strings of the kernel configuration stay here; the
    file lists them. An existing file is never overwritten; - is standard output.
    """
    made = make_capture(open_root(None))
    if out == "-":
        _write(pack(made))
    else:
        _write_new_file(out, pack(made))
    for item in made.left_out:
        click.echo(f"left out of {item.path}: {item.what}", err=True)
    for gap in made.facts.gaps:
        click.echo(f"could not read {gap.source} ({gap.kind}): {gap.detail}", err=True)
    if made.facts.architecture not in (None, "arm64"):
        click.echo(f"this is no arm64 host ({made.facts.architecture}): there is nothing to judge", err=True)
    if any(gap.kind == "denied" for gap in made.facts.gaps):
        raise SdeictlError("the capture lacks what was denied: run as root", Status.UNKNOWN)


@cli.command(short_help="Read the answers in a kernel log.")
@click.argument("file", metavar="FILE|-")
@FORMAT
def analyze(file: str, form: str) -> None:
    """Tell from a kernel log who was asked for a backtrace, who answered, masked or not, by which path.

    FILE is /dev/kmsg text, dmesg (also -r, -x, -T) or a serial console's log.
    Exit status: 0 if any kernel record was read, else 3.
    """
    data = _read_input(file)
    analysis = analyze_log(parse_log(data))
    _print(form, analysis_json(analysis), render_analysis(analysis))
    if not analysis.records:
        name = "the input" if file == "-" else file
        hint = "; it is compressed: unpack it first" if data.startswith(COMPRESSED) else ""
        raise SdeictlError(f"no kernel record in {name}{hint}", Status.UNKNOWN)


@cli.group(short_help="Provoke what a stuck CPU would suffer, and prove what arrives.")
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
    _print(form, {"drills": [drill._asdict() for drill in DRILLS]}, render_drills())


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
    status = drill_run.run(request, dry_run=dry_run, tell=_tell, show=partial(_print, form))
    sys.exit(status)


@drill.command("status", short_help="The last results, and whether something is left to put back.")
@FORMAT
def drill_status(form: str) -> None:
    """Print the last result of each drill, and the drill that was killed, if one was."""
    status = drill_run.read_status()
    _print(form, status, render_status(status))


@drill.command("resume", short_help="Put back what a killed drill left.")
def drill_resume() -> None:
    """Put back what a drill that was killed has left: the console level."""
    click.echo(drill_run.resume())


@cli.command()
@FORMAT
def version(form: str) -> None:
    """Print the version."""
    _print(form, {"name": "sdeictl", "version": __version__}, (((f"sdeictl {__version__}", ""),),))


def _tell(step: str) -> None:
    # Whoever reads along may go away: that is no reason to leave a drill half done.
    with contextlib.suppress(OSError):
        click.echo(f"drill: {step}", err=True)


def _read_input(path: str) -> bytes:
    try:
        return read_stream(path)
    except FileNotFoundError as error:
        raise SdeictlError(f"{path} does not exist", Status.USAGE) from error
    except OSError as error:
        raise SdeictlError(f"{path} cannot be read: {error.strerror}", Status.UNKNOWN) from error


def _write_new_file(path: str, data: bytes) -> None:
    try:
        with open(path, "xb") as file:
            file.write(data)
    except FileExistsError as error:
        raise SdeictlError(f"{path} exists already; choose another name", Status.USAGE) from error
    except OSError as error:
        raise SdeictlError(f"{path} cannot be written: {error.strerror}", Status.USAGE) from error


def _print(form: str, document: Json, lines: Iterable[Line]) -> None:
    if form == "json":
        _write(json.dumps(document, indent=2).encode() + b"\n")
    elif sys.stdout is not None and sys.stdout.isatty():
        print_styled(lines)
    else:
        _write(plain(lines).encode("utf-8", "replace"))


def _write(data: bytes) -> None:
    """Write to the standard output; a reader that goes away early does not change the exit status."""
    if sys.stdout is None:
        raise SdeictlError("the standard output is closed", Status.UNKNOWN)
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except OSError as error:
        # What is still buffered must not raise again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            raise SdeictlError(f"the result cannot be written: {error.strerror}", Status.UNKNOWN) from error


def main() -> NoReturn:
    """Run the command line; every way out has a status of the contract."""
    try:
        cli.main(standalone_mode=False)
        status: int = Status.GOOD
    except SdeictlError as error:
        click.echo(f"sdeictl: {error}", err=True)
        status = error.status
    except click.ClickException as error:
        error.show()
        status = Status.USAGE
    except click.Abort:
        status = 130
    except Exception as error:
        click.echo(f"sdeictl: internal error: {type(error).__name__}: {error}", err=True)
        status = Status.INTERNAL
    sys.exit(status)
