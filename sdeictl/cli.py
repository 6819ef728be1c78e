"""The command line of sdeictl: the group of the commands, and the exit status of every way to end."""

from __future__ import annotations

import contextlib
import os
import sys
from importlib import import_module
from typing import NoReturn

import click

from sdeictl import __version__
from sdeictl.commands.group import Group, explain_option
from sdeictl.errors import SdeictlError, Status, error_text
from sdeictl.text import visible_lines

COMMANDS = (
    "probe", "capture", "explain", "analyze", "drill", "vmcore", "postmortem", "bench", "fleet", "version",
    "help",
)  # fmt: skip
"""Each command is the function of that name in commands/NAME.py."""


class _LazyGroup(Group):
    """Imports a command only when it is used, so that a probe does not import the drills."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click names it
        """Return the names in the order of COMMANDS."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Return the command of a name; None for an unknown name."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"sdeictl.commands.{cmd_name}"), cmd_name)
        return command


class _Debug:
    """Whether main() shows the traceback of an error that no command expects."""

    wanted = False


def _note_debug(context: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if isinstance(context.obj, _Debug):
        context.obj.wanted = wanted


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="sdeictl", message="%(prog)s %(version)s")
# Eager, with a callback: importing a command can fail too, and click does that before it calls cli().
@click.option(
    "--debug", is_flag=True, is_eager=True, expose_value=False, callback=_note_debug,
    envvar="SDEICTL_DEBUG", show_envvar=True, help="Show the traceback of an unexpected error.",
)  # fmt: skip
def cli() -> None:
    """Can this arm64 host still reach a CPU that is stuck with its interrupts masked?

    By SDEI firmware events, by GICv3 pseudo-NMI, or not at all. Only `drill`,
    `bench ab` and `bench resume` change the host.

    Exit status: 0 good, 1 the host cannot reach a masked CPU, a drill failed or a
    crash lost evidence, 2 usage, 3 could not tell, 4 refused by policy, 70
    internal error.
    """


def main() -> NoReturn:
    """Run the command line, and exit with a status of the contract."""
    debug, output = _Debug(), sys.stdout
    try:
        cli.main(standalone_mode=False, obj=debug)
        status: int = Status.GOOD
    except SystemExit as leaving:
        # If the reader of its help is gone, click replaces stdout and exits with 1: an answer of a probe.
        unread = sys.stdout is not output
        status = leaving.code if isinstance(leaving.code, int) and not unread else Status.GOOD
    except Exception as error:
        status = _report(error, debug)
    _leave(status)


def _report(error: Exception, debug: _Debug) -> Status:
    """Print why a command failed; return the exit status, which does not depend on --debug."""
    if isinstance(error, SdeictlError):
        _say(visible_lines(f"sdeictl: {error}"))
        return error.status
    if isinstance(error, click.NoSuchOption):
        error = explain_option(error)
    if isinstance(error, click.ClickException):
        with contextlib.suppress(OSError):  # a closed standard error leaves only the status
            error.show()
        return Status.USAGE
    if isinstance(error, click.Abort):
        return Status.INTERRUPTED
    if debug.wanted:
        from traceback import format_exception  # noqa: PLC0415 - a command that works does without it

        _say("".join(format_exception(type(error), error, error.__traceback__)).rstrip())
    # These errors come from the machine, not from sdeictl.
    if isinstance(error, OSError):
        _say(f"sdeictl: a system call failed: {error_text(error)}")
        return Status.UNKNOWN
    if isinstance(error, ImportError):
        _say(f"sdeictl: a part of sdeictl cannot be loaded: {error}")
        return Status.UNKNOWN
    hint = "" if debug.wanted else "; run again with --debug to see the traceback"
    _say(f"sdeictl: internal error: {type(error).__name__}: {error}{hint}")
    return Status.INTERNAL


def _say(text: str) -> None:
    with contextlib.suppress(OSError):
        click.echo(text, err=True)


def _leave(status: int) -> NoReturn:
    """Exit at once: the cleanup of the interpreter takes half as long as a whole probe."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, OSError, ValueError):  # it is closed, or its reader is gone
            stream.flush()
    os._exit(status)
