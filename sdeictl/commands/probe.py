"""`sdeictl probe`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import click

from sdeictl.commands.output import (
    FILE,
    columns,
    is_taller_than_terminal,
    print_lines,
    print_result,
    read_document,
    read_pieces,
    write,
    write_json,
)
from sdeictl.errors import SdeictlError, Status
from sdeictl.host.files import MAX_FILE_BYTES
from sdeictl.host.gap import unread_log
from sdeictl.host.log_alone import LogRoot
from sdeictl.host.open import check_exists, holds_nothing, open_root
from sdeictl.probe.collect import collect
from sdeictl.probe.report import build_report
from sdeictl.probe.text import render_report, verdict_line, verdict_word
from sdeictl.probe.verdict import NOTHING_KNOWN
from sdeictl.text import Line, fitted, visible_lines

if TYPE_CHECKING:
    from sdeictl.probe.document import ReportDocument

FORMATS = ["text", "json", "html", "prometheus", "nagios"]
FOR_SEVERAL = ("text", "json")
ARM64 = ("aarch64", "arm64")
_STATUSES = {True: Status.GOOD, False: Status.FAILED, None: Status.UNKNOWN}


@click.command(short_help="How does this host reach a masked CPU?")
@click.option(
    "--root",
    "roots",
    metavar="DIR|FILE",
    type=FILE,
    multiple=True,
    help="Judge another host: a directory tree, a file that `sdeictl capture` wrote, a report of"
    " sos, a kernel log alone, or a stored report. Several times: judge several hosts.",
)
@click.option(
    "--kernel-log",
    metavar="FILE",
    type=FILE,
    help="Read this kernel log instead of the host's own; - is standard input.",
)
@click.option(
    "--deep",
    is_flag=True,
    help="Also read a flag in the kernel's memory, and the journal if the kernel log has lost its start."
    " If CPUs use deeper idle states, count for 3 s whether these mask SDEI.",
)
@click.option(
    "--compare",
    nargs=2,
    metavar="A B",
    type=FILE,
    help="Show the differences between two hosts: captures, directory trees, or reports of --format json.",
)
@click.option("-v", "--verbose", is_flag=True, help="Show all checks, with the sources of their answers.")
@click.option(
    "--format", "form", type=click.Choice(FORMATS), default="text", show_default=True,
    help="How to print the result: html for a ticket, prometheus for a textfile collector, nagios for a"
    " monitoring plugin.",
)  # fmt: skip
def probe(
    roots: tuple[str, ...],
    kernel_log: str | None,
    deep: bool,
    compare: tuple[str, str] | None,
    verbose: bool,
    form: str,
) -> None:
    """Report how this host reaches a masked CPU, and what is missing.

    Exit status: 0 it can reach one, 1 it cannot, 3 could not tell. Of several
    hosts: 1 if one cannot, else 3 if one could not be told. With --format
    nagios: 0 it can, 1 it can but there is a hazard, 2 it cannot, 3 could not
    tell. With --compare: 0.
    """
    if compare:
        if roots or kernel_log or deep or verbose or form not in FOR_SEVERAL:
            raise click.UsageError("--compare goes with --format text or json, and with no other option")
        _compare(*compare, form)
        return
    if deep and roots:
        raise click.UsageError("--deep reads the running host, and --root judges another host")
    if len(roots) > 1:
        if kernel_log or form not in FOR_SEVERAL:
            raise click.UsageError("several hosts go with --format text or json, and without --kernel-log")
        _print_hosts(roots, form, verbose=verbose)
    root = roots[0] if roots else None
    if kernel_log is not None and root is None and os.uname().machine not in ARM64:
        # The log is of another host: nothing of this machine belongs to it.
        facts = collect(LogRoot(read_document(kernel_log, MAX_FILE_BYTES)))
    else:
        log = None if kernel_log is None else read_pieces(kernel_log)
        if log is None and root is not None and os.path.isfile(root):
            _print_stored_report(root, form, verbose=verbose)
        facts = collect(open_root(root), log, deep=deep)
    report = build_report(facts)
    # Who reads the other formats expects a result, not a sentence on standard error.
    named = root or kernel_log
    if named is not None and form in FOR_SEVERAL and report["verdict"]["summary"] == NOTHING_KNOWN:
        raise holds_nothing(named, unread_log(facts.gaps))
    _print_report(report, form, verbose=verbose)


def _print_stored_report(path: str, form: str, *, verbose: bool) -> None:
    """Print the report in a file and exit with its status; return if the file is a host instead.

    Raises SdeictlError with Status.UNKNOWN if the report lacks a field.
    """
    from sdeictl.probe.stored_report import complete_report, read_report  # noqa: PLC0415 - files alone need it

    report = read_report(path)
    if report is not None:
        with complete_report(path):
            _print_report(report, form, verbose=verbose)


def _print_report(report: ReportDocument, form: str, *, verbose: bool) -> None:
    """Print a report and exit with its status."""
    if form == "prometheus":
        from sdeictl.probe.metrics import exposition  # noqa: PLC0415 - it takes longer than the probe

        write(exposition(report))
    elif form == "html":
        from sdeictl.probe.page import report_page  # noqa: PLC0415 - only this format needs it

        write(report_page(report))
    elif form == "nagios":
        from sdeictl.probe.nagios import plugin_line, plugin_status  # noqa: PLC0415 - only this format needs it

        write(plugin_line(report).encode())
        sys.exit(plugin_status(report))
    else:
        lines = render_report(report, columns(), verbose=verbose)
        print_result(form, report, _with_last_line(lines, verdict_line(report)))
    sys.exit(_STATUSES[report["verdict"]["ready"]])


def _with_last_line(lines: Iterable[Line], last: Line) -> Iterator[Line]:
    """Yield lines, and a last one if the terminal scrolls the first of them away."""
    count = 0
    for line in lines:
        count += 1
        yield line
    if is_taller_than_terminal(count):
        yield ()
        yield last


def _print_hosts(paths: tuple[str, ...], form: str, *, verbose: bool) -> None:
    """Judge several hosts and exit: one line for each, then the report of those that are not READY."""
    from sdeictl.probe.stored_report import complete_report, report_at  # noqa: PLC0415 - one host does without

    for path in paths:
        check_exists(path)
    reports: list[ReportDocument] = []
    rows: list[Line] = []
    details: list[Line] = []
    for path in paths:
        try:
            report = report_at(path)
            with complete_report(path):
                lines = list(render_report(report, columns(), verbose=verbose))
        except SdeictlError as error:
            click.echo(visible_lines(f"sdeictl: {error}"), err=True)
            rows.append((("UNREADABLE", "bold yellow"), (f"{'':19}{path}", "")))
            continue
        reports.append(report)
        word, style = verdict_word(report)
        rows.append(((f"{word:16}", style), (f"{report['verdict']['nmi_path']:13}{path}", "")))
        if word != "READY" or verbose:
            details += [(), ((f"== {path}", "bold"),), *lines]
    ready = [report["verdict"]["ready"] for report in reports]
    if form == "json":
        write_json(reports)
    else:
        last = _count_hosts(paths, ready)
        print_lines(_with_last_line([*rows, *details], last))
    if False in ready:
        sys.exit(Status.FAILED)
    sys.exit(Status.GOOD if len(reports) == len(paths) and None not in ready else Status.UNKNOWN)


def _count_hosts(paths: tuple[str, ...], ready: list[bool | None]) -> Line:
    text = f"{len(paths)} hosts: {ready.count(True)} ready, {ready.count(False)} not ready"
    unknown = len(paths) - ready.count(True) - ready.count(False)
    return ((text + f", {unknown} unknown" * bool(unknown), "bold"),)


def _compare(first: str, second: str, form: str) -> None:
    from sdeictl.probe.compare import (  # noqa: PLC0415 - only --compare needs it
        compare_reports,
        comparison_document,
        render_comparison,
    )
    from sdeictl.probe.stored_report import report_at  # noqa: PLC0415 - as above

    differences = compare_reports(report_at(first), report_at(second))
    document = comparison_document(first, second, differences)
    lines = render_comparison(first, second, differences)
    print_result(form, document, fitted(lines, columns()))
