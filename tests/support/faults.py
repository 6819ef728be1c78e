"""A program of which each call of the C library fails once, and what holds for each of its ends."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]
SOURCE = PROJECT / "tests/tools/faults.c"
EVERY = os.environ.get("SDEICTL_FAULTS") == "all"
"""Each call fails with each of the five errors, and no call is left out: in `make soak PART=faults`."""
SHIFTS = range(5) if EVERY else range(1)
LOOKUPS = ("open64", "opendir", "readlink", "stat64", "lstat64")
"""What ENOENT fails in these cannot be told from a file that does not exist."""
STATUSES = (0, 1, 2, 3, 4)
TEMPORARY = (".new", ".tmp")

Run = Mapping[str, Any]


class Inject:
    """Runs a program once for each call. `counts` says how many failed by each error, and what came of it."""

    def __init__(self, library: Path, place: Path, shift: int) -> None:
        self._library = library
        self._place = place
        self._shift = shift
        self.counts: Counter[str] = Counter()

    def __call__(
        self,
        *command: str,
        first: Sequence[Sequence[str]] = (),
        then: Sequence[str] = (),
        most: int = 0,
        program: str = "sdeictl",
    ) -> Iterator[Run]:
        """Yield the run without a fault, and the others; with `most` about so many, but all in soak."""
        plan = {
            "place": str(self._place), "command": [program, *command], "first": [*first], "then": then,
            "shift": self._shift, "most": 0 if EVERY else most,
        }  # fmt: skip
        with subprocess.Popen(
            [sys.executable, "-m", "tests.support.fault_runner", json.dumps(plan)],
            stdout=subprocess.PIPE, text=True, cwd=PROJECT,
            env=os.environ | {"LD_PRELOAD": str(self._library)},
        ) as process:  # fmt: skip
            assert process.stdout
            for line in process.stdout:
                run = json.loads(line)
                yield run
                if run["failed"]:
                    self.counts[f"calls that failed with {run['error']}"] += 1
                    self.counts[f"runs with a failed call that ended with status {run['status']}"] += 1
        assert process.returncode == 0


def build_library(directory: Path) -> Path:
    """Return the library in which a call fails."""
    from tests.support.tools import tool  # noqa: PLC0415 - its imports need the fixtures of this module

    built = directory / "faults.so"
    subprocess.run([tool("cc"), "-O1", "-shared", "-fPIC", "-o", built, SOURCE, "-ldl"], check=True)
    return built


def is_lookup(run: Run) -> bool:
    """Tell whether a run could not know better: the call that failed looked for a file, by ENOENT."""
    return run["error"] == "ENOENT" and run["failed"] in LOOKUPS


def check_end(sound: Run, run: Run) -> None:
    """Assert that a run ended as a command may: with a status, a sentence, and no file that is not whole."""
    assert run["status"] in STATUSES, run
    if run["status"] != sound["status"] and not run["output"] and run["failed"] != "write":
        assert run["said"].strip(), run
    assert set(run["files"]) <= {*sound["files"], *sound["before"]}, run
    check_traces(run)


def check_traces(run: Run) -> None:
    """Assert that a run shows no traceback, and leaves no file that is not whole."""
    assert "Traceback" not in run["said"], run
    assert "internal error" not in run["said"], run
    assert not [name for name in run["files"] if name.endswith(TEMPORARY)], run
    for name, content in run["files"].items():
        if name.endswith(".json"):
            json.loads(content)
        if name.endswith(".gz"):
            gzip.decompress(content.encode("latin-1"))


def pairs_of(runs: Iterator[Run]) -> Iterator[tuple[Run, Run]]:
    """Yield the run without a fault, and each other one: at least one had a call that failed."""
    sound = next(runs)
    failed = 0
    for run in runs:
        failed += bool(run["failed"])
        yield sound, run
    assert failed > 0


def runs_of(runs: Iterator[Run]) -> Iterator[tuple[Run, Run]]:
    """Yield the run of a command without a fault, and each other one, whose end is checked."""
    for sound, run in pairs_of(runs):
        check_end(sound, run)
        yield sound, run
