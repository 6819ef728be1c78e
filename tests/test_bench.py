"""Benchmarks without silicon: what samples say, what may be compared, and the loops against a bare one."""

import contextlib
import itertools
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from sdeictl.bench.compare import compare, judge_aa, obstacles, split
from sdeictl.bench.conditions import MUST_BE_SAME, Surroundings, costly_part, labels, pseudo_nmi_state
from sdeictl.bench.estimate import MIN_BLOCKS, RESOLUTION, differs, effect, estimate, floors
from sdeictl.bench.loop import CALLS, EMPTY, LIBRARY, PYTHON, C, load_loops
from sdeictl.bench.measure import calibrate, current_cpu, measure
from sdeictl.bench.run import parse_bench, result_json, run_bench
from sdeictl.bench.text import render_bench, render_comparison, time_words
from sdeictl.commands.bench import bench
from sdeictl.errors import SdeictlError, Status
from sdeictl.probe.facts import HostFacts
from sdeictl.text import plain
from tests.conftest import PROJECT, validate
from tests.test_analysis_properties import EXAMPLES

NUMBERS = itertools.count()
HOST = {name: f"the {name}" for name in MUST_BE_SAME}


def noisy(center: float, seed: int, count: int = 2000, spell: slice = slice(0)) -> list[float]:
    """Samples as a machine gives them: a floor, now and then an interruption, in a spell all of them slow."""
    rng = random.Random(seed)
    samples = [
        center * (1 + abs(rng.gauss(0, 0.004)) + (rng.random() < 0.3) * rng.random()) for _ in range(count)
    ]
    samples[spell] = [sample * 1.3 for sample in samples[spell]]
    return samples


def run_of(
    samples: list[float], state: str | None = "off", sync: str | None = None, **conditions: Any
) -> Any:
    return {
        "schema": "sdeictl.bench/1",
        "id": str(next(NUMBERS)),
        "workload": None,
        "results": [result_json("getppid", samples)],
        "conditions": {**HOST, "pseudo_nmi": state, "pmr_sync": sync, **conditions},
        "labels": [],
    }


def test_the_estimate_is_what_an_undisturbed_call_takes() -> None:
    found = estimate(noisy(100e-9, 1))
    assert found
    assert 100e-9 < found.low <= found.value <= found.high < 100.5e-9


def test_a_spell_of_interference_widens_the_interval_and_does_not_move_it_far() -> None:
    calm = estimate(noisy(100e-9, 1))
    short = estimate(noisy(100e-9, 1, spell=slice(0, 500)))
    long = estimate(noisy(100e-9, 1, spell=slice(0, 1200)))
    assert calm
    assert short
    assert long
    assert short.value == pytest.approx(calm.value, rel=0.002)
    assert long.high > 1.29 * calm.value


@pytest.mark.parametrize("count", [0, 1, MIN_BLOCKS - 1])
def test_too_few_samples_have_no_interval(count: int) -> None:
    assert estimate([1e-7] * count) is None
    assert effect([[1e-7] * count], [[1e-7] * 100]) is None


@given(st.lists(st.floats(1e-9, 1.0), min_size=MIN_BLOCKS, max_size=300))
def test_an_estimate_lies_in_its_interval_and_among_the_samples(samples: list[float]) -> None:
    found = estimate(samples)
    assert found
    assert min(samples) <= found.low <= found.value <= found.high <= max(samples)
    assert len(floors(samples)) <= 20
    assert estimate([sample * 2 for sample in samples]) == tuple(2 * value for value in found)


def test_two_per_cent_are_found_and_nothing_is_not() -> None:
    for seed in range(20):
        nothing = effect([noisy(1e-7, seed)], [noisy(1e-7, 100 + seed)])
        something = effect([noisy(1e-7, seed)], [noisy(1.02e-7, 100 + seed)])
        assert nothing
        assert something
        assert not differs(nothing)
        assert differs(something)
        assert something.low < 0.02 < something.high


def test_no_effect_below_the_resolution_is_claimed_of_two_runs() -> None:
    exact = effect([[1e-7] * 100], [[1e-7 * (1 + RESOLUTION / 2)] * 100])
    assert exact
    assert not differs(exact)


def test_of_several_runs_the_spread_between_them_counts() -> None:
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


def test_the_same_run_twice_is_no_second_run() -> None:
    one, other = run_of(noisy(1e-7, 1)), run_of(noisy(1e-7, 2), "on", "relaxed")
    assert obstacles([one, one], [other]) == ["One run is given twice."]


def test_an_unknown_state_is_no_other_state() -> None:
    runs = [run_of(noisy(1e-7, seed), state) for seed, state in enumerate(("on", None, "on"))]
    assert obstacles(*split(runs)) == ["The state of pseudo-NMI is not known of all of them."]


def test_the_parameters_that_can_change_a_cost_are_compared_and_no_others() -> None:
    line = (
        "BOOT_IMAGE=/vmlinuz root=UUID=1 irqchip.gicv3_pseudo_nmi=1 sdeictl.ab=X.1 init_on_alloc=1 password=x"
    )
    assert costly_part(f"{line} mitigations=off ssbd=force-off quiet") == (
        "init_on_alloc=1 mitigations=off quiet ssbd=force-off"
    )


def test_with_and_without_is_compared_and_said_in_a_sentence() -> None:
    comparison = compare([run_of(noisy(1e-7, 1))], [run_of(noisy(1.05e-7, 2), "on", "relaxed")])
    (found,) = comparison["effects"]
    assert found["differs"] is True
    assert "% slower in the second (95 % interval +" in found["sentence"]
    text = plain(render_comparison(comparison))
    assert "second: pseudo-NMI on (relaxed), 1 run" in text


@pytest.mark.parametrize("field", MUST_BE_SAME)
def test_runs_that_differ_in_anything_else_are_refused_by_name(field: str) -> None:
    ours, theirs = run_of(noisy(1e-7, 1)), run_of(noisy(1e-7, 2), "on", "relaxed", **{field: "another"})
    with pytest.raises(SdeictlError, match=f"They differ in {field}: the {field} and another") as refusal:
        compare([ours], [theirs])
    assert refusal.value.status is Status.UNKNOWN
    assert compare([ours], [theirs], [field])["ignored"] == [field]


def test_every_reason_is_listed() -> None:
    ours = run_of(noisy(1e-7, 1), "on", "relaxed")
    theirs = run_of(noisy(1e-7, 2), "on", "forced", kernel="another", midr="another")
    reasons = obstacles([ours], [theirs])
    assert [reason.split(":")[0] for reason in reasons] == [
        "They differ in kernel", "They differ in midr", "They differ in pmr_sync",
    ]  # fmt: skip


def test_many_runs_are_split_by_the_state_of_pseudo_nmi() -> None:
    runs = [run_of([1e-7], state) for state in ("off", "on", "off", "on")]
    first, second = split(runs)
    assert (first, second) == ([runs[0], runs[2]], [runs[1], runs[3]])
    alone = split(runs[::2] * 2)
    assert obstacles(*alone) == [
        "All of them ran in the same state of pseudo-NMI: there is nothing to compare them with."
    ]


def test_equal_runs_tell_whether_a_host_can_be_believed() -> None:
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
        b' [{"call": "x", "undisturbed": null, "samples": [0.0]}]}',
        b'{"schema": "sdeictl.bench/1", "conditions": [], "results": []}',
    ],
)  # fmt: skip
def test_a_file_that_is_no_run_is_told_so(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_bench(data)
    (tmp_path / "a").write_bytes(data)
    done = CliRunner().invoke(bench, ["compare", str(tmp_path / "a"), str(tmp_path / "a")])
    assert isinstance(done.exception, SdeictlError)
    assert done.exception.status is Status.UNKNOWN


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.data())
def test_a_run_with_junk_anywhere_is_compared_or_refused(data: st.DataObject) -> None:
    document = json.loads(json.dumps(run_of(noisy(1e-7, 1, count=40))))
    places = [(document, name) for name in document]
    places += [(document["results"][0], name) for name in document["results"][0]]
    places += [(document["conditions"], name) for name in document["conditions"]]
    holder, name = data.draw(st.sampled_from(places))
    holder[name] = data.draw(JUNK)
    with contextlib.suppress(ValueError, SdeictlError):
        parsed = parse_bench(json.dumps(document).encode())
        plain(render_comparison(compare([parsed], [run_of(noisy(1e-7, 2, count=40))])))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["compare", "a"], "two runs at least"),
        (["run", "--workload", "'"], "No closing quotation"),
        (["run", "--workload", " "], "it names no program"),
        (["run", "nonsense"], "no call nonsense"),
        (["run", "--seconds", "0"], "not in the range"),
        (["run", "--seconds", "nan"], "not a valid integer"),
        (["ab", "--workload", "/nonexistent/program"], "there is no program"),
        (["ab", "--initrd", "x"], "--initrd goes with --kernel"),
        (["compare", "--ignore", "nonsense", "a", "b"], "is not one of"),
        (["compare", "/nonexistent", "/nonexistent"], "does not exist"),
    ],
)
def test_nonsense_is_told_so(arguments: list[str], sentence: str) -> None:
    done = CliRunner().invoke(bench, arguments)
    assert sentence in done.output + str(done.exception)
    assert done.exit_code or done.exception


def test_bad_conditions_label_a_run() -> None:
    calm, busy = Surroundings(0.0, 0.0), Surroundings(3.0, 0.2)
    good = dict.fromkeys(MUST_BE_SAME) | {
        "pseudo_nmi": "on", "pmr_sync": "relaxed", "governor": "performance", "affinity": 2, "cpus_online": 2,
        "loop": "c",
    }  # fmt: skip
    assert labels(good, calm, calm) == []
    bad = good | {
        "pmr_sync": None, "governor": "schedutil", "affinity": 1, "loop": "python", "virtual": "yes",
        "audit": True, "seccomp": True, "debug_priority_masking": True,
    }  # fmt: skip
    assert len(labels(bad, busy, busy)) == 10
    assert len(labels(good | {"pseudo_nmi": None}, calm, calm)) == 1


def test_what_is_no_arm64_has_no_pseudo_nmi_and_the_unknown_is_unknown() -> None:
    assert pseudo_nmi_state(HostFacts(architecture="x86")) == "not-applicable"
    assert pseudo_nmi_state(HostFacts(architecture="arm64")) is None


@pytest.mark.parametrize(
    ("seconds", "words"), [(1.834e-7, "183.4 ns"), (3e-10, "0.3 ns"), (2.5e-5, "25.0 us"), (1.5, "1.5 s")]
)
def test_times_in_words(seconds: float, words: str) -> None:
    assert time_words(seconds) == words


def test_an_inherited_affinity_is_kept_to_and_given_back() -> None:
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


def test_a_sample_is_calibrated_to_about_a_millisecond() -> None:
    for cost in (1, 100, 30_000, 10_000_000):
        count = calibrate(lambda count, cost=cost: count * cost)  # type: ignore[misc]
        assert count == 1 or 400_000 <= count * cost <= 4_000_000


def test_without_a_compiler_a_loop_of_pythons_serves_and_says_so() -> None:
    loops = load_loops("/nonexistent")
    assert loops.kind == PYTHON
    assert set(loops.timers) == {"getppid", "gettid", "sched-yield", EMPTY}
    assert all(timer(100) > 0 for timer in loops.timers.values())


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library, compiled here: the tests need not be run from an installation that has it."""
    compiler = shutil.which("cc")
    if not compiler:
        if os.environ.get("CI"):
            pytest.fail("there is no C compiler")
        pytest.skip("there is no C compiler")
    target = tmp_path_factory.mktemp("loop") / "libbench.so"
    command = [
        compiler,
        "-O2",
        "-fPIC",
        "-fno-plt",
        "-shared",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-o",
        str(target),
    ]
    subprocess.run([*command, str(PROJECT / "sdeictl/bench/loop.c")], check=True)
    return target


def test_every_call_is_timed_by_the_library(compiled: Path) -> None:
    loops = load_loops(str(compiled))
    assert loops.kind == C
    assert set(loops.timers) == {EMPTY, *(call.name for call in CALLS)}
    for name, timer in loops.timers.items():
        short, long = (min(timer(count) for _ in range(5)) for count in (100, 2000))
        assert 0 < short < long, name


def test_a_call_that_fails_is_an_error_and_no_time(compiled: Path) -> None:
    script = (
        "import resource, sys; from sdeictl.bench.loop import load_loops; loops = load_loops(sys.argv[1]);"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0)); loops.timers[sys.argv[2]](10)"
    )
    for name in ("read-zero", "timer", "pipe"):
        done = subprocess.run(
            [sys.executable, "-c", script, compiled, name], capture_output=True, text=True, check=False
        )
        assert "OSError: [Errno 24] Too many open files" in done.stderr, done


def test_a_run_has_its_samples_its_conditions_and_its_text() -> None:
    document = run_bench(("getppid", "gettid"), 1.0, (), 0)
    assert parse_bench(json.dumps(document).encode()) == document
    validate("bench-1", document)
    assert [result["call"] for result in document["results"]] == ["getppid", "gettid"]
    assert set(MUST_BE_SAME) <= document["conditions"].keys()
    for result in document["results"]:
        assert result["min"] <= result["undisturbed"] <= statistics.median(result["samples"]) * 1.01
    text = plain(render_bench(document))
    assert "getppid" in text
    assert "the empty loop takes" in text
    comparison = compare([document], [document | {"id": "another"}])
    validate("bench-comparison-1", comparison)
    assert comparison["effects"][0]["differs"] is False


def test_equal_runs_are_judged_and_two_of_them_are_too_few() -> None:
    done = CliRunner().invoke(bench, ["aa", "--runs", "2", "--seconds", "1", "--format", "json"])
    assert done.exit_code == 0
    document = json.loads(done.stdout)
    validate("bench-aa-1", document)
    assert [(call["call"], call["pairs"], call["believable"]) for call in document["calls"]] == [
        ("getppid", 1, None)
    ]


def test_a_program_is_timed_and_one_that_fails_is_told_so() -> None:
    document = run_bench((), 1.0, ("true",), 6)
    (result,) = document["results"]
    assert len(result["samples"]) == 6
    assert result["ci95"] == pytest.approx([min(result["samples"]), max(result["samples"])], rel=1e-3)
    for words in (("false",), ("/nonexistent",)):
        with pytest.raises(SdeictlError, match=words[0]):
            run_bench((), 1.0, words, 6)


def test_the_library_of_this_installation_if_it_has_one_is_of_this_source(compiled: Path) -> None:
    installed = Path(LIBRARY)
    if not installed.exists():
        assert load_loops().kind == PYTHON
        return
    ours, theirs = (load_loops(str(path)).timers.keys() for path in (compiled, installed))
    assert list(itertools.chain(ours)) == list(itertools.chain(theirs))
