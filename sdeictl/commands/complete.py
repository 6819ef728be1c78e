"""What a shell offers for an argument: checks, benchmarks, stored results."""

from __future__ import annotations

import os
from collections.abc import Iterable

import click
from click.shell_completion import CompletionItem

from sdeictl.host.paths import BENCH_RESULTS


def checks(_context: click.Context, _argument: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the identifiers of the checks that begin so, each with its title."""
    from sdeictl.probe.checks.table import CHECKS  # noqa: PLC0415 - only a shell that completes needs them

    return _begin_so(((check.id, check.title) for check in CHECKS), incomplete)


def calls(_context: click.Context, _argument: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the benchmarks that begin so, each with what it times."""
    from sdeictl.bench.loop import CALLS  # noqa: PLC0415 - as above

    return _begin_so(((call.name, call.about) for call in CALLS), incomplete)


def stored_runs(_context: click.Context, _argument: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the stored runs that fit the typed text: their path or their name begins with it.

    The shell offers files if no run fits.
    """
    try:
        names = sorted(name for name in os.listdir(BENCH_RESULTS) if name.endswith(".json"))
    except OSError:
        names = []
    paths = ((name, f"{BENCH_RESULTS}/{name}") for name in names)
    found = [path for name, path in paths if incomplete in (name[: len(incomplete)], path[: len(incomplete)])]
    return [CompletionItem(path) for path in found] or [CompletionItem(incomplete, type="file")]


def commands(context: click.Context, _argument: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the commands that begin so, after those that are there already."""
    shown = context.find_root()
    for name in context.params.get("names") or ():
        group = shown.command
        command = group.get_command(shown, name) if isinstance(group, click.Group) else None
        if command is None:
            return []
        shown = click.Context(command, parent=shown, info_name=name)
    group = shown.command
    names = group.list_commands(shown) if isinstance(group, click.Group) else []
    return _begin_so(((name, "") for name in names), incomplete)


def _begin_so(known: Iterable[tuple[str, str]], incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(name, help=text) for name, text in known if name.startswith(incomplete)]
