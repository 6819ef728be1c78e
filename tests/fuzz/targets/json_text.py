"""JSON of strangers: a value that can be written again, or ValueError with a clause."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator

from sdeictl.host.json_text import MAX_DEPTH, parse_json
from sdeictl.host.manifest import parse_manifest_text
from tests.fuzz.harness import Target
from tests.fuzz.shapes import with_long_numbers


def seeds() -> Iterator[bytes]:
    yield from with_long_numbers([b'{"a": [1, -2.5e3, null], "b": {"c": "\\u00e9\\ud800"}}'])
    yield b'{"a": 1, "a": 2}'
    yield b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1)
    yield b"[NaN, Infinity, 1e999]"


def check(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        parse_manifest_text(data)
    try:
        value = parse_json(data)
    except ValueError as error:
        assert str(error)
        return
    text = json.dumps(value, allow_nan=False)
    assert text.encode("utf-8")
    assert parse_json(text.encode()) == value


TARGET = Target(check, seeds, (parse_json, parse_manifest_text), ("\\ud800", "NaN", "[[[["))
