"""The command line: the names of the commands, and every way out."""

import contextlib
import errno
import gc
import os
import sys
from importlib import import_module
from typing import NoReturn

import click

from sdeictl import __version__
from sdeictl.errors import SdeictlError, Status

COMMANDS = ("probe", "capture", "explain", "analyze", "drill", "vmcore", "bench", "version")
"""Each is the function of that name in commands/NAME.py."""


class _LazyGroup(click.Group):
    """Imports a command when it is asked for: a probe need not pay for the drills."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click names it
        """Return the names in the order of COMMANDS."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Return a command; None if there is none of that name."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"sdeictl.commands.{cmd_name}"), cmd_name)
        return command


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="sdeictl", message="%(prog)s %(version)s")
def cli() -> None:
    """Can this arm64 host still reach a CPU that is stuck with its interrupts masked?

    By SDEI firmware events, by GICv3 pseudo-NMI, or not at all. Nothing but
    `drill` and `bench ab`, which goes on by `bench resume`, changes the host.

    Exit status: 0 good, 1 a masked CPU cannot be reached or a drill failed, 2
    usage, 3 could not tell, 4 refused by policy, 70 internal error.
    """


def main() -> NoReturn:
    """Run the command line; every way out has a status of the contract."""
    # A command is over before the collector of cycles would find any.
    gc.disable()
    try:
        cli.main(standalone_mode=False)
        status: int = Status.GOOD
    except SdeictlError as error:
        _say(str(error))
        status = error.status
    except click.ClickException as error:
        with contextlib.suppress(OSError):  # the status says it, where the sentence has no place
            error.show()
        status = Status.USAGE
    except SystemExit as leaving:
        status = leaving.code if isinstance(leaving.code, int) else Status.GOOD
    except click.Abort:
        status = Status.INTERRUPTED
    except Exception as error:
        status, text = Status.INTERNAL, f"internal error: {type(error).__name__}: {error}"
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:  # click's own pages
            status, text = Status.UNKNOWN, "there is no space for the output"
        _say(text)
    _leave(status)


def _say(text: str) -> None:
    with contextlib.suppress(OSError):
        click.echo(f"sdeictl: {text}", err=True)


def _leave(status: int) -> NoReturn:
    """End at once: taking the interpreter apart takes as long as half of what a probe does."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, OSError, ValueError):  # closed, or its reader has gone
            stream.flush()
    os._exit(status)
