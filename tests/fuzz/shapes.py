"""How the bytes of an input become something else than a text: choices, and edits of a valid file.

Without bytes nothing is edited, so the empty input is the valid file itself. Random bytes hardly ever form a
file that must have a checksum, a layout, or the form of JSON.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar, Union

T = TypeVar("T")
Json = Any
"""A document that is edited: of any type by purpose."""
_Place = tuple[Union[dict[str, Json], list[Json]], Union[str, int]]
RAW = 0xFF
"""An input that begins with this byte is the file itself."""
_HUGE, _LARGE, _DEEP, _HALF = "@huge@", "@large@", "@deep@", "@half@"
_INSTEAD = {
    f'"{_HUGE}"': "9" * 5000, f'"{_LARGE}"': "9" * 400, f'"{_DEEP}"': "[" * 3000 + "]" * 3000,
    f'"{_HALF}"': '"\\ud800"',
}  # fmt: skip
"""What json.dumps() cannot write, and json.loads() reads or refuses."""
VALUES: tuple[Json, ...] = (
    None, True, False, 0, 1, -1, 3, 1.5, -0.0, 1e308, float("nan"), float("inf"), 2**31, 2**64, 10**30,
    "", "0", "-1", "x", "\0", "\n", "\x1b[2J", "pass", "fail", "unknown", "none", "sdei", "99999999999",
    "20261125T180000.000000Z-backtrace", "1970-01-01T00:00:00", "0001-01-01T00:00:00", [], {}, [0], [[]],
    {"x": None}, [None], [float("inf")], [_LARGE], _HUGE, _LARGE, _DEEP, _HALF,
)  # fmt: skip
_SHORT = 256
_MAX_PLACES, _MAX_DEPTH = 5000, 50


class Dice:
    """The choices that an input makes. At its end each further choice is the first one."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        """Tell whether bytes are left."""
        return self._at < len(self._data)

    def take(self, size: int) -> bytes:
        """Return the next bytes, fewer at the end."""
        piece = self._data[self._at : self._at + size]
        self._at += size
        return piece

    def rest(self) -> bytes:
        """Return all bytes that are left."""
        return self.take(max(len(self._data) - self._at, 0))

    def number(self, end: int) -> int:
        """Return a number below `end`."""
        size = 1 if end <= _SHORT else 2 if end <= 1 << 16 else 3
        return int.from_bytes(self.take(size), "little") % end

    def pick(self, items: Sequence[T]) -> T:
        """Return one of these."""
        return items[self.number(len(items))]

    def piece(self) -> bytes:
        """Return fewer than 256 bytes; the first byte says how many."""
        return self.take(self.number(_SHORT))


def patched(base: bytes, dice: Dice) -> bytes:
    """Return a file with parts that are overwritten, replaced or cut off, until the input ends."""
    data = bytearray(base)
    while dice:
        kind, at = dice.number(8), dice.number(len(data) + 1)
        if kind == 0:
            del data[at:]
        elif kind == 1:
            dropped = dice.number(_SHORT)
            data[at : at + dropped] = dice.piece()
        else:
            piece = dice.piece()
            data[at : at + len(piece)] = piece
    return bytes(data)


def edited_json(document: Json, data: bytes) -> bytes:
    """Return the JSON of a document with the edits of an input; after the byte RAW, the rest of the input."""
    if data[:1] == bytes([RAW]):
        return data[1:]
    dice, document = Dice(data), copy.deepcopy(document)
    places = list(_places(document))
    while dice and len(places) < _MAX_PLACES and _depth(document) < _MAX_DEPTH:  # an edit can double both
        kind = dice.number(8)
        if kind == 7:
            text = _written(document)
            return text[: dice.number(len(text) + 1)]
        if places:
            _edit(dice, kind, dice.pick(places), places)
            places = list(_places(document))
    return _written(document)


def _edit(dice: Dice, kind: int, place: _Place, places: Sequence[_Place]) -> None:
    container: Json
    container, key = place
    if kind == 0:
        del container[key]
    elif kind == 1:
        container[key] = dice.piece().decode("utf-8", "replace")
    elif kind == 2:
        other: Json
        other, other_key = dice.pick(places)
        container[key] = copy.deepcopy(other[other_key])
    elif kind == 3:
        container[key] = [container[key]]
    elif kind == 4 and isinstance(container, dict):
        container[dice.piece().decode("utf-8", "replace")] = container.pop(key)
    elif kind == 4:
        container.append(copy.deepcopy(container[key]))  # shared, one edit would count in each place
    elif kind == 5:
        container[key] = dice.number(1 << 16)
    else:
        container[key] = copy.deepcopy(dice.pick(VALUES))


def _places(document: Json) -> Iterator[_Place]:
    """Yield where each value of a document is, but for the document itself."""
    keys: Json = (
        document if isinstance(document, dict) else range(len(document)) if isinstance(document, list) else ()
    )
    for key in keys:
        yield document, key
        yield from _places(document[key])


def _depth(document: Json) -> int:
    values = (
        document.values() if isinstance(document, dict) else document if isinstance(document, list) else ()
    )
    return 1 + max(map(_depth, values), default=0)


def _written(document: Json) -> bytes:
    text = json.dumps(document)
    for mark, instead in _INSTEAD.items():
        text = text.replace(mark, instead)
    return text.encode()


def with_long_numbers(texts: Iterable[bytes]) -> Iterator[bytes]:
    """Yield texts, and each with a number of 5,000 digits: Python makes no integer of more than 4,300."""
    for text in texts:
        yield text
        numbers = list(re.finditer(rb"\d+", text))
        for number in {*numbers[:2], *numbers[-2:], *numbers[len(numbers) // 2 :][:1]}:
            yield text[: number.start()] + b"9" * 5000 + text[number.end() :]
