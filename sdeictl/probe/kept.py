"""What a capture kept of a host's files, by its manifest: what it did not look for may exist all the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from sdeictl.host.json_text import as_list, as_object
from sdeictl.host.manifest import MANIFEST, parse_manifest_text
from sdeictl.host.reader import Reader
from sdeictl.text import NamedTuple

if TYPE_CHECKING:  # few hosts have idle states that need it
    from sdeictl.formats.lpi import LpiStates

_MAX_STATES = 64
_MAX_CHARACTERS = 255


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
    """Read what a capture kept. A part that cannot be read means that nothing was looked for."""
    data = None if reader.root.live else reader.optional(f"/{MANIFEST}", reader.root.read)
    if data is None:
        return Kept()
    try:
        manifest = parse_manifest_text(data)
        if not isinstance(manifest, dict) or "kept" not in manifest:
            return Kept()
        kept = as_object(manifest["kept"])
        return Kept(_names(kept.get("symbols")), _names(kept.get("options")), _lpi(kept.get("lpi")))
    except (ValueError, KeyError, TypeError):
        return Kept(frozenset(), frozenset(), "")


def _names(value: object) -> frozenset[str] | None:
    return None if value is None else frozenset(map(_text, as_list(value)))


def _lpi(value: object) -> LpiStates | str | None:
    if value is None:
        return None
    from sdeictl.formats.lpi import LpiState, is_known_reason  # noqa: PLC0415 - few captures have it

    document = as_object(value)
    if "states" not in document:
        why = _text(document["unknown"])
        return why if is_known_reason(why) else ""
    states = map(as_object, as_list(document["states"])[:_MAX_STATES])
    return tuple(
        LpiState(
            name=_text(state["name"]),
            residency=_number(state["residency"]),
            latency=_number(state["latency"]),
            context_lost=_number(state["context_lost"]),
            parent=0,
            entry=0,
            enabled=True,
            number=number,
        )
        for number, state in enumerate(states, 1)
    )


def _text(value: object) -> str:
    if not isinstance(value, str) or len(value) > _MAX_CHARACTERS:
        raise ValueError("not a name")
    return value


def _number(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 64:
        raise ValueError("not a number of a table")
    return value
