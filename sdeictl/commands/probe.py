"""`sdeictl probe`."""

import sys

import click

from sdeictl.commands.output import FILE, print_result, read_input, write
from sdeictl.errors import SdeictlError, Status
from sdeictl.host.root import open_root
from sdeictl.probe.collect import collect
from sdeictl.probe.report import Json, build_report
from sdeictl.probe.text import render_report
from sdeictl.probe.verdict import NOTHING_KNOWN

FORMATS = ["text", "json", "prometheus", "nagios"]


@click.command(short_help="By what does this host reach a masked CPU?")
@click.option(
    "--root",
    metavar="DIR|FILE",
    type=FILE,
    help="Judge a captured host: a directory, or a file of `sdeictl capture`.",
)
@click.option(
    "--kernel-log",
    metavar="FILE",
    type=FILE,
    help="Kernel log of the host that is judged, in place of its own; - for standard input.",
)
@click.option(
    "--deep",
    is_flag=True,
    help="Ask the journal (journalctl) and the kernel's memory too, where the log has rotated.",
)
@click.option(
    "--compare", nargs=2, metavar="A B", type=FILE,
    help="Tell what differs between two hosts: captures, directories, or reports of --format json.",
)  # fmt: skip
@click.option(
    "--format", "form", type=click.Choice(FORMATS), default="text", show_default=True,
    help="How to print the result: prometheus for a textfile collector, nagios for a monitoring plugin.",
)  # fmt: skip
def probe(
    root: str | None, kernel_log: str | None, deep: bool, compare: tuple[str, str] | None, form: str
) -> None:
    """Tell by what this host reaches a masked CPU, and what is missing.

    Exit status: 0 it can, 1 it cannot, 3 could not tell. With --format nagios: 0
    it can, 1 it can but there is a hazard, 2 it cannot, 3 could not tell. With
    --compare: 0.
    """
    if compare:
        if root or kernel_log or deep or form not in ("text", "json"):
            raise click.UsageError("--compare goes with --format text or json, and with no other host or log")
        _compare(*compare, form)
        return
    if deep and root:
        raise click.UsageError("--deep asks the running host, and --root judges another")
    log = None if kernel_log is None else read_input(kernel_log)
    report = build_report(collect(open_root(root), log, deep=deep))
    if form == "prometheus":
        from sdeictl.probe.metrics import exposition  # noqa: PLC0415 - the library costs more than the probe

        write(exposition(report))
    elif form == "nagios":
        from sdeictl.probe.nagios import plugin_line, plugin_status  # noqa: PLC0415 - as above

        write(plugin_line(report).encode())
        sys.exit(plugin_status(report))
    else:
        print_result(form, report, render_report(report))
    statuses = {True: Status.GOOD, False: Status.FAILED, None: Status.UNKNOWN}
    sys.exit(statuses[report["verdict"]["ready"]])


def _compare(first: str, second: str, form: str) -> None:
    from sdeictl.probe.compare import compare_reports, comparison_json, render_comparison  # noqa: PLC0415 - as above

    differences = compare_reports(_report_of(first), _report_of(second))
    print_result(
        form, comparison_json(first, second, differences), render_comparison(first, second, differences)
    )


def _report_of(path: str) -> Json:
    """Return the report that a file is, or the report of the host that was captured in it."""
    from sdeictl.probe.compare import read_report  # noqa: PLC0415 - as above

    stored = read_report(path)
    if stored is not None:
        return stored
    report = build_report(collect(open_root(path)))
    if report["verdict"]["summary"] == NOTHING_KNOWN:
        raise SdeictlError(f"{path} holds none of a host's files", Status.UNKNOWN)
    return report
