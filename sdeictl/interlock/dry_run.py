"""What --dry-run prints, `sdeictl.plan/1`: each write of the plan, or every reason to refuse it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypedDict

from sdeictl.interlock.refusals import Reason
from sdeictl.text import Line, wrapped

PLAN_SCHEMA = "sdeictl.plan/1"
PlanLine = tuple[str, str]
"""(what, sentence): `write`, `risk`, `expect` or `way back`, and what it is."""


class ReasonDocument(TypedDict):
    """One reason to refuse."""

    kind: str
    text: str


class PlanDocument(TypedDict):
    """`sdeictl.plan/1`."""

    schema: str
    plan: list[list[str]] | None
    reasons: list[ReasonDocument]


def plan_document(plan: Sequence[PlanLine] | None, reasons: Iterable[Reason]) -> PlanDocument:
    """Return a plan, or the reasons to refuse it, as JSON has them."""
    return {
        "schema": PLAN_SCHEMA,
        "plan": None if plan is None else [list(line) for line in plan],
        "reasons": [{"kind": reason.kind, "text": reason.text} for reason in reasons],
    }


def render_plan(lines: Iterable[PlanLine], width: int = 80) -> Iterator[Line]:
    """Return a plan as text."""
    for what, sentence in lines:
        yield from wrapped(sentence, width, " " * 10, head=((f"{what + ':':10}", "bold"),))


def render_reasons(reasons: Iterable[Reason], width: int = 80) -> Iterator[Line]:
    """Return all reasons to refuse as text."""
    yield (("refused:", "bold yellow"),)
    for reason in reasons:
        yield from wrapped(f"{reason.text} ({reason.kind})", width, "    ", head=(("  ", ""),))
