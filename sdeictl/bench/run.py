"""One benchmark run on this host: measure, read the conditions, store the document."""

from __future__ import annotations

import os
import re
from collections.abc import Callable

from sdeictl.bench.conditions import read_conditions
from sdeictl.bench.document import (
    BENCH_SCHEMA,
    BenchDocument,
    CrossCheckDocument,
    encode,
    host_document,
    result_document,
    result_labels,
)
from sdeictl.bench.labels import ActivityWatch, condition_labels
from sdeictl.bench.loop import CALLS, DEFAULT_CALLS, EMPTY, Loops, load_loops
from sdeictl.bench.measure import Timing, measure, time_workload
from sdeictl.bench.words import LoopKind
from sdeictl.errors import SdeictlError, Status, did_you_mean, error_text
from sdeictl.host.files import write_whole
from sdeictl.host.live import LiveRoot
from sdeictl.host.paths import BENCH_RESULTS
from sdeictl.host.programs import output_of, run_program
from sdeictl.probe.drills import time_stamp

WORKLOAD = "workload"
"""The name of the program's result."""
WORKLOAD_SECONDS = 3600.0
"""Limit of one run of the program: one that hangs would keep an experiment in its boot for ever."""
EMPTY_SECONDS = 0.2
CROSS_ROUNDS = 3
CROSS_LOOPS = 1_000_000
_OPS = re.compile(rb"^\s*([\d,]+) ops/sec", re.MULTILINE)


def run_bench(timing: Timing) -> BenchDocument:
    """Time calls, a program, or both, on this host; return the document. Raises SdeictlError."""
    loops = load_loops()
    calls = tuple(dict.fromkeys(timing.calls)) or (() if timing.workload else DEFAULT_CALLS)
    check_calls(calls, loops)
    try:
        return _run(timing._replace(calls=calls), loops)
    except OSError as error:
        raise SdeictlError(f"the measurement failed: {error_text(error)}", Status.UNKNOWN) from error


def _run(timing: Timing, loops: Loops) -> BenchDocument:
    conditions = read_conditions(LiveRoot(), loops.kind)
    watch = ActivityWatch()
    before = watch.see()
    timers = {name: loops.timers[name] for name in timing.calls}
    samples = measure(timers, timing.seconds) if timers else {}
    empty = measure({EMPTY: loops.timers[EMPTY]}, EMPTY_SECONDS)[EMPTY]
    if timing.workload:
        samples[WORKLOAD] = time_workload(
            lambda: run_program(timing.workload, WORKLOAD_SECONDS), timing.rounds
        )
    cross = cross_check() if "getppid" in timing.calls else None
    after = watch.see()
    results = [result_document(name, found) for name, found in samples.items()]
    return {
        "schema": BENCH_SCHEMA,
        "id": f"{time_stamp()}-bench",
        "host": host_document(conditions),
        "workload": list(timing.workload) or None,
        "results": results,
        "empty_loop": min(empty),
        "cross_check": cross,
        "conditions": {
            **conditions,
            "load_before": before.load,
            "load_after": after.load,
            "steal": after.steal,
        },
        "labels": [*condition_labels(conditions, before, after), *result_labels(results)],
    }


def check_calls(calls: tuple[str, ...], loops: Loops) -> None:
    """Raise SdeictlError for a call that this installation cannot time."""
    missing = [name for name in calls if name not in loops.timers]
    known = {call.name for call in CALLS}
    for name in missing:
        if name not in known:
            hint = did_you_mean(name, sorted(known)) or "`sdeictl bench list` names the calls"
            raise SdeictlError(f"the call {name} does not exist; {hint}", Status.USAGE)
    if missing:
        without_compiler = loops.kind is LoopKind.PYTHON
        why = "sdeictl was installed without a C compiler" if without_compiler else "not on this architecture"
        raise SdeictlError(f"{', '.join(missing)} cannot be timed here: {why}", Status.UNKNOWN)


def cross_check() -> CrossCheckDocument | None:
    """Time getppid with `perf bench syscall basic`, the best of some rounds; None without perf."""
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


def store_bench(document: BenchDocument, directory: str = BENCH_RESULTS) -> str:
    """Store a document, readable by all; return its path. Raises OSError."""
    os.makedirs(directory, mode=0o755, exist_ok=True)
    path = os.path.join(directory, f"{document['id']}.json")
    write_whole(path, encode(document), 0o644)
    return path


def run_repeatedly(timing: Timing, runs: int, tell: Callable[[str], None]) -> list[BenchDocument]:
    """Return the documents of several equal runs, in order."""
    documents = []
    for run in range(runs):
        tell(f"run {run + 1} of {runs}")
        documents.append(run_bench(timing))
    return documents
