"""What changed in a fleet between two reports: `sdeictl.fleet-diff/1`. No I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from sdeictl.fleet.document import FLEET_SCHEMA, Object
from sdeictl.host.json_text import as_list, as_object, parse_json
from sdeictl.text import Line, NamedTuple

MAX_FLEET_BYTES = 24 << 20
"""Limit for a stored report; one with 10,000 cohorts has 10 MiB."""
FLEET_DIFF_SCHEMA = "sdeictl.fleet-diff/1"
_HOSTS = ("total", "ready", "not_ready", "unknown", "no_data", "stale")
_COUNTS = ("hosts", "ready", "not_ready")


class Newly(NamedTuple):
    """Hosts that were ready and are not any more."""

    hosts: int
    names: tuple[str, ...]
    """Some of them."""


class _Row(NamedTuple):
    """One number that may have changed."""

    what: tuple[str, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]


class FleetDiff(NamedTuple):
    """Two reports side by side."""

    first: str
    """Source and time of the first report; `second` likewise."""
    second: str
    by: tuple[str, ...]
    hosts: tuple[_Row, ...]
    cohorts: tuple[_Row, ...]
    """Cohorts that changed: their hosts, those that are ready, and those that are not."""
    broken: tuple[_Row, ...]
    """Broken links, by check and owner, of which the number of hosts changed."""
    newly: Newly | None
    """None: stored reports do not name hosts."""


def parse_fleet(data: bytes) -> Object:
    """Return a stored report; raise ValueError if the bytes are none."""
    document = parse_json(data, MAX_FLEET_BYTES)
    if not isinstance(document, dict) or document.get("schema") != FLEET_SCHEMA:
        raise ValueError(f"it is not a {FLEET_SCHEMA}")
    compare_fleets(document, document, None)  # it has every key
    return document


def compare_fleets(
    first: Mapping[str, object], second: Mapping[str, object], newly: Newly | None
) -> FleetDiff:
    """Return what changed. Raises ValueError for a missing key, or cohorts of other labels."""
    try:
        by = tuple(_texts(second["by"]))
        if by != tuple(_texts(first["by"])):
            raise ValueError("the two reports have cohorts by different labels (--by)")
        return FleetDiff(
            f"{first['source']}, {first['generated_at']}",
            f"{second['source']}, {second['generated_at']}",
            by,
            tuple(_changes(_host_counts(first), _host_counts(second), 1)),
            tuple(_changes(_cohort_counts(first, by), _cohort_counts(second, by), len(_COUNTS))),
            tuple(_changes(_link_counts(first), _link_counts(second), 1)),
            newly,
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"it is not a complete {FLEET_SCHEMA}: {error}") from error


_Counts = dict[tuple[str, ...], tuple[int, ...]]


def _changes(first: _Counts, second: _Counts, width: int) -> Iterator[_Row]:
    none = (0,) * width
    for what in dict.fromkeys([*first, *second]):
        before, after = first.get(what, none), second.get(what, none)
        if before != after:
            yield _Row(what, before, after)


def _host_counts(document: Mapping[str, object]) -> _Counts:
    hosts = as_object(document["hosts"])
    return {(word,): (_number(hosts[word]),) for word in _HOSTS}


def _cohort_counts(document: Mapping[str, object], by: Sequence[str]) -> _Counts:
    cohorts = map(as_object, as_list(document["cohorts"]))
    return {
        tuple(str(cohort[label]) for label in by): tuple(_number(cohort[word]) for word in _COUNTS)
        for cohort in cohorts
    }


def _link_counts(document: Mapping[str, object]) -> _Counts:
    links = map(as_object, as_list(document["broken_links"]))
    return {(str(link["check"]), str(link["owner"])): (_number(link["hosts"]),) for link in links}


def _texts(value: object) -> Iterator[str]:
    return map(str, as_list(value))


def _number(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError("a number is missing")
    return value


def diff_document(diff: FleetDiff) -> Object:
    """Return a comparison as its JSON document."""
    return {
        "schema": FLEET_DIFF_SCHEMA,
        "first": diff.first,
        "second": diff.second,
        "hosts": {row.what[0]: {"before": row.before[0], "after": row.after[0]} for row in diff.hosts},
        "cohorts": [
            {
                **dict(zip(diff.by, row.what)),
                "before": dict(zip(_COUNTS, row.before)),
                "after": dict(zip(_COUNTS, row.after)),
            }
            for row in diff.cohorts
        ],
        "broken_links": [
            {"check": row.what[0], "owner": row.what[1], "before": row.before[0], "after": row.after[0]}
            for row in diff.broken
        ],
        "newly_not_ready": None
        if diff.newly is None
        else {"hosts": diff.newly.hosts, "names": list(diff.newly.names)},
    }


def render_diff(diff: FleetDiff) -> Iterator[Line]:
    """Yield a comparison as lines of text."""
    yield ((f"before: {diff.first}", "dim"),)
    yield ((f"after:  {diff.second}", "dim"),)
    if diff.newly is not None:
        yield from _newly(diff.newly)
    if not (diff.hosts or diff.cohorts or diff.broken):
        yield (("Nothing changed.", ""),)
    for title, rows in (("Hosts", diff.hosts), ("Broken links", diff.broken)):
        for place, row in enumerate(rows):
            if not place:
                yield ()
                yield ((title, "bold"),)
            yield (_change("hosts", row.before[0], row.after[0], " ".join(row.what).replace("_", " ")),)
    for place, row in enumerate(diff.cohorts):
        if not place:
            yield ()
            yield (("Cohorts", "bold"),)
        yield ((f"  {', '.join(text or 'unknown' for text in row.what)}", ""),)
        for word, before, after in zip(_COUNTS, row.before, row.after):
            if before != after:
                yield (("    ", ""), _change(word, before, after, word.replace("_", " ")))


def _newly(newly: Newly) -> Iterator[Line]:
    if not newly.hosts:
        return
    more = newly.hosts - len(newly.names)
    text = f"{newly.hosts:,} hosts were ready and are not: {', '.join(newly.names)}"
    yield ((f"{text}{f' and {more:,} more' if more > 0 else ''}", "bold red"),)


def _change(word: str, before: int, after: int, text: str) -> tuple[str, str]:
    worse = after > before if word == "not_ready" else after < before if word == "ready" else False
    return f"  {before:>9,} -> {after:>9,}  {text}", "red" if worse else ""
