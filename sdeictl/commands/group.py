"""The group of commands of `sdeictl`, `sdeictl drill` and `sdeictl bench`."""

from __future__ import annotations

import click


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
