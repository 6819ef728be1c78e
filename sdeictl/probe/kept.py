"""What a capture kept of a host's files, by its manifest: what it did not look for may exist all the same."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple, TypedDict

from sdeictl.host.manifest import MANIFEST
from sdeictl.host.reader import Reader

if TYPE_CHECKING:  # few hosts have idle states that need it
    from sdeictl.formats.lpi import LpiStates

_MAX_STATES = 64


class StateDocument(TypedDict):
    """One idle state of the ACPI tables."""

    name: str
    latency: int
    residency: int
    context_lost: int


class LpiDocument(TypedDict, total=False):
    """What the AML of the ACPI tables says of the idle states: the states, or why that is unknown."""

    states: list[StateDocument]
    unknown: str


class KeptDocument(TypedDict, total=False):
    """The part `kept` of `sdeictl.capture/1`."""

    symbols: list[str]
    options: list[str]
    lpi: LpiDocument


class Kept(NamedTuple):
    """What a capture kept. None: the files are whole, or this is no capture."""

    symbols: frozenset[str] | None = None
    """The names that the capture looked for in /proc/kallsyms."""
    options: frozenset[str] | None = None
    """The options that it looked for in the kernel's configuration."""
    lpi: LpiStates | str | None = None
    """The idle states that the ACPI tables describe, or a clause that says why that is unknown."""


def read_kept(reader: Reader) -> Kept:
    """Read what a capture kept; values of an unexpected type are ignored."""
    data = None if reader.root.live else reader.optional(f"/{MANIFEST}", reader.root.read)
    if data is None:
        return Kept()
    try:
        kept = json.loads(data)["kept"]
        return Kept(_names(kept.get("symbols")), _names(kept.get("options")), _lpi(kept.get("lpi")))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return Kept()


def _names(value: object) -> frozenset[str] | None:
    return frozenset(map(str, value)) if isinstance(value, list) else None


def _lpi(value: LpiDocument | None) -> LpiStates | str | None:
    if value is None:
        return None
    from sdeictl.formats.lpi import LpiState, is_known_reason  # noqa: PLC0415 - few captures have it

    if "states" not in value:
        return value["unknown"] if is_known_reason(value["unknown"]) else ""
    return tuple(
        LpiState(
            name=str(state["name"]),
            residency=int(state["residency"]),
            latency=int(state["latency"]),
            context_lost=int(state["context_lost"]),
            parent=0,
            entry=0,
            enabled=True,
            number=number,
        )
        for number, state in enumerate(value["states"][:_MAX_STATES], 1)
    )
