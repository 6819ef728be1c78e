"""The checks as text, for `sdeictl explain`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sdeictl.probe.checks.check import Check
from sdeictl.probe.words import OWNERS
from sdeictl.text import Line, wrapped


def render_checks(checks: Iterable[Check], width: int = 80) -> Iterator[Line]:
    """Yield the identifier, the path, the owner and the title of each check."""
    for check in checks:
        head = ((f"{check.id:22}", "bold"), (f"{check.path or '-':12}", ""))
        yield from wrapped(f"{check.title} ({OWNERS[check.owner]})", width, " " * 34, head=head)


def render_check(check: Check, width: int = 80) -> Iterator[Line]:
    """Yield the title of a check, why it matters, and its remedy."""
    yield from wrapped(f"{check.title}.", width, head=((check.id, "bold"), (": ", "")))
    yield from wrapped(check.why, width)
    yield ()
    use = f"the NMI path {check.path} needs it" if check.path else "the verdict does not depend on it"
    for name, text in (
        ("wanted", check.wanted), ("remedy", check.remedy), ("owner", OWNERS[check.owner]), ("chain", use),
    ):  # fmt: skip
        yield from wrapped(text, width, "  ", head=((f"{name}: ", "bold"),))
