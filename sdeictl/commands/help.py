"""`sdeictl help`."""

from __future__ import annotations

import click

from sdeictl.commands import complete
from sdeictl.commands.output import write


@click.command(short_help="Show the help of a command.")
@click.argument("names", metavar="[COMMAND]...", nargs=-1, shell_complete=complete.commands)
@click.pass_context
def help(context: click.Context, names: tuple[str, ...]) -> None:  # noqa: A001 - the name of the command
    """Show the help of a command, or of sdeictl if no COMMAND is given."""
    shown = context.find_root()
    for name in names:
        group = shown.command
        if not isinstance(group, click.Group):
            raise click.UsageError(f"`{shown.command_path}` has no further commands")
        command = group.resolve_command(shown, [name])[1] or group
        shown = click.Context(command, parent=shown, info_name=name)
    write(f"{shown.get_help()}\n".encode())
