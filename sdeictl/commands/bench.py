"""`sdeictl bench`."""

import contextlib
import os
import shlex
import shutil
import sys
from typing import NoReturn

import click

from sdeictl.bench.compare import compare, judge_aa, split
from sdeictl.bench.conditions import MUST_BE_SAME
from sdeictl.bench.experiment_run import AbRequest, Outcome, begin, resume
from sdeictl.bench.loop import CALLS, load_loops
from sdeictl.bench.run import check_calls, encode, parse_bench, run_bench, run_each, store_bench
from sdeictl.bench.text import render_aa, render_ab, render_bench, render_calls, render_comparison
from sdeictl.commands.consent import DRY_RUN, HOST, WAY_BACK, ask_host_name
from sdeictl.commands.output import FILE, FORMAT, check_new_file, print_result, read_input, write_new_file
from sdeictl.drill.text import render_plan, render_reasons
from sdeictl.errors import SdeictlError, Status
from sdeictl.interlock.danger import Consent
from sdeictl.interlock.refusals import plan_json

SCHEMA_AA = "sdeictl.bench-aa/1"
_SECONDS = click.option(
    "--seconds", type=click.IntRange(1, 600), default=5, show_default=True, metavar="S",
    help="For how long each call is timed.",
)  # fmt: skip
_WORKLOAD = click.option(
    "--workload", metavar="CMD", help="Time a program instead: its words as a shell would split them."
)
_ROUNDS = click.option(
    "--rounds", type=click.IntRange(6, 1000), default=10, show_default=True, metavar="N",
    help="How often the program of --workload is run.",
)  # fmt: skip


@click.group(short_help="What does pseudo-NMI cost on this host?")
def bench() -> None:
    """Measure what pseudo-NMI costs on this host, and compare runs that may be compared.

    `ab` and `resume` reboot this host; the others change nothing.

    Exit status: 0 measured or compared, 1 the host is not back in its original
    boot, 3 could not be measured, or must not be compared, 4 refused by policy.
    """


@bench.command("list", short_help="What can be timed.")
@FORMAT
def bench_list(form: str) -> None:
    """Print the calls that can be timed."""
    print_result(form, {"calls": [call._asdict() for call in CALLS]}, render_calls())


@bench.command("run", short_help="Time system calls, or a program, and record the conditions.")
@click.argument("calls", nargs=-1, metavar="[CALL]...")
@_SECONDS
@_WORKLOAD
@_ROUNDS
@click.option("--output", metavar="FILE", type=FILE, help="Write the result to this new file too.")
@FORMAT
def bench_run(
    *,
    calls: tuple[str, ...],
    seconds: int,
    workload: str | None,
    rounds: int,
    output: str | None,
    form: str,
) -> None:
    """Time each CALL (getppid by default), in turns, and record under what conditions.

    What counts is the undisturbed time: of 20 stretches of the run the 1 %
    quantile each, of these the median, with its 95 % interval. As root the
    result is kept in /var/lib/sdeictl/bench.
    """
    if output:
        check_new_file(output)
    document = run_bench(calls, seconds, _found(_words(workload)), rounds)
    if output:
        write_new_file(output, encode(document))
    if not os.geteuid():
        _keep(document)
    print_result(form, document, render_bench(document))


def _words(workload: str | None) -> tuple[str, ...]:
    try:
        words = tuple(shlex.split(workload or ""))
    except ValueError as error:
        raise click.UsageError(f"--workload: {error}") from error
    if workload is not None and not words:
        raise click.UsageError("--workload: it names no program")
    return words


def _found(words: tuple[str, ...]) -> tuple[str, ...]:
    """Return a program by its whole path: it is what was timed, and elsewhere the search path is another."""
    program = shutil.which(words[0]) if words else None
    if words and not program:
        raise SdeictlError(f"--workload: there is no program {words[0]}", Status.USAGE)
    return (os.path.abspath(program), *words[1:]) if program else ()


def _keep(document: dict[str, object]) -> None:
    try:
        _tell(f"kept in {store_bench(document)}")
    except OSError as error:
        click.echo(f"bench: the result could not be kept: {error.strerror}", err=True)


@bench.command("compare", short_help="Do two runs differ, or the runs with and without pseudo-NMI?")
@click.argument("files", nargs=-1, required=True, metavar="A B...", type=FILE)
@click.option(
    "--ignore", "ignored", multiple=True, type=click.Choice([*MUST_BE_SAME, "pmr_sync"]), metavar="FIELD",
    help="Compare although this condition differs; the output says so.",
)  # fmt: skip
@FORMAT
def bench_compare(files: tuple[str, ...], ignored: tuple[str, ...], form: str) -> None:
    """Compare run B with run A; of more, those in another state of pseudo-NMI with those like A.

    Refused, with every reason, where anything but that state differs.
    """
    if len(files) < 2:
        raise click.UsageError("two runs at least are needed")
    comparison = compare(*split([_read(path) for path in files]), ignored)
    print_result(form, comparison, render_comparison(comparison))


def _read(path: str) -> dict[str, object]:
    try:
        return parse_bench(read_input(path))
    except ValueError as error:
        raise SdeictlError(f"{path}: {error}", Status.UNKNOWN) from error


@bench.command("aa", short_help="How often are equal runs called different on this host?")
@click.argument("calls", nargs=-1, metavar="[CALL]...")
@click.option(
    "--runs", type=click.IntRange(2, 1000), default=10, show_default=True, metavar="N", help="How many runs."
)
@_SECONDS
@FORMAT
def bench_aa(calls: tuple[str, ...], runs: int, seconds: int, form: str) -> None:
    """Run the same thing again and again and compare the pairs: before a difference is believed."""
    check_calls(calls, load_loops())
    documents = run_each(runs, lambda: run_bench(calls, seconds, (), 0), _tell)
    names = [result["call"] for result in documents[0]["results"]]
    document = {
        "schema": SCHEMA_AA,
        "host": documents[0]["host"],
        "calls": [judge_aa(documents, name) for name in names],
        "labels": sorted({label for run in documents for label in run["labels"]}),
    }
    print_result(form, document, render_aa(document))
    sys.exit(Status.GOOD)


@bench.command("ab", short_help="REBOOT THE HOST again and again, with and without pseudo-NMI, and compare.")
@click.argument("calls", nargs=-1, metavar="[CALL]...")
@click.option(
    "--boots", "pairs", type=click.IntRange(1, 50), default=3, show_default=True, metavar="N",
    help="How many boots with, and as many without.",
)  # fmt: skip
@_SECONDS
@_WORKLOAD
@_ROUNDS
@click.option(
    "--kernel",
    "image",
    metavar="FILE",
    type=FILE,
    help="The running kernel's image, if it is not below /boot.",
)
@click.option("--initrd", metavar="FILE", type=FILE, help="And its initrd, with --kernel.")
@click.option("--no-initrd", is_flag=True, help="The kernel needs no initrd.")
@click.option(
    "--own-resume", is_flag=True, help="Something of your own calls `sdeictl bench resume` in each boot."
)
@HOST
@WAY_BACK
@DRY_RUN
@FORMAT
def bench_ab(  # noqa: PLR0913 - one for each option
    *,
    calls: tuple[str, ...],
    pairs: int,
    seconds: int,
    workload: str | None,
    rounds: int,
    image: str | None,
    initrd: str | None,
    no_initrd: bool,
    own_resume: bool,
    host_name: str | None,
    way_back: str | None,
    dry_run: bool,
    form: str,
) -> None:
    """Measure with and without pseudo-NMI, in alternating boots, unattended.

    Each boot is for once, by kexec: nothing that is stored for the boot is
    changed, and any reset leads back to it. It goes on in each boot by
    `sdeictl bench resume`, a unit of systemd. A boot is tried twice; then the
    host goes back to its original boot, as it does in the end. It has to be
    armed (`sdeictl drill arm`), and the host named.
    """
    if initrd and not image:
        raise click.UsageError("--initrd goes with --kernel")
    if initrd and no_initrd:
        raise click.UsageError("--initrd does not go with --no-initrd")
    words = _found(_words(workload))
    check_calls(calls, load_loops())
    request = AbRequest(calls, seconds, words, rounds, pairs, image, initrd, no_initrd, own_resume)
    consent = Consent(ask_host_name(host_name, dry_run=dry_run), way_back)
    _show(begin(request, consent, dry_run=dry_run, say=_tell), form)


@bench.command("resume", short_help="Go on with `bench ab` in this boot, or end it.")
@click.option("--stop", is_flag=True, help="End it: go back to the original boot.")
@FORMAT
def bench_resume(*, stop: bool, form: str) -> None:
    """Go on with an experiment that has not ended: the unit of systemd does this in each boot."""
    _show(resume(_tell, stop=stop), form)


def _show(outcome: Outcome, form: str) -> NoReturn:
    if outcome.result:
        print_result(form, outcome.result, render_ab(outcome.result))
    elif outcome.plan is not None or outcome.reasons:
        lines = render_plan(outcome.plan) if outcome.plan else render_reasons(outcome.reasons)
        print_result(form, plan_json(outcome.plan, outcome.reasons), lines)
    else:
        print_result(form, {"sentence": outcome.sentence}, [((outcome.sentence, ""),)])
    sys.exit(outcome.status)


def _tell(step: str) -> None:
    # Whoever reads along may go away: that is no reason to leave a host in the middle of it.
    with contextlib.suppress(OSError):
        click.echo(f"bench: {step}", err=True)
