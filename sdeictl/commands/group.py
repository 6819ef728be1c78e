"""The group of commands of `sdeictl`, `sdeictl drill` and `sdeictl bench`."""

from __future__ import annotations

import click

from sdeictl.errors import did_you_mean


class MissingCommandError(click.UsageError):
    """A group was called without a command. Its text is the help of the group."""

    def show(self, file: object = None) -> None:  # noqa: ARG002 - click names it
        """Print the help to standard error."""
        click.echo(self.message, err=True)


class Group(click.Group):
    """A group that needs a command. Without one, click before 8.2 would exit with status 0."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Raise MissingCommandError without arguments."""
        if not args and not ctx.resilient_parsing:
            raise MissingCommandError(ctx.get_help(), ctx)
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that the first word names; raise click.UsageError if there is none."""
        if not ctx.resilient_parsing and self.get_command(ctx, args[0]) is None:
            hint = did_you_mean(args[0], self.list_commands(ctx))
            hint = hint or f"`{ctx.command_path} --help` lists the commands"
            raise click.UsageError(f"there is no command {args[0]!r}; {hint}", ctx)
        return super().resolve_command(ctx, args)


def explain_option(error: click.NoSuchOption) -> click.UsageError:
    """Return the error for an option that does not exist, with the options of the command like it."""
    options = error.ctx.command.get_params(error.ctx) if error.ctx else []
    hint = did_you_mean(error.option_name, (name for option in options for name in option.opts))
    path = error.ctx.command_path if error.ctx else "sdeictl"
    hint = hint or f"`{path} --help` lists the options"
    return click.UsageError(f"there is no option {error.option_name}; {hint}", error.ctx)
