"""JSON texts of strangers: reports, stored results, the manifest of a capture. No I/O."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Sequence

MAX_JSON_BYTES = 4 << 20
"""Limit for a text; the report of a host with 4,096 CPUs has 1 MiB."""
MAX_CONTAINERS = 200_000
"""Limit for the objects and arrays in a text: each costs 20 times its two characters."""
MAX_COMMAS = 2_000_000
"""Limit for the values in a text, some more than these."""
_WIDE = re.compile(rb"[\xf0-\xf7]|\\u[dD][89abAB]")
MAX_DEPTH = 32
MAX_DIGITS = 30
"""Limit for an integer. Python converts thousands of digits slowly, or not at all."""


def parse_json(
    data: bytes,
    limit: int = MAX_JSON_BYTES,
    max_commas: int = MAX_COMMAS,
    max_containers: int = MAX_CONTAINERS,
    *,
    file_names: bool = False,
) -> object:
    """Return the value of a JSON text in UTF-8 of at most `limit` bytes.

    Raises ValueError, with a clause, for a text that is not JSON, is too large or too deep, has a number that
    is not finite, or names a key twice: such an object says two things. Only with `file_names` a text may
    have half of a surrogate pair: it stands for a byte of a name that is not UTF-8.
    """
    if len(data) > limit:
        raise ValueError(f"it has more than {limit >> 20} MiB")
    if len(data) > MAX_JSON_BYTES and _has_wide_text(data):
        raise ValueError(f"it has more than {MAX_JSON_BYTES >> 20} MiB, and text that needs much memory")
    if data.count(b",") > max_commas:
        raise ValueError(f"it has more than {max_commas:,} values")
    if data.count(b"[") + data.count(b"{") > max_containers:
        raise ValueError(f"it has more than {max_containers:,} objects and arrays")
    try:
        value: object = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_int=_integer,
            parse_float=_finite,
            parse_constant=_refuse_constant,
        )
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError("it is not JSON, or is cut short") from error
    except RecursionError as error:
        raise ValueError(f"{_TOO_DEEP}, is not JSON, or is cut short") from error
    if _depth(value) > MAX_DEPTH:
        raise ValueError(_TOO_DEEP)
    if not file_names and b"\\ud" in data.lower():
        _check_text(value)
    return value


def as_object(value: object) -> dict[str, object]:
    """Return an object of parse_json(); raise TypeError for another value."""
    if not isinstance(value, dict):
        raise TypeError("not an object")
    return value


def as_list(value: object) -> list[object]:
    """Return an array of parse_json(); raise TypeError for another value."""
    if not isinstance(value, list):
        raise TypeError("not a list")
    return value


_TOO_DEEP = f"it is nested more than {MAX_DEPTH} times"


def _has_wide_text(data: bytes) -> bool:
    """Tell whether a text has a character for which Python stores each one of a string in 4 bytes."""
    return _WIDE.search(data) is not None


def _unique(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = Counter(name for name, _value in pairs).most_common(1)[0][0]
        raise ValueError(f"it has two values for {twice[:40]!r}")
    return found


def _integer(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise ValueError(f"it has a number of {len(text)} digits")
    return int(text)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"it has a number that is not finite: {text[:40]}")
    return number


def _refuse_constant(text: str) -> float:
    raise ValueError(f"it has a number that is not finite: {text}")


def _check_text(value: object) -> None:
    """Raise ValueError if a text cannot be printed, because it has half of a surrogate pair."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise ValueError("it has a text that is not Unicode") from error


def _depth(value: object) -> int:
    """Return how deep a value is nested, as far as it matters."""
    depth, level = 0, [value]
    while depth <= MAX_DEPTH and (outer := [each for each in level if isinstance(each, (dict, list))]):
        level = [inner for each in outer for inner in (each.values() if isinstance(each, dict) else each)]
        depth += 1
    return depth
