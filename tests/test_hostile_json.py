"""JSON of strangers: reports, stored drill results, benchmark runs and the manifest of a capture."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from sdeictl_agent.documents import parse_bench, parse_drill, parse_report, parse_watch
from sdeictl_agent.json_values import DAMAGE
from sdeictl_agent.watch_file import Events, Progress, State, decode_state

from sdeictl.bench.experiment_journal import read_experiment
from sdeictl.cli import cli
from sdeictl.errors import SdeictlError, Status
from sdeictl.host.directory import DirectoryRoot
from sdeictl.host.json_text import MAX_COMMAS, MAX_CONTAINERS, MAX_DEPTH, MAX_JSON_BYTES, parse_json
from sdeictl.host.manifest import MANIFEST, parse_manifest
from sdeictl.host.open import open_root
from sdeictl.host.paths import DRILL_JOURNAL
from sdeictl.interlock.arming import arm, armed_seconds
from sdeictl.interlock.journal import JournalError, read_journal
from sdeictl.interlock.results import read_results
from sdeictl.probe.capture import make_capture, pack
from sdeictl.probe.collect import collect
from sdeictl.probe.report import build_report
from sdeictl.probe.stored_drills import parse_stored_drill
from tests.conftest import TESTS, load_host
from tests.support.limited import refused, run
from tests.test_analysis_properties import EXAMPLES

HOST = load_host("acpi-sdei").root
MIB = 1 << 20
REPORT = json.dumps(build_report(collect(open_root(str(HOST)))))
DRILL = (TESTS / "hosts/dt-sdei/drills/plain.json").read_bytes()

TEXTS = {
    "it is nested": (
        '{"a":' * 2000 + "1" + "}" * 2000, "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), "[" * 100_000,
    ),
    "objects and arrays": ("[" + "{}," * MAX_CONTAINERS + "{}]", "[" + "[]," * MAX_CONTAINERS + "[]]"),
    "values": ("[" + "1," * (MAX_COMMAS + 1) + "1]",),
    "more than 4 MiB": (" " * MAX_JSON_BYTES + "1", '"' + "x" * MAX_JSON_BYTES + '"'),
    "digits": ("9" * 31, "[-" + "1" * 3_000_000 + "]"),
    "not finite": ("NaN", "[Infinity]", '{"a": -Infinity}', "1e999", "-1e400"),
    "two values for 'a'": (
        '{"a": 1, "a": 1}', "{" + "".join(f'"{at}": 1,' for at in range(200_000)) + '"a": 1, "a": 1}',
        '[{"b": {"a": 1, "c": 2, "a": 3}}]',
    ),
    "not JSON": ("", "{", "[1", '{"a": 1}}', "\ufeff1", "nul", '"\\x"'),
}  # fmt: skip


@pytest.mark.parametrize(("clause", "text"), [(clause, text) for clause in TEXTS for text in TEXTS[clause]])
def test_text_is_refused(clause: str, text: str) -> None:
    with pytest.raises(ValueError, match=clause):
        parse_json(text.encode())


@pytest.mark.parametrize("wide", ["\U0001f600", "\\ud83d\\ude00"])
def test_wide_text_is_short(wide: str) -> None:
    """One such character makes each one of its string four times as large."""
    text = "x" * (MAX_JSON_BYTES // 2)
    assert parse_json(f'"{text}{wide}"'.encode(), 8 * MIB)
    with pytest.raises(ValueError, match="text that needs much memory"):
        parse_json(f'["{text}", "{text}{wide}"]'.encode(), 8 * MIB)


@settings(max_examples=EXAMPLES)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(10**28), 10**28) | st.floats(allow_nan=False, width=32)
        .filter(math.isfinite) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20,
    )
)  # fmt: skip
def test_other_values_are_read(value: object) -> None:
    assert parse_json(json.dumps(value).encode()) == value


def test_bytes_that_are_no_text() -> None:
    for data in (b'"\xff"', '{"a": 1}'.encode("utf-16"), b"\0"):
        with pytest.raises(ValueError, match="not JSON"):
            parse_json(data)


@pytest.mark.parametrize("clause", ["it is nested", "objects and arrays", "values", "digits", "not finite"])
def test_report_costs_little(tmp_path: Path, clause: str) -> None:
    (tmp_path / "x").write_text('{"schema": "sdeictl.report/1", "gaps": ' + TEXTS[clause][-1] + "}")
    refused(clause.removeprefix("it is "), "probe", "--compare", tmp_path / "x", tmp_path / "x")


def test_large_text_is_not_read_whole(tmp_path: Path) -> None:
    with (tmp_path / "x").open("wb") as file:
        file.write(b'{"schema": "sdeictl.report/1", "gaps": [')
        file.truncate(1 << 40)
    refused("has more than 4 MiB", "probe", "--root", tmp_path / "x")
    refused("it has more than 32 MiB", "bench", "compare", tmp_path / "x", tmp_path / "x")


@pytest.mark.parametrize("field", ["verdict", "host", "findings", "gaps", "tool", "generated_at"])
@pytest.mark.parametrize("value", [None, 7, "x", [], {}, ["x"], {"x": ["y"]}])
def test_report_with_wrong_types(tmp_path: Path, field: str, value: object) -> None:
    """Each format prints an answer, or says that the report is not complete."""
    (tmp_path / "x").write_text(json.dumps({**json.loads(REPORT), field: value}))
    for form in ("text", "json", "prometheus", "nagios"):
        done = CliRunner().invoke(cli, ["probe", "--root", str(tmp_path / "x"), "--format", form])
        if isinstance(done.exception, SdeictlError):
            assert done.exception.status is Status.UNKNOWN
        else:
            assert done.exception is None or isinstance(done.exception, SystemExit)


LIES: dict[str, tuple[object, ...]] = {
    "lost_cpus": (["1"], [-1], [4096], [True], [1.0], "12", {"1": 2}, [10**25], [None]),
    "cpus": ([1], ["x"], {"cpu": 1}, [{"cpu": 1}], [{"cpu": "1", "state": "silent"}], [{"state": []}], 3),
    "host": (None, [], "x"),
    "outcome": (None, [], 1, "x" * 101),
    "path": (None, {}, 1),
    "drill": (None, 2),
    "id": ({}, "x" * 10_000),
}  # fmt: skip


@pytest.mark.parametrize(("field", "value"), [(field, value) for field in LIES for value in LIES[field]])
def test_drill_with_wrong_types(field: str, value: object) -> None:
    parse_stored_drill(DRILL)
    with pytest.raises((ValueError, KeyError, TypeError)):
        parse_stored_drill(json.dumps({**json.loads(DRILL), field: value}).encode())


def test_drills_cost_little(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    shutil.copytree(HOST, tree, symlinks=True)
    (tree / "sdeictl-capture.json").unlink()
    directory = tree / "var/lib/sdeictl/drills"
    directory.mkdir(parents=True)
    bombs = [*(texts[-1] for texts in TEXTS.values()), '{"lost_cpus": [1e999]}']
    for at, text in enumerate(bombs):
        (directory / f"20261123T18244{at}.804820Z-backtrace.json").write_text(text)
    outcome = run("probe", "--root", tree, "--format", "json")
    report = json.loads(outcome.stdout)
    broken = [gap for gap in report["gaps"] if gap["source"].startswith("/var/lib/sdeictl")]
    assert len(broken) == len(bombs)
    assert outcome.peak_mib < 150


def with_manifest(tmp_path: Path, change: Callable[[dict[str, object]], object]) -> Path:
    """Return a capture whose manifest was changed."""
    made = make_capture(open_root(str(load_host("stock-debian").root)))
    manifest = cast("dict[str, object]", made.manifest)
    change(manifest)
    tree = tmp_path / "tree"
    for path, data in {f"/{MANIFEST}": json.dumps(manifest).encode(), **made.files}.items():
        file = tree / path[1:]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    return tree


KEPT: tuple[object, ...] = (
    None, 1, "x", [], {"symbols": {}}, {"symbols": [1]}, {"symbols": "x"}, {"options": [None]},
    {"symbols": ["x" * 256]}, {"lpi": 1}, {"lpi": {}}, {"lpi": {"states": [1]}},
    *({"lpi": {"states": [{"name": "x", "latency": number, "residency": 1, "context_lost": 0}]}}
      for number in ("1", 1.5, True, -1, 1 << 64)),
)  # fmt: skip


@pytest.mark.parametrize("kept", KEPT)
def test_damaged_kept_part_proves_nothing(tmp_path: Path, kept: object) -> None:
    """A capture has few of the symbols: if it seemed whole, the others would look absent."""
    path = with_manifest(tmp_path, lambda manifest: manifest.update(kept=kept))
    facts = collect(open_root(str(path)))
    assert facts.symbols is not None
    assert not facts.symbols.complete
    assert not any(config.of_running_kernel for config in facts.configs)
    whole = collect(open_root(str(with_manifest(tmp_path, lambda _manifest: None))))
    assert whole.symbols is not None
    assert whole.symbols.complete


TIMES: tuple[object, ...] = (
    None, 5, "0001-01-01T00:00:00+00:00", "9999-12-31T23:59:59+00:00", "2026-02-30T00:00:00+00:00",
    "1969-12-31T23:59:59+00:00", "٢٠٢٦-11-27T00:00:00+00:00", "2026-11-27T00:00:00+00:00\n", "9" * 9999,
)  # fmt: skip


@pytest.mark.parametrize("time", TIMES)
def test_impossible_time_is_not_kept(tmp_path: Path, time: object) -> None:
    path = with_manifest(tmp_path, lambda manifest: manifest.update(captured_at=time))
    made = make_capture(open_root(str(path)))
    assert made.manifest["captured_at"] != time
    assert pack(made)


@pytest.mark.parametrize("item", [1, None, [], {}, {"path": 1, "what": 2}, {"path": "/proc/version"}])
def test_left_out_of_other_types(tmp_path: Path, item: object) -> None:
    path = with_manifest(tmp_path, lambda manifest: manifest.update(left_out=[item] * 9))
    known = with_manifest(tmp_path, lambda manifest: manifest.update(left_out=[]))
    first, second = (make_capture(open_root(str(each))) for each in (path, known))
    assert first.manifest["left_out"] == second.manifest["left_out"]


@pytest.mark.parametrize("name", ["", ".", "..", ".\0", "a/b", "../../etc", "x" * 256, "\ud800", "ü" * 128])
def test_name_that_no_file_has(name: str, tmp_path: Path) -> None:
    manifest = json.dumps({"listings": {"/sys/firmware/acpi/tables": ["APIC", name]}})
    (tmp_path / "sdeictl-capture.json").write_text(manifest)
    refused("a name that no file can have", "probe", "--root", tmp_path)


def test_wrong_types_in_a_manifest() -> None:
    parts: tuple[object, ...] = ([], 1, "x", {"/a": 1}, {"/a": {}}, {"/a": None})
    for part in parts:
        manifest = parse_manifest(json.dumps({"listings": part, "failures": part}).encode())
        assert manifest.listings == {}


def test_failure_with_any_name(tmp_path: Path) -> None:
    names: tuple[object, ...] = ("errorcode", "__name__", "ENOENT", "EINTR", "E", 5, None, [])
    for name in names:
        manifest = json.dumps({"failures": {"/proc/version": name}})
        (tmp_path / "sdeictl-capture.json").write_text(manifest)
        with pytest.raises(OSError, match="/proc/version"):
            DirectoryRoot(str(tmp_path)).read("/proc/version")


DAMAGED = (*(texts[-1] for texts in TEXTS.values()), '{"a": "\\ud800"}', "[]", "1", "null", '"x"', "{}")
"""Each is a file of another kind, or damaged."""


@pytest.mark.parametrize("at", range(len(DAMAGED)))
def test_damaged_files_of_the_host(tmp_path: Path, at: int) -> None:
    """Each reader of a file in /var/lib or /run says that it is damaged, and raises no other error."""
    data = DAMAGED[at].encode()
    for name in ("armed", DRILL_JOURNAL, "20261123T182448.804820Z-backtrace.json"):
        (tmp_path / name).write_bytes(data)
    assert armed_seconds("x", str(tmp_path)) is None
    assert read_results(str(tmp_path)).unreadable == (
        str(tmp_path / "20261123T182448.804820Z-backtrace.json"),
    )
    with pytest.raises(JournalError, match="is damaged"):
        read_journal(str(tmp_path))
    (tmp_path / "experiment").write_bytes(data)
    with pytest.raises(SdeictlError, match="is damaged") as refusal:
        read_experiment(str(tmp_path / "experiment"))
    assert refusal.value.status is Status.UNKNOWN
    for parse in (parse_report, parse_watch, parse_drill, parse_bench):
        with pytest.raises(DAMAGE):
            parse(data)
    assert decode_state(data, "x") == State("x", Progress(), Events())


ARMED = {"boot_id": "x", "until": 0.0}
LATER: tuple[object, ...] = (None, "99999999999", [], True, 10**29, -1, "1e9")


@pytest.mark.parametrize("until", LATER)
def test_impossible_arming(tmp_path: Path, until: object) -> None:
    arm(60.0, "x", str(tmp_path))
    assert armed_seconds("x", str(tmp_path))
    for document in ({**ARMED, "until": until}, {"until": until}, [until], {**ARMED, "boot_id": until}):
        (tmp_path / "armed").write_text(json.dumps(document))
        assert armed_seconds("x", str(tmp_path)) is None


def test_special_files_of_the_host(tmp_path: Path) -> None:
    """Nobody waits for a FIFO, and a large file is not read."""
    for name in ("armed", DRILL_JOURNAL, "20261123T182448.804820Z-backtrace.json"):
        os.mkfifo(tmp_path / name)
    assert armed_seconds("x", str(tmp_path)) is None
    assert read_results(str(tmp_path)).unreadable
    with pytest.raises(JournalError, match="cannot be read"):
        read_journal(str(tmp_path))
    (tmp_path / DRILL_JOURNAL).unlink()
    with (tmp_path / DRILL_JOURNAL).open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(JournalError, match="cannot be read"):
        read_journal(str(tmp_path))


def test_half_of_a_surrogate_pair() -> None:
    assert parse_json(b'["\\ud83d\\ude00"]') == ["\U0001f600"]
    assert parse_json(b'["\\udc80"]', file_names=True) == ["\udc80"]
    for text in (b'["\\ud83d"]', b'{"\\uDC80": 1}', b'["\\ude00\\ud83d"]'):
        with pytest.raises(ValueError, match="not Unicode"):
            parse_json(text)
