"""`sdeictl probe`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from sdeictl.commands.output import FILE, print_result, read_pieces, write
from sdeictl.errors import SdeictlError, Status
from sdeictl.host.open import open_root
from sdeictl.probe.collect import collect
from sdeictl.probe.report import build_report
from sdeictl.probe.text import render_report
from sdeictl.probe.verdict import NOTHING_KNOWN

if TYPE_CHECKING:
    from sdeictl.probe.document import ReportDocument

FORMATS = ["text", "json", "prometheus", "nagios"]


@click.command(short_help="How does this host reach a masked CPU?")
@click.option(
    "--root",
    metavar="DIR|FILE",
    type=FILE,
    help="Judge another host: a directory tree, a file that `sdeictl capture` wrote, a kernel log"
    " alone, or a stored report.",
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
@click.option(
    "--format", "form", type=click.Choice(FORMATS), default="text", show_default=True,
    help="How to print the result: prometheus for a textfile collector, nagios for a monitoring plugin.",
)  # fmt: skip
def probe(
    root: str | None, kernel_log: str | None, deep: bool, compare: tuple[str, str] | None, form: str
) -> None:
    """Report how this host reaches a masked CPU, and what is missing.

    Exit status: 0 it can reach one, 1 it cannot, 3 could not tell. With --format
    nagios: 0 it can, 1 it can but there is a hazard, 2 it cannot, 3 could not
    tell. With --compare: 0.
    """
    if compare:
        if root or kernel_log or deep or form not in ("text", "json"):
            raise click.UsageError("--compare goes with --format text or json, and with no other option")
        _compare(*compare, form)
        return
    if deep and root:
        raise click.UsageError("--deep reads the running host, and --root judges another host")
    log = None if kernel_log is None else read_pieces(kernel_log)
    if log is None and root is not None and os.path.isfile(root):
        _print_stored_report(root, form)
    _print_report(_report_of_host(root, log, deep=deep), form)


def _print_stored_report(path: str, form: str) -> None:
    """Print the report in a file and exit with its status; return if the file is a host instead.

    Raises SdeictlError with Status.UNKNOWN if the report lacks a field.
    """
    from sdeictl.probe.compare import read_report  # noqa: PLC0415 - only a file can be a report

    report = read_report(path)
    if report is None:
        return
    try:
        _print_report(report, form)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise SdeictlError(f"{path} is not a complete report: {error}", Status.UNKNOWN) from error


def _print_report(report: ReportDocument, form: str) -> None:
    """Print a report and exit with its status."""
    if form == "prometheus":
        from sdeictl.probe.metrics import exposition  # noqa: PLC0415 - it takes longer than the probe

        write(exposition(report))
    elif form == "nagios":
        from sdeictl.probe.nagios import plugin_line, plugin_status  # noqa: PLC0415 - only this format needs it

        write(plugin_line(report).encode())
        sys.exit(plugin_status(report))
    else:
        print_result(form, report, render_report(report))
    statuses = {True: Status.GOOD, False: Status.FAILED, None: Status.UNKNOWN}
    sys.exit(statuses[report["verdict"]["ready"]])


def _compare(first: str, second: str, form: str) -> None:
    from sdeictl.probe.compare import (  # noqa: PLC0415 - only --compare needs it
        compare_reports,
        comparison_document,
        render_comparison,
    )

    differences = compare_reports(_report_of(first), _report_of(second))
    document = comparison_document(first, second, differences)
    print_result(form, document, render_comparison(first, second, differences))


def _report_of(path: str) -> ReportDocument:
    """Return the report in a file, or the report of the captured host at a path."""
    from sdeictl.probe.compare import read_report  # noqa: PLC0415 - only --compare needs it

    stored = read_report(path)
    if stored is not None:
        return stored
    report = _report_of_host(path)
    if report["verdict"]["summary"] == NOTHING_KNOWN:
        raise SdeictlError(f"{path} contains no file of a host", Status.UNKNOWN)
    return report


def _report_of_host(
    path: str | None, log: Iterable[bytes] | None = None, *, deep: bool = False
) -> ReportDocument:
    """Judge a host. Raise SdeictlError with Status.UNKNOWN if the path is a file that shows nothing."""
    report = build_report(collect(open_root(path), log, deep=deep))
    if path is not None and os.path.isfile(path) and report["verdict"]["summary"] == NOTHING_KNOWN:
        text = f"{path} cannot be read as a capture or a kernel log: it contains no kernel record"
        raise SdeictlError(text, Status.UNKNOWN)
    return report
