"""`sdeictl bench` on any machine: estimates, comparisons, labels, and the timed loops."""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import math
import os
import random
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from sdeictl.bench.compare import compare_runs, judge_aa, refusals_for_comparison, split_sides
from sdeictl.bench.conditions import MUST_BE_SAME, HostConditions, costly_part, pseudo_nmi_state
from sdeictl.bench.document import BenchDocument, parse_bench, result_document
from sdeictl.bench.estimate import MIN_BLOCKS, RESOLUTION, differs, effect, estimate, floors
from sdeictl.bench.labels import Activity, condition_labels
from sdeictl.bench.loop import CALLS, EMPTY, LIBRARY, load_loops
from sdeictl.bench.measure import Timing, calibrate, current_cpu, measure
from sdeictl.bench.page import comparison_page
from sdeictl.bench.run import run_bench
from sdeictl.bench.text import render_bench, render_comparison, show_time
from sdeictl.bench.words import LoopKind
from sdeictl.commands.bench import bench
from sdeictl.errors import SdeictlError, Status
from sdeictl.probe.facts import HostFacts
from sdeictl.text import to_plain
from tests.conftest import PROJECT, validate
from tests.test_analysis_properties import EXAMPLES

NUMBERS = itertools.count()
HOST = {name: f"the {name}" for name in MUST_BE_SAME}


def noisy(center: float, seed: int, count: int = 2000, burst: int = 0) -> list[float]:
    """Return samples like those of a real machine: a floor, interruptions, and a burst of interference."""
    rng = random.Random(seed)
    samples = [
        center * (1 + abs(rng.gauss(0, 0.004)) + (rng.random() < 0.3) * rng.random()) for _ in range(count)
    ]
    return [sample * 1.3 for sample in samples[:burst]] + samples[burst:]


def run_of(
    samples: list[float], state: str | None = "off", sync: str | None = None, **conditions: object
) -> BenchDocument:
    document: BenchDocument = json.loads(
        json.dumps(
            {
                "schema": "sdeictl.bench/1",
                "id": str(next(NUMBERS)),
                "workload": None,
                "results": [result_document("getppid", samples)],
                "conditions": {**HOST, "pseudo_nmi": state, "pmr_sync": sync, **conditions},
                "labels": [],
            }
        )
    )
    return document


def test_estimate_is_the_undisturbed_time() -> None:
    found = estimate(noisy(100e-9, 1))
    assert found
    assert 100e-9 < found.low <= found.value <= found.high < 100.5e-9


def test_burst_widens_the_interval() -> None:
    calm = estimate(noisy(100e-9, 1))
    short = estimate(noisy(100e-9, 1, burst=500))
    long = estimate(noisy(100e-9, 1, burst=1200))
    assert calm
    assert short
    assert long
    assert short.value == pytest.approx(calm.value, rel=0.002)
    assert long.high > 1.29 * calm.value


@pytest.mark.parametrize("count", [0, 1, MIN_BLOCKS - 1])
def test_too_few_samples(count: int) -> None:
    assert estimate([1e-7] * count) is None
    assert effect([[1e-7] * count], [[1e-7] * 100]) is None


@given(st.lists(st.floats(1e-9, 1.0), min_size=MIN_BLOCKS, max_size=300))
def test_estimate_lies_in_its_interval(samples: list[float]) -> None:
    found = estimate(samples)
    assert found
    assert min(samples) <= found.low <= found.value <= found.high <= max(samples)
    assert len(floors(samples)) <= 20
    assert estimate([sample * 2 for sample in samples]) == tuple(2 * value for value in found)


def test_two_percent_are_found() -> None:
    for seed in range(20):
        nothing = effect([noisy(1e-7, seed)], [noisy(1e-7, 100 + seed)])
        something = effect([noisy(1e-7, seed)], [noisy(1.02e-7, 100 + seed)])
        assert nothing
        assert something
        assert not differs(nothing)
        assert differs(something)
        assert something.low < 0.02 < something.high


def test_no_effect_below_the_resolution() -> None:
    exact = effect([[1e-7] * 100], [[1e-7 * (1 + RESOLUTION / 2)] * 100])
    assert exact
    assert not differs(exact)


def test_spread_between_runs_counts() -> None:
    off = [noisy(1e-7 * (1 + shift), 7) for shift in (0, 0.04, 0.08)]
    on = [noisy(1.05e-7 * (1 + shift), 7) for shift in (0, 0.04, 0.08)]
    found = effect(off, on)
    assert found
    assert found.value == pytest.approx(0.05, abs=0.001)
    assert not differs(found)
    exact = effect([[275.2e-9] * 50] * 2, [[289.2e-9] * 50] * 2)
    assert exact
    assert exact.value == pytest.approx(0.0509, abs=0.0001)
    assert exact.value - exact.low == pytest.approx(RESOLUTION / 2**0.5, rel=0.1)


def test_same_run_twice_is_refused() -> None:
    one, other = run_of(noisy(1e-7, 1)), run_of(noisy(1e-7, 2), "on", "relaxed")
    assert refusals_for_comparison([one, one], [other]) == ["One run is given twice."]


def test_unknown_state_is_refused() -> None:
    runs = [run_of(noisy(1e-7, seed), state) for seed, state in enumerate(("on", None, "on"))]
    reason = "The state of pseudo-NMI is unknown for at least one run."
    assert refusals_for_comparison(*split_sides(runs)) == [reason]


def test_costly_parameters() -> None:
    line = (
        "BOOT_IMAGE=/vmlinuz root=UUID=1 irqchip.gicv3_pseudo_nmi=1 sdeictl.ab=X.1 init_on_alloc=1 password=x"
    )
    assert costly_part(f"{line} mitigations=off ssbd=force-off quiet") == (
        "init_on_alloc=1 mitigations=off quiet ssbd=force-off"
    )


def test_comparison_has_a_sentence() -> None:
    comparison = compare_runs([run_of(noisy(1e-7, 1))], [run_of(noisy(1.05e-7, 2), "on", "relaxed")])
    (found,) = comparison["effects"]
    assert found["differs"] is True
    assert found["sentence"].startswith(
        "getppid: the second is 5.0 % slower than the first (95 % interval +4."
    )
    text = to_plain(render_comparison(comparison))
    assert "second: pseudo-NMI on (relaxed), 1 run" in text


@pytest.mark.parametrize("field", MUST_BE_SAME)
def test_other_condition_is_refused(field: str) -> None:
    ours, theirs = run_of(noisy(1e-7, 1)), run_of(noisy(1e-7, 2), "on", "relaxed", **{field: "another"})
    with pytest.raises(SdeictlError, match=f"The runs differ in {field}: the {field} and another") as refusal:
        compare_runs([ours], [theirs])
    assert refusal.value.status is Status.UNKNOWN
    assert compare_runs([ours], [theirs], [field])["ignored"] == [field]


def test_every_reason_is_listed() -> None:
    ours = run_of(noisy(1e-7, 1), "on", "relaxed")
    theirs = run_of(noisy(1e-7, 2), "on", "forced", kernel="another", midr="another")
    reasons = refusals_for_comparison([ours], [theirs])
    assert [reason.split(":")[0] for reason in reasons] == [
        "The runs differ in kernel", "The runs differ in midr", "The runs differ in pmr_sync",
    ]  # fmt: skip


def test_runs_are_split_by_state() -> None:
    runs = [run_of([1e-7], state) for state in ("off", "on", "off", "on")]
    first, second = split_sides(runs)
    assert (first, second) == ([runs[0], runs[2]], [runs[1], runs[3]])
    alone = split_sides(runs[::2] * 2)
    assert refusals_for_comparison(*alone) == [
        "All runs have the same state of pseudo-NMI, so the second side is empty."
    ]


def test_equal_runs_are_judged() -> None:
    calm = judge_aa([run_of(noisy(1e-7, seed)) for seed in range(12)], "getppid")
    assert (calm["pairs"], calm["called_different"], calm["believable"]) == (6, 0, True)
    moving = judge_aa([run_of(noisy(1e-7 * (1 + 0.03 * (seed % 2)), seed)) for seed in range(12)], "getppid")
    assert (moving["called_different"], moving["believable"]) == (6, False)
    assert judge_aa([run_of(noisy(1e-7, seed)) for seed in range(2)], "getppid")["believable"] is None


@pytest.mark.parametrize(
    "data",
    [
        b"", b"[]", b"null", b"{}", b'{"schema": "sdeictl.bench/2"}', b"\xff", b"[" * 100_000,
        b'{"schema": "sdeictl.bench/1", "conditions": {}, "labels": [], "results":'
        b' [{"call": "x", "undisturbed": null, "median": 1e-7, "samples": [0.0]}]}',
        b'{"schema": "sdeictl.bench/1", "id": "x", "conditions": {}, "labels": [], "results":'
        b' [{"call": "x", "undisturbed": null, "median": "1e-7", "samples": [1e-7]}]}',
        b'{"schema": "sdeictl.bench/1", "id": "x", "conditions": {}, "labels": [], "results":'
        b' [{"call": "x", "undisturbed": null, "samples": [1e-7]}]}',
        b'{"schema": "sdeictl.bench/1", "id": "x", "conditions": {}, "labels": [], "results":'
        b' [{"call": "x", "undisturbed": null, "median": 1e-303, "samples": [1e-303]}]}',
        b'{"schema": "sdeictl.bench/1", "id": "x", "conditions": {}, "labels": ["%b"], "results": []}'
        % (b"x" * 1001),
        b'{"schema": "sdeictl.bench/1", "conditions": [], "results": []}',
        b'{"schema": "sdeictl.bench/1", "id": "x", "conditions": {}, "labels": [], "results": [%b]}'
        % b",".join(
            b'{"call": "%d", "undisturbed": null, "median": 1e-7, "samples": [1e-7]}' % number
            for number in range(101)
        ),
    ],
)  # fmt: skip
def test_file_that_is_not_a_run(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_bench(data)
    (tmp_path / "a").write_bytes(data)
    done = CliRunner().invoke(bench, ["compare", str(tmp_path / "a"), str(tmp_path / "a")])
    assert isinstance(done.exception, SdeictlError)
    assert done.exception.status is Status.UNKNOWN


def test_runs_together_are_too_large(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in "abcd"]
    for path in paths:
        with path.open("wb") as file:
            file.truncate(20 << 20)
    done = CliRunner().invoke(bench, ["compare", *map(str, paths)])
    assert "larger than 48 MiB" in str(done.exception)


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=EXAMPLES)
@given(st.data())
def test_run_with_junk(data: st.DataObject) -> None:
    document = json.loads(json.dumps(run_of(noisy(1e-7, 1, count=40))))
    places = [(document, name) for name in document]
    places += [(document["results"][0], name) for name in document["results"][0]]
    places += [(document["conditions"], name) for name in document["conditions"]]
    holder, name = data.draw(st.sampled_from(places))
    if data.draw(st.booleans()):
        holder[name] = data.draw(JUNK)
    else:
        del holder[name]
    with contextlib.suppress(ValueError, SdeictlError):
        sides = ([parse_bench(json.dumps(document).encode())], [run_of(noisy(1e-7, 2, count=40))])
        compared = compare_runs(*sides)
        to_plain(render_comparison(compared))
        comparison_page(compared, sides, None)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["compare", "a"], "at least two runs"),
        (["run", "--workload", "'"], "No closing quotation"),
        (["run", "--workload", " "], "does not name a program"),
        (["run", "nonsense"], "the call nonsense does not exist"),
        (["run", "--seconds", "0"], "not in the range"),
        (["run", "--seconds", "nan"], "not a valid integer"),
        (["ab", "--workload", "/nonexistent/program"], "program does not exist"),
        (["ab", "--initrd", "x"], "--initrd goes with --kernel"),
        (["compare", "--ignore", "nonsense", "a", "b"], "is not one of"),
        (["compare", "/nonexistent", "/nonexistent"], "does not exist"),
    ],
)
def test_wrong_usage(arguments: list[str], sentence: str) -> None:
    done = CliRunner().invoke(bench, arguments)
    assert sentence in done.output + str(done.exception)
    assert done.exit_code or done.exception


def test_bad_conditions_are_labelled() -> None:
    calm, busy = Activity(0.0, 0.0), Activity(3.0, 0.2)
    good = {
        "pseudo_nmi": "on", "pmr_sync": "relaxed", "governor": "performance", "affinity": 2, "cpus_online": 2,
        "loop": "c",
    }  # fmt: skip
    assert condition_labels(conditions_of(good), calm, calm) == []
    bad = good | {
        "pmr_sync": None, "governor": "schedutil", "affinity": 1, "loop": "python", "virtual": "yes",
        "audit": True, "seccomp": True, "debug_priority_masking": True,
    }  # fmt: skip
    labels = condition_labels(conditions_of(bad), busy, busy)
    assert len(labels) == 10
    assert "A hypervisor withheld 20.0 % of the CPU time (steal time)." in labels
    assert len(condition_labels(conditions_of(good | {"pseudo_nmi": None}), calm, calm)) == 1


def conditions_of(known: dict[str, object]) -> HostConditions:
    """Return conditions in which everything else is unknown."""
    conditions: HostConditions = json.loads(json.dumps(dict.fromkeys(MUST_BE_SAME) | known))
    return conditions


def test_state_of_other_architectures() -> None:
    assert pseudo_nmi_state(HostFacts(architecture="x86")) == "not-applicable"
    assert pseudo_nmi_state(HostFacts(architecture="arm64")) is None


@pytest.mark.parametrize(
    ("seconds", "words"), [(1.834e-7, "183.4 ns"), (3e-10, "0.3 ns"), (2.5e-5, "25.0 us"), (1.5, "1.5 s")]
)
def test_times_have_units(seconds: float, words: str) -> None:
    assert show_time(seconds) == words


def test_affinity_is_respected_and_restored() -> None:
    before = os.sched_getaffinity(0)
    seen: set[frozenset[int]] = set()

    def timer(count: int) -> int:
        seen.add(frozenset(os.sched_getaffinity(0)))
        return count * 1000

    measure({"x": timer}, 0.05)
    assert os.sched_getaffinity(0) == before
    ((only,),) = seen
    assert only in before
    assert current_cpu({4000}) == 4000


def test_sample_takes_about_a_millisecond() -> None:
    for cost in (1, 100, 30_000, 10_000_000):
        count = calibrate(lambda count, cost=cost: count * cost)  # type: ignore[misc]
        assert count == 1 or 400_000 <= count * cost <= 4_000_000


def test_python_loop_without_the_library() -> None:
    loops = load_loops("/nonexistent")
    assert loops.kind is LoopKind.PYTHON
    assert set(loops.timers) == {"getppid", "gettid", "sched-yield", EMPTY}
    assert all(timer(100) > 0 for timer in loops.timers.values())


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile the library, because the installation under test may lack it."""
    compiler = shutil.which("cc")
    if not compiler:
        if os.environ.get("CI"):
            pytest.fail("a C compiler is missing")
        pytest.skip("a C compiler is missing")
    target = tmp_path_factory.mktemp("loop") / "libbench.so"
    flags = ("-O2", "-fPIC", "-fno-plt", "-shared", "-Wall", "-Wextra", "-Werror")
    source = str(PROJECT / "sdeictl/bench/loop.c")
    subprocess.run([compiler, *flags, "-o", str(target), source], check=True)
    return target


def test_library_times_every_call(compiled: Path) -> None:
    loops = load_loops(str(compiled))
    assert loops.kind is LoopKind.C
    assert set(loops.timers) == {EMPTY, *(call.name for call in CALLS)}
    for name, timer in loops.timers.items():
        short = long = math.inf
        for _ in range(50):  # other processes may run in any of these samples
            short, long = min(short, timer(100)), min(long, timer(2000))
            if 0 < 2 * short < long:
                break
        assert 0 < 2 * short < long, name


def test_failed_call_is_an_error(compiled: Path) -> None:
    script = (
        "import resource, sys; from sdeictl.bench.loop import load_loops; loops = load_loops(sys.argv[1]);"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0)); loops.timers[sys.argv[2]](10)"
    )
    for name in ("read-zero", "timer", "pipe"):
        done = subprocess.run(
            [sys.executable, "-c", script, compiled, name], capture_output=True, text=True, check=False
        )
        assert "OSError: [Errno 24] Too many open files" in done.stderr, done


def test_run_is_complete() -> None:
    document = run_bench(Timing(("getppid", "gettid"), 1.0))
    assert parse_bench(json.dumps(document).encode()) == document
    validate("bench-1", document)
    assert [result["call"] for result in document["results"]] == ["getppid", "gettid"]
    assert set(MUST_BE_SAME) <= document["conditions"].keys()
    for result in document["results"]:
        assert result["undisturbed"]
        assert result["min"] <= result["undisturbed"] <= statistics.median(result["samples"]) * 1.01
    text = to_plain(render_bench(document))
    assert "getppid" in text
    assert "of the empty loop" in text
    comparison = compare_runs([document], [{**document, "id": "another"}])
    validate("bench-comparison-1", comparison)
    assert comparison["effects"][0]["differs"] is False


def test_unwritable_file_loses_no_result(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("sdeictl.commands.output.write_aside", fail)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    done = CliRunner().invoke(
        bench, ["run", "--seconds", "1", "--format", "json", "--output", str(tmp_path / "out")]
    )
    assert "No space left" in str(done.exception)
    validate("bench-1", json.loads(done.stdout[done.stdout.index("{") :]))


def test_two_equal_runs_are_too_few() -> None:
    done = CliRunner().invoke(bench, ["aa", "--runs", "2", "--seconds", "1", "--format", "json"])
    assert done.exit_code == 0
    # Before click 8.2 the standard error, with the progress, is part of `stdout` here.
    document = json.loads(done.stdout[done.stdout.index("{") :])
    validate("bench-aa-1", document)
    assert [(call["call"], call["pairs"], call["believable"]) for call in document["calls"]] == [
        ("getppid", 1, None)
    ]


def test_program_is_timed() -> None:
    document = run_bench(Timing(workload=("true",), rounds=6))
    (result,) = document["results"]
    assert len(result["samples"]) == 6
    assert result["ci95"] == pytest.approx([min(result["samples"]), max(result["samples"])], rel=1e-3)
    for words in (("false",), ("/nonexistent",)):
        with pytest.raises(SdeictlError, match=words[0]):
            run_bench(Timing(workload=words, rounds=6))


def test_installed_library_has_this_source(compiled: Path) -> None:
    installed = Path(LIBRARY)
    if not installed.exists():
        assert load_loops().kind is LoopKind.PYTHON
        return
    ours, theirs = (load_loops(str(path)).timers.keys() for path in (compiled, installed))
    assert list(itertools.chain(ours)) == list(itertools.chain(theirs))
