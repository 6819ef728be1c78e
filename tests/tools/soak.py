"""Long loops in parts: `make soak PART=name`. An interrupted part goes on with the step it was stopped in.

    python -m tests.tools.soak [PART...]    without a name: all parts

Each step is one run of pytest. When it ends, its figures are added to the table in docs/soak.md, so that they
add up over runs. build/soak holds how many steps an interrupted part has done.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from xml.etree import ElementTree

from tests.conftest import PROJECT

PAGE = PROJECT / "docs" / "soak.md"
STATE = PROJECT / "build" / "soak"
HEADING = "## Figures"
_ROW = re.compile(
    r"\| `(?P<part>[\w-]+)` \| `(?P<step>[^`]+)` \| (?P<runs>\d+) \| (?P<passed>\d+) \| (?P<failed>\d+) \|$"
)


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
        Step("test_faults.py", {"SDEICTL_FAULTS": "all"}),
        _lab("test_drill.py -k failing_call", SDEICTL_FAULTY_RUNS="400"),
    ],
    "fleet": [Step("lab/test_fleet.py", {"SDEICTL_LAB_EXTRA": "1"})],
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
        figures = run_step(step)
        PAGE.write_text(add_figures(PAGE.read_text(), name, step, figures))
        good = good and not figures.failed
        state.parent.mkdir(parents=True, exist_ok=True)
        state.write_text(str(number + 1))
    state.unlink(missing_ok=True)
    return good


def run_step(step: Step) -> Figures:
    """Run pytest once; a run that ends without results has failed."""
    results = STATE / "results.xml"
    STATE.mkdir(parents=True, exist_ok=True)
    results.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", "-q", "--junitxml", str(results)]
    arguments = shlex.split(f"tests/{step.arguments}")
    status = subprocess.run(
        [*command, *arguments], cwd=PROJECT, env={**os.environ, **step.environment}, check=False
    )
    if not results.exists():
        return Figures(1, 0, 1)
    suite = ElementTree.parse(results).getroot().find("testsuite")
    assert suite is not None
    total, skipped = int(suite.attrib["tests"]), int(suite.attrib["skipped"])
    failed = int(suite.attrib["failures"]) + int(suite.attrib["errors"])
    return Figures(1, total - skipped - failed, max(failed, int(status.returncode != 0)))


def add_figures(page: str, part: str, step: Step, new: Figures) -> str:
    """Return the page with the figures of one more run of a step."""
    before, _, table = page.partition(HEADING)
    lines = table.splitlines()
    for number, line in enumerate(lines):
        row = _ROW.match(line)
        if row and (row["part"], row["step"]) == (part, step.text()):
            old = Figures(int(row["runs"]), int(row["passed"]), int(row["failed"]))
            lines[number] = _row(part, step, Figures(*map(sum, zip(old, new))))
            break
    else:
        lines.append(_row(part, step, new))
    return before + HEADING + "\n".join(lines) + "\n"


def _row(part: str, step: Step, figures: Figures) -> str:
    return f"| `{part}` | `{step.text()}` | {' | '.join(map(str, figures))} |"


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
