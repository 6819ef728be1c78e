"""The fuzz targets: each holds for its corpus, which reaches what it names, and no parser is without one."""

from __future__ import annotations

import ast
import inspect
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import CodeType, FrameType

import pytest

from tests.conftest import PROJECT
from tests.fuzz import harness
from tests.fuzz.harness import Target, corpus_of, load_target, target_names
from tests.fuzz.shapes import RAW, Dice, edited_json, patched, with_long_numbers

MAX_CORPUS_BYTES = 2 << 20
"""Of one target; numbers of 5,000 digits take most of it. No input of it is a file of the repository."""
VERBS = ("parse", "read", "decode")
ELSEWHERE = {
    "reads files of the running host, or asks a server, by parsers that have a target": (
        "sdeictl.bench.conditions:read_audit", "sdeictl.bench.conditions:read_conditions",
        "sdeictl.bench.experiment_runner:read_boot", "sdeictl.bench.experiment_runner:read_readiness",
        "sdeictl.bench.kexec:read_kexec", "sdeictl.drill.aftermath:read_note_places",
        "sdeictl.drill.status:read_status", "sdeictl.fleet.host_states:read_states",
        "sdeictl.host.kmsg:read_kmsg", "sdeictl.host.live:LiveRoot.read",
        "sdeictl.interlock.load:read_loads", "sdeictl.interlock.survey:read_heartbeats",
        "sdeictl.interlock.survey:read_survey", "sdeictl.interlock.writes:read_printers",
        "sdeictl.probe.deep:read_flag", "sdeictl.probe.deep:read_journal",
        "sdeictl.probe.deep:read_symbol_table", "sdeictl.probe.settings:read_idle_usage",
        "sdeictl_agent.sources:Sources.read", "sdeictl_agent.watcher:read_records",
        "sdeictl_agent.watcher:read_state_file",
    ),
    "returns bytes as they are": (
        "sdeictl.commands.output:read_document", "sdeictl.commands.output:read_pieces",
        "sdeictl.host.files:read_file", "sdeictl.host.files:read_start",
        "sdeictl.host.files:read_stream", "sdeictl_agent.collector:read_saved",
        "sdeictl_agent.trust:read_trusted",
    ),
    "is a protocol, or takes the arguments of a command": (
        "sdeictl.commands.duration:parse_duration", "sdeictl.commands.group:Group.parse_args",
        "sdeictl.fleet.plan:parse_limit",
        "sdeictl.host.root:Root.read",
        "sdeictl.vmcore.corefile:CoreFile.read",
    ),
}  # fmt: skip
"""Parsers and readers without a target, by the reason."""


def name_of(function: Callable[..., object]) -> str:
    whole = inspect.unwrap(function)
    return f"{whole.__module__}:{whole.__qualname__}"


def parsers() -> Iterator[str]:
    """Yield the public functions and methods whose names begin with one of VERBS."""
    for base, package in ((PROJECT, "sdeictl"), (PROJECT / "agent", "sdeictl_agent")):
        for path in sorted((base / package).rglob("*.py")):
            module = ".".join(path.relative_to(base).with_suffix("").parts)
            yield from (f"{module}:{name}" for name in functions_in(path) if is_parser(name))


def functions_in(path: Path) -> Iterator[str]:
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef):
            yield node.name
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from (f"{node.name}.{each.name}" for each in node.body if isinstance(each, ast.FunctionDef))


def is_parser(name: str) -> bool:
    return name.rpartition(".")[2].split("_")[0] in VERBS


def not_called_by(call: Callable[[], None], wanted: Iterable[CodeType]) -> set[CodeType]:
    """Return the code in `wanted` that the call does not run."""
    left = set(wanted)
    before = sys.getprofile()

    def see(frame: FrameType, _event: str, _argument: object) -> None:
        left.discard(frame.f_code)
        if not left:
            sys.setprofile(before)  # it costs much

    sys.setprofile(see if left else before)
    try:
        call()
    finally:
        sys.setprofile(before)
    return left


@pytest.mark.parametrize("name", target_names())
def test_target_holds_for_its_corpus(name: str) -> None:
    target = load_target(name)
    for function in target.reads:
        getattr(function, "cache_clear", lambda: None)()
    corpus = list(corpus_of(target))

    def replay() -> None:
        for data in corpus:
            target.check(data)

    names = {inspect.unwrap(each).__code__: name_of(each) for each in target.reads}
    missed = [names[code] for code in not_called_by(replay, names)]
    assert missed == [], "the corpus does not reach them"
    assert sum(map(len, corpus)) <= MAX_CORPUS_BYTES


def test_each_parser_has_a_target() -> None:
    reached = {name_of(function) for name in target_names() for function in load_target(name).reads}
    listed = {name for names in ELSEWHERE.values() for name in names}
    assert set(parsers()) - reached == listed


def test_failure_is_kept_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    signals: list[int] = []
    monkeypatch.setattr(os, "kill", lambda _pid, number: signals.append(number))

    def check(data: bytes) -> None:
        assert data != b"one"
        int(data)

    run = harness._Run(check, tmp_path, 0.0)
    for data in (b"1", b"one", b"two", b"one", b"three"):
        run.check(data)
    assert sorted(path.read_bytes() for path in tmp_path.iterdir()) == [b"one", b"two"]
    assert len(signals) == 5, "the time is over"


def test_without_edits_the_file_stays() -> None:
    document = {"a": [1, {"b": None}], "c": "text"}
    assert edited_json(document, b"") == b'{"a": [1, {"b": null}], "c": "text"}'
    assert edited_json(document, bytes([RAW]) + b"{") == b"{"
    assert edited_json(document, b"\0\0") == b'{"c": "text"}'
    assert edited_json(document, b"\1\4\2xy").endswith(b'"c": "xy"}')
    # A value that is appended is another one than that it repeats.
    assert edited_json([[1]], b"\4\0\4\1") == b"[[1, 1], [1]]"
    assert patched(b"0123456789", Dice(b"")) == b"0123456789"
    assert patched(b"0123456789", Dice(b"\2\3\2ab")) == b"012ab56789"
    assert patched(b"0123456789", Dice(b"\1\3\4\1x\0\2")) == b"01"


@pytest.mark.parametrize("edits", [bytes([6, at, value]) for at in range(5) for value in range(44)])
def test_any_value_can_be_written(edits: bytes) -> None:
    assert edited_json({"a": [1, {"b": None}], "c": "text"}, edits)


def test_long_numbers_are_inserted() -> None:
    assert list(with_long_numbers([b"x"])) == [b"x"]
    whole, *long = sorted(with_long_numbers([b"a1b2"]), key=len)
    assert whole == b"a1b2"
    assert set(long) == {b"a" + b"9" * 5000 + b"b2", b"a1b" + b"9" * 5000}


def test_words_are_escaped() -> None:
    assert harness._dictionary_line('a"\\\n\x1b') == '"a\\x22\\x5c\\x0a\\x1b"\n'


def test_target_is_a_target() -> None:
    assert all(isinstance(load_target(name), Target) for name in target_names())
    assert len(target_names()) > 40
