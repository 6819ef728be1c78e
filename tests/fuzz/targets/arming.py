"""The file of `drill arm`: a damaged one does not arm, and none arms for longer than an hour."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

from sdeictl.interlock.arming import MAX_SECONDS, armed_seconds
from tests.fuzz.files import written
from tests.fuzz.harness import Target
from tests.fuzz.shapes import RAW, edited_json


def seeds() -> Iterator[bytes]:
    yield from (bytes([kind, place, place % 40]) for place in range(2) for kind in range(8))
    yield bytes([RAW]) + b'{"boot_id": "b", "until": "1e3"}'


def check(data: bytes) -> None:
    until = time.clock_gettime(time.CLOCK_BOOTTIME) + 100
    text = edited_json({"boot_id": "b", "until": until}, data)
    left = armed_seconds("b", os.path.dirname(written(text, "arming/armed")))
    assert left is None or 0 < left <= MAX_SECONDS
    assert (left is not None) if not data else True
    assert armed_seconds("another boot", os.path.dirname(written(text, "arming/armed"))) is None


TARGET = Target(check, seeds, (armed_seconds,), ('"until"', '"boot_id"'), 256)
