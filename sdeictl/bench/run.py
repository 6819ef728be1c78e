"""One benchmark run: measured, with its conditions, as the document `sdeictl.bench/1`."""

import json
import os
import re
import statistics
from collections.abc import Callable, Iterable
from typing import Any

from sdeictl.bench.conditions import VARIABLE, Watch, labels, read_conditions
from sdeictl.bench.estimate import estimate, mad
from sdeictl.bench.loop import CALLS, DEFAULT_CALLS, EMPTY, PYTHON, Loops, load_loops
from sdeictl.bench.measure import measure, time_workload
from sdeictl.errors import SdeictlError, Status, error_text
from sdeictl.host.programs import output_of, run_program
from sdeictl.host.root import LiveRoot
from sdeictl.interlock.journal import time_stamp, write_whole

Json = dict[str, Any]
BENCH_SCHEMA = "sdeictl.bench/1"
DIRECTORY = "/var/lib/sdeictl/bench"
WORKLOAD = "workload"
EMPTY_SECONDS = 0.2
CROSS_ROUNDS = 3
CROSS_LOOPS = 1_000_000
DISTURBED = 1.2
"""Half of the samples took so much longer than an undisturbed one."""
_OPS = re.compile(rb"^\s*([\d,]+) ops/sec", re.MULTILINE)


def run_bench(calls: tuple[str, ...], seconds: float, workload: tuple[str, ...], rounds: int) -> Json:
    """Time calls, for so long each, or a program, so often; return the document."""
    loops = load_loops()
    calls = tuple(dict.fromkeys(calls)) or (() if workload else DEFAULT_CALLS)
    check_calls(calls, loops)
    try:
        conditions = read_conditions(LiveRoot(), loops.kind)
        watch = Watch()
        before = watch.see()
        samples = measure({name: loops.timers[name] for name in calls}, seconds) if calls else {}
        empty = measure({EMPTY: loops.timers[EMPTY]}, EMPTY_SECONDS)[EMPTY]
        if workload:
            samples[WORKLOAD] = time_workload(lambda: run_program(workload), rounds)
        cross = cross_check() if "getppid" in calls else None
    except OSError as error:
        raise SdeictlError(f"it could not be timed: {error_text(error)}", Status.UNKNOWN) from error
    after = watch.see()
    results = [result_json(name, found) for name, found in samples.items()]
    marks = [*labels(conditions, before, after), *_disturbed(results)]
    return {
        "schema": BENCH_SCHEMA,
        "id": f"{time_stamp()}-bench",
        "host": {name: conditions[name] for name in ("architecture", "kernel", "firmware", "model")},
        "workload": list(workload) or None,
        "results": results,
        "empty_loop": min(empty),
        "cross_check": cross,
        "conditions": conditions
        | {"load_before": before.load, "load_after": after.load, "steal": after.steal},
        "labels": marks,
    }


def check_calls(calls: tuple[str, ...], loops: Loops) -> None:
    """Raise SdeictlError for a call that cannot be timed here."""
    missing = [name for name in calls if name not in loops.timers]
    if missing:
        known = [call.name for call in CALLS]
        why = "sdeictl was installed without a C compiler" if loops.kind == PYTHON else "not on this machine"
        wrong = [name for name in missing if name not in known]
        if wrong:
            raise SdeictlError(f"no call {wrong[0]}: `sdeictl bench list` names them", Status.USAGE)
        raise SdeictlError(f"{', '.join(missing)} cannot be timed here: {why}", Status.UNKNOWN)


def result_json(name: str, samples: list[float]) -> Json:
    """Return what was measured of one call."""
    found = estimate(samples)
    return {
        "call": name,
        "unit": "seconds",
        "min": min(samples),
        "median": statistics.median(samples),
        "mad": mad(samples),
        "undisturbed": found.value if found else None,
        "ci95": [found.low, found.high] if found else None,
        "samples": [float(f"{sample:.5g}") for sample in samples],
    }


def _disturbed(results: Iterable[Json]) -> list[str]:
    return [
        f"{result['call']}: half of the samples took {result['median'] / result['undisturbed']:.1f} times"
        " an undisturbed one."
        for result in results
        if result["undisturbed"] and result["median"] > DISTURBED * result["undisturbed"]
    ]


def cross_check() -> Json | None:
    """Return what `perf bench syscall basic` makes of getppid, the best of a few; None without perf."""
    seconds = []
    for _round in range(CROSS_ROUNDS):
        try:
            output = output_of("perf", "bench", "syscall", "basic", "--loop", str(CROSS_LOOPS))
        except OSError:
            return None
        found = _OPS.search(output)
        if not found:
            return None
        seconds.append(1 / int(found[1].replace(b",", b"")))
    return {"tool": "perf bench syscall basic", "call": "getppid", "seconds": min(seconds)}


def store_bench(document: Json, directory: str = DIRECTORY) -> str:
    """Keep a document; return its path. Raises OSError."""
    os.makedirs(directory, mode=0o755, exist_ok=True)
    path = os.path.join(directory, f"{document['id']}.json")
    write_whole(path, encode(document), 0o644)
    return path


def encode(document: Json) -> bytes:
    """Return a document as it is kept: one line each, for the samples are many."""
    return json.dumps(document).encode() + b"\n"


def parse_bench(data: bytes) -> Json:
    """Return a run's document; raise ValueError, with a sentence, where it is none."""
    try:
        document: Json = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ValueError("it is no JSON, or only a part of it") from error
    try:
        if document["schema"] != BENCH_SCHEMA:
            raise ValueError(f"its schema is {document['schema']!r}, not {BENCH_SCHEMA!r}")
        states = [document["conditions"].get(name) for name in VARIABLE]
        texts = [state for state in states if state is not None] + document["labels"]
        for result in document["results"]:
            texts.append(result["call"])
            known = [result["undisturbed"]] if result["undisturbed"] is not None else []
            if not all(isinstance(value, float) and 0 < value < 1e6 for value in known + result["samples"]):
                raise ValueError(f"{result['call']} has samples that are no times")
        if not all(isinstance(text, str) for text in texts):
            raise TypeError
        calls = [result["call"] for result in document["results"]]
        if len(set(calls)) < len(calls):
            raise ValueError("it has a call twice")
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError("it is no result of sdeictl bench") from error
    return document


def run_each(number: int, once: Callable[[], Json], say: Callable[[str], None]) -> list[Json]:
    """Return the documents of so many runs, one after the other."""
    documents = []
    for turn in range(number):
        say(f"run {turn + 1} of {number}")
        documents.append(once())
    return documents
