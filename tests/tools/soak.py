"""Long loops in parts: `make soak PART=name`. An interrupted part goes on with the step it was stopped in.

    python -m tests.tools.soak [PART...]    without a name: all parts

Each step is one run of pytest. When it ends, its figures are added to the tables in docs/soak.md, so that
they add up over runs: how many tests passed, and what the tests have counted (record_property with a number).
build/soak holds how many steps an interrupted part has done.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from xml.etree import ElementTree

from tests.conftest import PROJECT

PAGE = PROJECT / "docs" / "soak.md"
STATE = PROJECT / "build" / "soak"
FIGURES = "## Figures"
COUNTS = "## Counts"


class Step(NamedTuple):
    """One run of pytest."""

    arguments: str
    environment: Mapping[str, str] = {}

    def text(self) -> str:
        """Return the step as a shell takes it, below tests/."""
        return " ".join([*(f"{name}={value}" for name, value in self.environment.items()), self.arguments])


class Figures(NamedTuple):
    """What all runs of a step have given."""

    runs: int = 0
    passed: int = 0
    failed: int = 0


class Ended(NamedTuple):
    """What one run of a step has given."""

    figures: Figures
    counts: Mapping[str, int] = {}
    """By what was counted, such as `canaries planted`."""


def _examples(number: int, *files: str) -> list[Step]:
    return [Step(f"test_{file}.py", {"SDEICTL_EXAMPLES": str(number)}) for file in files]


def _lab(arguments: str, **environment: str) -> Step:
    """Return a step of the lab with the extra machines, two guests at once."""
    return Step(
        f"lab/{arguments} --numprocesses 2 --dist worksteal", {"SDEICTL_LAB_EXTRA": "1", **environment}
    )


PARTS: Mapping[str, Sequence[Step]] = {
    "parsers": [
        *_examples(20000, "analysis_properties", "monotone", "hostile", "vmcore", "bench", "ab"),
        *_examples(20000, "agent_counters", "agent_server"),
        *_examples(5000, "drill_logs"),
    ],
    "hosts": [_lab("test_hosts.py"), _lab("test_probe.py")],
    "wedge": [_lab("test_wedge.py")] * 3,
    # Five runs: 1,000 masked drills on dt-idle and 200 on acpi-idle.
    "idle": [
        _lab("test_drill.py -k control"),
        *[_lab("test_drill.py -k no_drill_loses", SDEICTL_ROUNDS="40")] * 5,
    ],
    "faults": [
        Step(f"test_{name}.py", {"SDEICTL_FAULTS": "all"})
        for name in ("faults", "faults_bench", "faults_agent")
    ],
    "fleet": [Step("lab/test_fleet.py", {"SDEICTL_LAB_EXTRA": "1"})],
    "faults-guest": [_lab("test_drill.py -k failing_call", SDEICTL_FAULTY_RUNS="400")],
    "canaries": [Step("test_canaries.py")],
    "watchdog": [_lab("test_watchdog.py", SDEICTL_ROUNDS="20")],
    "drill": [
        _lab("test_drill.py -k 'not control and not no_drill_loses and not failing_call'"),
        *[_lab("test_drill.py -k signal_at_any_step")] * 3,
    ],
    "ladder": [_lab("test_ladder.py -k each_rung"), _lab("test_ladder.py -k 'killed or power_cut'")],
    "bench": [_lab("test_bench.py")],
    "agent": [_lab("test_agent.py"), _lab("test_prometheus.py")],
}


def run_part(name: str) -> bool:
    """Run the steps of a part that are not done yet; tell whether all passed."""
    state = STATE / name
    done = int(state.read_text()) if state.exists() else 0
    good = True
    for number, step in enumerate(PARTS[name]):
        if number < done:
            continue
        print(
            f"soak: {name}, step {number + 1} of {len(PARTS[name])}: {step.text()}",
            file=sys.stderr,
            flush=True,
        )
        ended = run_step(step)
        page = add_figures(PAGE.read_text(), name, step, ended.figures)
        PAGE.write_text(add_counts(page, name, ended.counts))
        good = good and not ended.figures.failed
        state.parent.mkdir(parents=True, exist_ok=True)
        state.write_text(str(number + 1))
    state.unlink(missing_ok=True)
    return good


def run_step(step: Step) -> Ended:
    """Run pytest once; a run that ends without results has failed."""
    results = STATE / "results.xml"
    STATE.mkdir(parents=True, exist_ok=True)
    results.unlink(missing_ok=True)
    # Only this family has properties of tests.
    family = ["--override-ini", "junit_family=xunit1"]
    command = [sys.executable, "-m", "pytest", "-q", "--junitxml", str(results), *family]
    arguments = shlex.split(f"tests/{step.arguments}")
    status = subprocess.run(
        [*command, *arguments], cwd=PROJECT, env={**os.environ, **step.environment}, check=False
    )
    if not results.exists():
        return Ended(Figures(1, 0, 1))
    suite = ElementTree.parse(results).getroot().find("testsuite")
    assert suite is not None
    total, skipped = int(suite.attrib["tests"]), int(suite.attrib["skipped"])
    failed = int(suite.attrib["failures"]) + int(suite.attrib["errors"])
    figures = Figures(1, total - skipped - failed, max(failed, int(status.returncode != 0)))
    return Ended(figures, read_counts(suite))


def read_counts(suite: ElementTree.Element) -> dict[str, int]:
    """Return the sums of the numbers that tests have recorded as properties."""
    counts: Counter[str] = Counter()
    for each in suite.iterfind("testcase/properties/property"):
        if each.attrib["value"].isdecimal():
            counts[each.attrib["name"]] += int(each.attrib["value"])
    return counts


def add_figures(page: str, part: str, step: Step, new: Figures) -> str:
    """Return the page with the figures of one more run of a step."""
    return _add_row(page, FIGURES, f"| `{part}` | `{step.text()}` |", new)


def add_counts(page: str, part: str, counts: Mapping[str, int]) -> str:
    """Return the page with what the tests of one more run of a step have counted."""
    for name, number in sorted(counts.items()):
        page = _add_row(page, COUNTS, f"| `{part}` | {name} |", (number,))
    return page


def _add_row(page: str, heading: str, key: str, new: Sequence[int]) -> str:
    """Add numbers to the row of a table that begins with `key`; without one, add the row.

    The table is the last thing below its heading.
    """
    before, _, rest = page.partition(f"{heading}\n")
    table, next_heading, after = rest.partition("\n## ")
    lines = table.rstrip("\n").splitlines()
    numbers = [*new]
    for number, line in enumerate(lines):
        if line.startswith(key):
            old = map(int, re.findall(r"\d+", line[len(key) :]))
            lines[number] = _row(key, [*map(sum, zip(old, numbers))])
            break
    else:
        lines.append(_row(key, numbers))
    return f"{before}{heading}\n" + "\n".join(lines) + "\n" + next_heading + after


def _row(key: str, numbers: Sequence[int]) -> str:
    return f"{key} {' | '.join(map(str, numbers))} |"


def main() -> int:
    """Run the named parts, or all."""
    names = sys.argv[1:] or list(PARTS)
    if unknown := [name for name in names if name not in PARTS]:
        print(f"soak: no part {', '.join(unknown)}; the parts are {', '.join(PARTS)}", file=sys.stderr)
        return 2
    good = [run_part(name) for name in names]
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
