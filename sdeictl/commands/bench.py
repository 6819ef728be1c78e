"""`sdeictl bench`."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import NoReturn, TypeVar

import click

from sdeictl.bench.compare import aa_document, compare_runs, parse_aa, split_sides
from sdeictl.bench.conditions import MUST_BE_SAME
from sdeictl.bench.document import MAX_RUN_BYTES, MAX_RUNS_BYTES, BenchDocument, encode, parse_bench
from sdeictl.bench.experiment_runner import (
    AbRequest,
    Ended,
    ExperimentRefusedError,
    begin_experiment,
    plan_experiment,
    resume_experiment,
)
from sdeictl.bench.kexec import KernelFiles
from sdeictl.bench.loop import CALLS, load_loops
from sdeictl.bench.measure import Timing
from sdeictl.bench.run import check_calls, run_bench, run_repeatedly, store_bench
from sdeictl.bench.text import render_aa, render_ab, render_bench, render_calls, render_comparison
from sdeictl.commands import complete
from sdeictl.commands.consent import DRY_RUN, HOST, WAY_BACK, ask_consent
from sdeictl.commands.group import Group
from sdeictl.commands.output import (
    FILE,
    FORMAT,
    check_new_file,
    columns,
    print_result,
    read_document,
    write,
    write_new_file,
)
from sdeictl.errors import SdeictlError, Status
from sdeictl.interlock.dry_run import PlanLine, plan_document, render_plan, render_reasons
from sdeictl.interlock.refusals import refused_status
from sdeictl.text import fitted

T = TypeVar("T")
_CALLS = click.argument("calls", nargs=-1, metavar="[CALL]...", shell_complete=complete.calls)
_SECONDS = click.option(
    "--seconds", type=click.IntRange(1, 600), default=5, show_default=True, metavar="S",
    help="How many seconds to time each call.",
)  # fmt: skip
_WORKLOAD = click.option(
    "--workload", metavar="CMD", help="Time a program instead; its words are split as a shell splits them."
)
_ROUNDS = click.option(
    "--rounds", type=click.IntRange(6, 1000), default=10, show_default=True, metavar="N",
    help="How many times to run the program of --workload.",
)  # fmt: skip


@click.group(cls=Group, short_help="Measure what pseudo-NMI costs on this host.")
def bench() -> None:
    """Measure what pseudo-NMI costs on this host, and compare runs under equal conditions.

    `ab` and `resume` reboot this host; the other commands change nothing.

    Exit status: 0 measured or compared, 1 the host is not back in its original
    boot, 3 the measurement failed, or the runs must not be compared, 4 refused
    by policy.
    """


@bench.command("list", short_help="List the calls that can be timed.")
@FORMAT
def bench_list(form: str) -> None:
    """List the calls that can be timed."""
    print_result(form, {"calls": [call._asdict() for call in CALLS]}, fitted(render_calls(), columns()))


@bench.command("run", short_help="Time system calls, or a program, and record the conditions.")
@_CALLS
@_SECONDS
@_WORKLOAD
@_ROUNDS
@click.option("--output", metavar="FILE", type=FILE, help="Also write the result to this new file.")
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
    """Time each CALL (getppid by default), in turns, and record the conditions.

    The result is the undisturbed time of a call: each of 20 blocks of the run
    gives its 1 % quantile, and the result is the median of these, with its 95 %
    interval. As root, sdeictl also stores the result in /var/lib/sdeictl/bench.
    """
    if output:
        check_new_file(output)
    document = run_bench(Timing(calls, seconds, _find_program(_split_words(workload)), rounds))
    # The run took long: a full disk or a closed terminal must not lose it. The last line is done first.
    with contextlib.ExitStack() as kept:
        kept.callback(print_result, form, document, render_bench(document))
        if not os.geteuid():
            kept.callback(_store, document)
        if output:
            kept.callback(write_new_file, output, encode(document))


def _split_words(workload: str | None) -> tuple[str, ...]:
    try:
        words = tuple(shlex.split(workload or ""))
    except ValueError as error:
        raise click.UsageError(f"--workload: {error}") from error
    if workload is not None and not words:
        raise click.UsageError("--workload does not name a program")
    return words


def _find_program(words: tuple[str, ...]) -> tuple[str, ...]:
    """Return the words with the program's whole path, because other boots may have another search path."""
    program = shutil.which(words[0]) if words else None
    if words and not program:
        raise SdeictlError(f"--workload: the program {words[0]} does not exist", Status.USAGE)
    return (os.path.abspath(program), *words[1:]) if program else ()


def _store(document: BenchDocument) -> None:
    try:
        _tell(f"stored in {store_bench(document)}")
    except OSError as error:
        click.echo(f"bench: the result could not be stored: {error.strerror}", err=True)


@bench.command("compare", short_help="Compare two runs, or the runs with and without pseudo-NMI.")
@click.argument(
    "files", nargs=-1, required=True, metavar="A B...", type=FILE, shell_complete=complete.stored_runs
)
@click.option(
    "--ignore", "ignored", multiple=True, type=click.Choice([*MUST_BE_SAME, "pmr_sync"]), metavar="FIELD",
    help="Compare even if the runs differ in this condition; the output says so.",
)  # fmt: skip
@click.option(
    "--noise", metavar="FILE", type=FILE,
    help="A result of `bench aa --format json`; --format html shows its largest false difference.",
)  # fmt: skip
@click.option(
    "--format", "form", type=click.Choice(["text", "json", "html"]), default="text", show_default=True,
    help="How to print the result.",
)  # fmt: skip
def bench_compare(files: tuple[str, ...], ignored: tuple[str, ...], noise: str | None, form: str) -> None:
    """Compare run B with run A.

    With more than two runs, sdeictl compares the runs in another state of
    pseudo-NMI than A with the runs in the same state as A. It refuses, with
    every reason, if the runs differ in anything but that state.
    """
    if len(files) < 2:
        raise click.UsageError("at least two runs are needed")
    if noise is not None and form != "html":
        raise click.UsageError("--noise goes with --format html")
    _check_sizes(files)
    sides = split_sides([_read(path, parse_bench) for path in files])
    comparison = compare_runs(*sides, ignored)
    if form == "html":
        from sdeictl.bench.page import comparison_page  # noqa: PLC0415 - only this format needs it

        floor = None if noise is None else _read(noise, parse_aa)
        write(comparison_page(comparison, sides, floor))
    else:
        print_result(form, comparison, fitted(render_comparison(comparison), columns()))


def _check_sizes(files: Iterable[str]) -> None:
    """Raise SdeictlError with Status.UNKNOWN if runs together are too large to be compared."""
    sizes = (os.path.getsize(path) for path in files if os.path.isfile(path))
    if sum(size for size in sizes if size <= MAX_RUN_BYTES) > MAX_RUNS_BYTES:
        text = f"the runs together are larger than {MAX_RUNS_BYTES >> 20} MiB: compare fewer of them"
        raise SdeictlError(text, Status.UNKNOWN)


def _read(path: str, parse: Callable[[bytes], T]) -> T:
    try:
        return parse(read_document(path, MAX_RUN_BYTES))
    except ValueError as error:
        raise SdeictlError(f"{path}: {error}", Status.UNKNOWN) from error


@bench.command("aa", short_help="Show how often equal runs are called different on this host.")
@_CALLS
@click.option(
    "--runs", type=click.IntRange(2, 1000), default=10, show_default=True, metavar="N",
    help="How many runs to make.",
)  # fmt: skip
@_SECONDS
@FORMAT
def bench_aa(calls: tuple[str, ...], runs: int, seconds: int, form: str) -> None:
    """Repeat the same run and compare the runs in pairs.

    It shows how far to trust a difference that `compare` finds on this host.
    """
    check_calls(calls, load_loops())
    document = aa_document(run_repeatedly(Timing(calls, seconds), runs, _tell))
    print_result(form, document, fitted(render_aa(document), columns()))
    sys.exit(Status.GOOD)


@bench.command("ab", short_help="REBOOT THE HOST repeatedly, with and without pseudo-NMI, and compare.")
@_CALLS
@click.option(
    "--boots", "pairs", type=click.IntRange(1, 50), default=3, show_default=True, metavar="N",
    help="How many boots with pseudo-NMI, and as many without.",
)  # fmt: skip
@_SECONDS
@_WORKLOAD
@_ROUNDS
@click.option(
    "--kernel", "image", metavar="FILE", type=FILE,
    help="The image of the running kernel, if it is not below /boot.",
)  # fmt: skip
@click.option("--initrd", metavar="FILE", type=FILE, help="The initrd of that kernel; goes with --kernel.")
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

    kexec sets the command line of each boot for that boot only. Nothing that the
    host stores for its boots changes, so that any reset leads back to the
    original boot. In each boot sdeictl-bench-resume.service continues the
    experiment. If a boot fails twice, and at the end, the host returns to its
    original boot. The host must be armed (`sdeictl drill arm`) and named.
    """
    if initrd and not image:
        raise click.UsageError("--initrd goes with --kernel")
    if initrd and no_initrd:
        raise click.UsageError("--initrd does not go with --no-initrd")
    timing = Timing(calls, seconds, _find_program(_split_words(workload)), rounds)
    check_calls(calls, load_loops())
    request = AbRequest(timing, pairs, KernelFiles(image, initrd, no_initrd), own_resume)
    consent = ask_consent(host_name, way_back, dry_run=dry_run)
    with _refusals(form):
        if dry_run:
            _show_plan(form, plan_experiment(request, consent))
        _show_end(form, begin_experiment(request, consent, _tell))


@contextlib.contextmanager
def _refusals(form: str) -> Iterator[None]:
    """Show a refusal and end with its status."""
    try:
        yield
    except ExperimentRefusedError as refusal:
        print_result(form, plan_document(None, refusal.reasons), render_reasons(refusal.reasons, columns()))
        sys.exit(refused_status(refusal.reasons))


def _show_plan(form: str, lines: list[PlanLine]) -> NoReturn:
    print_result(form, plan_document(lines, ()), render_plan(lines, columns()))
    sys.exit(Status.GOOD)


def _show_end(form: str, ended: Ended) -> NoReturn:
    if ended.result:
        print_result(form, ended.result, fitted(render_ab(ended.result), columns()))
    else:
        print_result(form, {"sentence": ended.sentence}, [((ended.sentence, ""),)])
    sys.exit(ended.status)


@bench.command("resume", short_help="Continue `bench ab` in this boot, or end it.")
@click.option("--stop", is_flag=True, help="End the experiment: return to the original boot.")
@FORMAT
def bench_resume(*, stop: bool, form: str) -> None:
    """Continue an experiment of `bench ab` that has not ended.

    sdeictl-bench-resume.service does this in each boot.
    """
    _show_end(form, resume_experiment(_tell, stop=stop))


def _tell(step: str) -> None:
    # The reader of these lines may go away. The host must not stay in a boot of the experiment because of it.
    with contextlib.suppress(OSError):
        click.echo(f"bench: {step}", err=True)
