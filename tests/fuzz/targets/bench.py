"""Stored runs of `bench run`: ValueError or a run that can be compared, judged and exported."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

from sdeictl.bench.compare import compare_runs, parse_aa, split_sides
from sdeictl.bench.document import BenchDocument, parse_bench
from sdeictl.bench.page import comparison_page
from sdeictl.bench.text import render_comparison
from sdeictl.errors import SdeictlError, Status
from sdeictl.text import to_plain
from tests.fuzz.harness import Target
from tests.fuzz.shapes import RAW, edited_json
from tests.test_bench import noisy, run_of

NOISE: Any = {
    "schema": "sdeictl.bench-aa/1", "labels": [],
    "calls": [{"call": "getppid", "pairs": 5, "called_different": 0, "largest": 0.002, "believable": True}],
}  # fmt: skip


@cache
def runs() -> tuple[BenchDocument, BenchDocument]:
    return run_of(noisy(1e-7, 1, 60)), run_of(noisy(1.02e-7, 2, 60), "on")


def seeds() -> Iterator[bytes]:
    yield from (bytes([kind, place, place % 30]) for place in range(0, 60, 2) for kind in (0, 6))
    yield (
        bytes([RAW])
        + b'{"schema": "sdeictl.bench/1", "id": "x", "results": [], "conditions": {}, "labels": []}'
    )


def check(data: bytes) -> None:
    base: Any = runs()[1]
    text = edited_json(base, data)
    check_noise(edited_json(NOISE, data))
    try:
        run = parse_bench(text)
    except ValueError as error:
        assert str(error)
        return
    for documents in ([runs()[0], run], [run, runs()[0]], [run, runs()[0], runs()[1]]):
        sides = split_sides(documents)
        try:
            compared = compare_runs(*sides)
        except SdeictlError as error:
            assert error.status is Status.UNKNOWN
            continue
        json.dumps(compared).encode()
        assert "\x1b" not in to_plain(render_comparison(compared))
        assert b"\x1b" not in comparison_page(compared, sides, None)


def check_noise(text: bytes) -> None:
    try:
        noise = parse_aa(text)
    except ValueError as error:
        assert str(error)
        return
    sides = ([runs()[0]], [runs()[1]])
    assert b"nan" not in comparison_page(compare_runs(*sides), sides, noise)


TARGET = Target(check, seeds, (parse_bench, parse_aa), (), 512)
