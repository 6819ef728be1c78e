"""Durations as options take them: `30s`, `15m`, `24h`, `7d`, `2w`."""

from __future__ import annotations

import re

import click

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_DURATION = re.compile(r"(\d{1,6})([smhdw])", re.ASCII)


def parse_duration(text: str) -> float:
    """Return a duration in seconds; raise ValueError if the text is none, or is 0."""
    match = _DURATION.fullmatch(text)
    if not match or not int(match[1]):
        raise ValueError(f"{text!r} is not a duration, such as 30s, 15m, 24h or 7d")
    return float(int(match[1]) * _UNITS[match[2]])


def to_seconds(_context: click.Context, _parameter: click.Parameter, text: str) -> float:
    """Return the value of an option in seconds: a callback of click."""
    try:
        return parse_duration(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
