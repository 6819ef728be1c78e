"""`sdeictl fleet`: reports on many hosts."""

from __future__ import annotations

import contextlib
import re
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timezone

import click
from click.decorators import FC

from sdeictl.commands.duration import parse_duration, to_seconds
from sdeictl.commands.group import Group
from sdeictl.commands.output import FILE, FORMAT, columns, print_result, read_document, write
from sdeictl.drill.catalog import named_drills
from sdeictl.errors import SdeictlError, Status
from sdeictl.fleet import prometheus_source, report_files
from sdeictl.fleet.diff import (
    MAX_FLEET_BYTES,
    FleetDiff,
    Newly,
    compare_fleets,
    diff_document,
    parse_fleet,
    render_diff,
)
from sdeictl.fleet.document import Object, fleet_document, host_document
from sdeictl.fleet.host_states import read_states
from sdeictl.fleet.page import fleet_page
from sdeictl.fleet.plan import FleetPlan, Limit, make_plan, parse_limit
from sdeictl.fleet.plan_text import PlanQuestion, plan_document, plan_inventory, plan_list, render_plan
from sdeictl.fleet.prometheus import Client, Server, check_url
from sdeictl.fleet.prometheus_source import PrometheusSource
from sdeictl.fleet.report import FleetReport, build_fleet_report
from sdeictl.fleet.report_files import FileSource
from sdeictl.fleet.table import cohort_table, host_table
from sdeictl.fleet.tallies import BY, DRILLS, HostRow, Source
from sdeictl.fleet.text import render_fleet, render_hosts
from sdeictl.text import NamedTuple, lines_of, visible

MATCH = 'job="sdeictl"'
_HEADER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?)[ \t]*")
_TAKEN = frozenset({"hosts", "ready", "not_ready", "paths", "check", "outcome", "cohort_hosts", "names"})
"""Keys of the JSON beside which the labels of --by stand."""
_MAX_TOKEN_BYTES = 16 << 10
_MAX_INVENTORY_BYTES = 64 << 20
MAX_NEWLY = 20
"""How many names of hosts a comparison shows."""


@click.group(cls=Group, short_help="Many hosts: which cannot be debugged, why, and which need a drill?")
def fleet() -> None:
    """Report on many hosts, from a Prometheus or from files, and plan their drills."""


class Asked(NamedTuple):
    """The options that `fleet report` and `fleet diff` share."""

    url: str | None
    match: str
    server: Server
    by: tuple[str, ...]
    stale_after: float
    """In seconds."""
    inventory: tuple[str, ...]

    def source(self, at: float) -> PrometheusSource:
        """Return the fleet in the Prometheus at a time, in seconds since 1970."""
        return PrometheusSource(Client(self.server, at), self.match, self.by, self.stale_after)


_OPTIONS = (
    click.option("--prometheus", "url", metavar="URL", help="A Prometheus, or what speaks its API."),
    click.option(
        "--match", default=MATCH, show_default=True, metavar="MATCHERS",
        help="Which series are of the fleet: label matchers, as in a selector of PromQL.",
    ),
    click.option(
        "--header", "headers", multiple=True, metavar="'NAME: VALUE'",
        help="Send a header, such as X-Scope-OrgID. Other users can see it: use --token-file for a secret.",
    ),
    click.option("--token-file", type=FILE, metavar="FILE", help="Send the token in a file, as Bearer."),
    click.option("--ca-file", type=FILE, metavar="FILE", help="Trust these certificates, not the system's."),
    click.option("--client-cert", type=FILE, metavar="FILE", help="The certificate that proves who we are."),
    click.option("--client-key", type=FILE, metavar="FILE", help="Its key, if that is in another file."),
    click.option(
        "--timeout", default="30s", show_default=True, callback=to_seconds, metavar="DURATION",
        help="The time limit for one query."
    ),
    click.option(
        "--by", default=",".join(BY), show_default=True, metavar="LABELS",
        help="The labels that distinguish cohorts.",
    ),
    click.option(
        "--stale-after", default="24h", show_default=True, callback=to_seconds, metavar="DURATION",
        help="How old a report may be."
    ),
    click.option(
        "--inventory", type=FILE, metavar="FILE", help="Names of hosts that should be there, one in a line."
    ),
)  # fmt: skip


def _with_server(command: FC) -> FC:
    """Add the options to a command, which gets them by _asked()."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def _asked(context: click.Context) -> Asked:
    """Return what the options of _with_server() say; raise click.UsageError or SdeictlError."""
    given = context.params
    url, inventory = given["url"], given["inventory"]
    server = Server(
        url=_usable(url) if url else "",
        headers=_headers(given["headers"], given["token_file"]),
        seconds=given["timeout"],
        ca_file=given["ca_file"],
        certificate=given["client_cert"],
        key=given["client_key"],
    )
    match = given["match"].strip().strip("{}")
    return Asked(url, match, server, _labels(given["by"]), given["stale_after"], _names(inventory))


def _usable(url: str) -> str:
    try:
        return check_url(url)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--prometheus") from error


def _headers(headers: Sequence[str], token_file: str | None) -> tuple[tuple[str, str], ...]:
    """Return (name, value) of each header. A message never repeats a value, which may be secret."""
    found = []
    for header in headers:
        match = _HEADER.fullmatch(header)
        if not match:
            raise click.BadParameter("a header is written 'NAME: VALUE', in ASCII", param_hint="--header")
        found.append((match[1], match[2]))
    if token_file is not None:
        token = read_document(token_file, _MAX_TOKEN_BYTES).strip()
        if not re.fullmatch(rb"[\x21-\x7e]{1,4096}", token):
            raise SdeictlError(f"{token_file} does not hold one token", Status.USAGE)
        found.append(("Authorization", f"Bearer {token.decode()}"))
    return tuple(found)


def _labels(text: str) -> tuple[str, ...]:
    labels = tuple(label.strip() for label in text.split(",") if label.strip())
    if not labels or len(set(labels)) != len(labels) or _TAKEN.intersection(labels):
        raise click.BadParameter(
            f"it takes different labels, none of {', '.join(sorted(_TAKEN))}", param_hint="--by"
        )
    return labels


def _names(inventory: str | None) -> tuple[str, ...]:
    """Return the names in an inventory; # begins a comment."""
    if inventory is None:
        return ()
    lines = lines_of(read_document(inventory, _MAX_INVENTORY_BYTES).decode("utf-8", "replace"))
    return tuple(filter(None, (line.partition("#")[0].strip() for line in lines)))


@fleet.command("report", short_help="How many hosts cannot be debugged, why, and who must act?")
@click.option(
    "--reports",
    multiple=True,
    type=FILE,
    metavar="PATH...",
    help="Read files instead: reports of --format json, captures, reports of sos, or directories of these.",
)
@_with_server
@click.option(
    "--time", "at", metavar="TIME", help="Report on an earlier time: RFC 3339, or a duration ago, such as 2d."
)
@click.option(
    "--hosts",
    is_flag=False,
    flag_value="",
    metavar="[CHECK]",
    help="List the hosts instead, or those that fail a check.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "csv", "html"]),
    default="text",
    show_default=True,
    help="How to print the result; csv: a row for each cohort, or host; html: a page.",
)
@click.argument("more", nargs=-1, type=FILE, metavar="[PATH]...")
@click.pass_context
def fleet_report(
    context: click.Context,
    /,
    *,
    reports: tuple[str, ...],
    more: tuple[str, ...],
    at: str | None,
    hosts: str | None,
    form: str,
    **_shared: object,
) -> None:
    """Report how many hosts cannot be debugged, why, and who must act.

    The hosts of a Prometheus are the targets of the job `sdeictl`. Of files, each
    is one host, named after its file.

    Exit status: 0 every host is ready, 1 a host is not, 3 a host is unknown or
    the data is incomplete, and none is known to be not ready. With --hosts: 0 the
    list is complete, 3 it is not.
    """
    asked = _asked(context)
    if bool(asked.url) == bool(reports):
        raise click.UsageError("name a server with --prometheus URL, or files with --reports PATH...")
    if more and not reports:
        raise click.UsageError(f"unexpected argument {more[0]!r}; files go with --reports")
    if reports and at:
        raise click.UsageError("--time goes with --prometheus: a file has one time")
    if hosts is not None and form == "html":
        raise click.UsageError("--format html has no list of hosts; --hosts goes with text, json and csv")
    moment = _moment(at) if at else time.time()
    source: Source = _files((*reports, *more), asked) if reports else _server(asked, moment)
    if hosts is not None:
        _print_hosts(source.rows(hosts or None), asked.by, form)
        gaps = source.gaps()
        _print_gaps(gaps)
        sys.exit(Status.UNKNOWN if gaps else Status.GOOD)
    report = build_fleet_report(source, asked.inventory, asked.by, _stamp(moment))
    _print_report(report, form)
    sys.exit(report.status())


def _server(asked: Asked, at: float) -> PrometheusSource:
    _check_labels(prometheus_source.check_labels, asked.by, "--by")
    source = asked.source(at)
    source.check_by()
    return source


def _files(paths: Sequence[str], asked: Asked) -> FileSource:
    _check_labels(report_files.check_labels, asked.by, "--by")
    return FileSource(paths, asked.by, time.time() - asked.stale_after, _progress)


def _check_labels(check: Callable[[Sequence[str]], None], labels: Sequence[str], option: str) -> None:
    """Raise click.BadParameter if a source cannot have the labels of an option."""
    try:
        check(labels)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint=option) from error


def _progress(done: int, files: int) -> None:
    """Show how many files have been read, if somebody waits at a terminal."""
    if sys.stderr is None or not sys.stderr.isatty() or (done % 50 and done != files) or files < 100:
        return
    end = "\r\x1b[K" if done == files else ""
    click.echo(f"\r{done:,} of {files:,} files{end}", err=True, nl=False)


def _print_report(report: FleetReport, form: str) -> None:
    if form == "csv":
        write(cohort_table(report).encode())
        _print_gaps(report.gaps)
    elif form == "html":
        write(fleet_page(report))
    else:
        print_result(form, fleet_document(report), render_fleet(report, columns()))


def _print_gaps(gaps: Iterable[str]) -> None:
    """Say on standard error what a table or a list has no place for."""
    for gap in gaps:
        click.echo(f"sdeictl: {visible(gap)}", err=True)


def _print_hosts(rows: Sequence[HostRow], by: tuple[str, ...], form: str) -> None:
    if form == "csv":
        write(host_table(rows, by).encode())
    else:
        print_result(form, host_document(rows, by), render_hosts(rows, by))


@fleet.command("diff", short_help="What changed between two reports on a fleet?")
@_with_server
@click.option(
    "--at", "times", multiple=True, metavar="TIME", help="With --prometheus: the two times to compare."
)
@FORMAT
@click.argument("paths", nargs=-1, type=FILE, metavar="[A B]")
@click.pass_context
def fleet_diff(
    context: click.Context, /, *, times: tuple[str, ...], paths: tuple[str, ...], form: str, **_shared: object
) -> None:
    """Show what changed in a fleet: by cohort, and which hosts are not ready any more.

    A and B are stored reports of `fleet report --format json`. With --prometheus
    URL --at T1 --at T2, compare two times: RFC 3339, or a duration ago.
    """
    asked = _asked(context)
    if (len(times) == 2 and asked.url and not paths) == (len(paths) == 2 and not asked.url and not times):
        raise click.UsageError("name two stored reports, or --prometheus URL --at T1 --at T2")
    diff = _diff_of_files(*paths) if paths else _diff_of_times(asked, *sorted(map(_moment, times)))
    print_result(form, diff_document(diff), render_diff(diff))


def _diff_of_files(first: str, second: str) -> FleetDiff:
    documents: list[Object] = []
    for path in (first, second):
        try:
            documents.append(parse_fleet(read_document(path, MAX_FLEET_BYTES)))
        except ValueError as error:
            text = f"{path} is not a report of `fleet report --format json`: {error}"
            raise SdeictlError(text, Status.UNKNOWN) from error
    try:
        return compare_fleets(documents[0], documents[1], None)
    except ValueError as error:
        raise SdeictlError(str(error), Status.UNKNOWN) from error


def _diff_of_times(asked: Asked, first: float, second: float) -> FleetDiff:
    sources = [_server(asked, at) for at in (first, second)]
    documents = [
        fleet_document(build_fleet_report(source, asked.inventory, asked.by, _stamp(at)))
        for source, at in zip(sources, (first, second))
    ]
    hosts, names = sources[1].newly_unready(second - first, MAX_NEWLY)
    return compare_fleets(documents[0], documents[1], Newly(hosts, tuple(names)))


@fleet.command("plan", short_help="Which hosts need a drill, and in which waves?")
@_with_server
@click.option(
    "--drill",
    "drills",
    multiple=True,
    type=click.Choice([each.name for each in named_drills()]),
    help=f"The drill that each host needs to have passed; {DRILLS[0]} by default.",
)
@click.option(
    "--allow",
    "allowed",
    multiple=True,
    type=click.Choice(["reset"]),
    help="Also plan drills that can cost the host.",
)
@click.option(
    "--domain", metavar="LABEL", help="The label that names the failure domain of a host, such as rack."
)
@click.option(
    "--max-unavailable",
    "limit",
    default="1",
    show_default=True,
    metavar="N|N%",
    help="How many hosts of a failure domain may be unavailable at once.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "list", "ansible", "json"]),
    default="text",
    show_default=True,
    help="How to print the plan; list: wave, host and drills; ansible: an inventory.",
)
@click.pass_context
def fleet_plan(
    context: click.Context,
    /,
    *,
    drills: tuple[str, ...],
    allowed: tuple[str, ...],
    domain: str | None,
    limit: str,
    form: str,
    **_shared: object,
) -> None:
    """Plan drills in waves: first one host of each cohort, then batches.

    A host needs a drill that it has never done, that failed, or that is stale
    because the kernel or the firmware has changed. Only hosts that are ready and
    known to be safe get one. The command changes no host: Ansible can run the plan.

    Exit status: 0 here is a plan, 3 the data is incomplete.
    """
    asked = _asked(context)
    if not asked.url:
        raise click.UsageError(
            "name a server with --prometheus URL: only a server knows the drills of a fleet"
        )
    drills = drills or DRILLS
    costly = [each.name for each in named_drills() if each.costs_host and each.name in drills]
    if costly and "reset" not in allowed:
        raise click.UsageError(f"{', '.join(costly)} can cost the host: add --allow reset")
    if domain is not None:
        _check_labels(prometheus_source.check_labels, [domain], "--domain")
        if domain in prometheus_source.NO_DOMAINS or domain.startswith("__"):
            raise click.UsageError(
                f"--domain {domain}: that label does not say which hosts can fail together"
            )
    most = _limit(limit)
    now = time.time()
    source = _server(asked, now)
    plan = make_plan(read_states(source, domain, asked.inventory), drills, most)
    question = PlanQuestion(source.describe(), _stamp(now), asked.by, domain, limit, drills)
    _print_plan(question, plan, form)


def _limit(text: str) -> Limit:
    try:
        return parse_limit(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--max-unavailable") from error


def _print_plan(question: PlanQuestion, plan: FleetPlan, form: str) -> None:
    if form in ("list", "ansible"):
        write((plan_list(plan) if form == "list" else plan_inventory(question, plan)).encode())
    else:
        print_result(form, plan_document(question, plan), render_plan(question, plan, columns()))


def _moment(text: str) -> float:
    """Return a time that the user wrote, in seconds since 1970."""
    with contextlib.suppress(ValueError):
        return time.time() - parse_duration(text)
    try:
        found = datetime.fromisoformat(re.sub(r"[zZ]$", "+00:00", text))
    except ValueError:
        raise click.UsageError(
            f"{text!r} is neither a time as in RFC 3339 nor a duration such as 2d"
        ) from None
    if found.tzinfo is None:
        raise click.UsageError(f"{text!r} has no time zone: write Z or +hh:mm behind it")
    return found.timestamp()


def _stamp(at: float) -> str:
    return datetime.fromtimestamp(at, timezone.utc).isoformat(timespec="seconds")
