"""A stored report on a fleet, and the answer of a Prometheus: numbers, or an error with a clause."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator

from sdeictl.fleet.diff import compare_fleets, diff_document, parse_fleet, render_diff
from sdeictl.fleet.prometheus import Client, Server, _UnusableError
from sdeictl.text import to_plain
from tests.fuzz.harness import Target
from tests.fuzz.shapes import RAW, edited_json

COHORT = {"kernel": "7.3.4", "hosts": 3, "ready": 2, "not_ready": 1, "paths": {"sdei": 2, "none": 1}}
HOSTS = {"total": 3, "ready": 2, "not_ready": 1, "unknown": 0, "no_data": 0, "stale": 0}
LINK = {"check": "sdei-advertised", "owner": "firmware", "hosts": 1}
BASE = {
    "schema": "sdeictl.fleet/1", "source": "a", "generated_at": "b", "by": ["kernel"], "hosts": HOSTS,
    "cohorts": [COHORT], "broken_links": [LINK],
}  # fmt: skip
ANSWER = {
    "status": "success", "warnings": ["a"],
    "data": {"resultType": "vector", "result": [{"metric": {"instance": "h"}, "value": [1, "3"]}]},
}  # fmt: skip


def seeds() -> Iterator[bytes]:
    for kind in (0, 1):
        yield bytes([kind])
        yield from (bytes([kind, 6, place, place % 7]) for place in range(24))
        yield bytes([kind, RAW]) + b'{"status": "error", "error": "no"}'


def check(data: bytes) -> None:
    """The first byte says what is edited."""
    if data[:1] == b"\1":
        check_answer(edited_json(ANSWER, data[1:]))
        return
    try:
        document = parse_fleet(edited_json(BASE, data[1:]))
        diff = compare_fleets(BASE, document, None)
    except ValueError as error:
        assert str(error)
        return
    json.dumps(diff_document(diff)).encode()
    assert "\x1b" not in to_plain(render_diff(diff))


def check_answer(text: bytes) -> None:
    client = Client(Server("http://127.0.0.1:9"))
    try:
        series = client._parse(text)
    except _UnusableError as error:
        assert str(error).isprintable()
        return
    assert all(math.isfinite(each.value) for each in series)
    assert all(warning.isprintable() for warning in client.warnings)


TARGET = Target(check, seeds, (parse_fleet,), ("success", "vector"), 512)
