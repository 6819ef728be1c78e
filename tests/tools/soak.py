"""Long loops in parts: `make soak PART=name`. An interrupted part goes on with the step it was stopped in.

    python -m tests.tools.soak [PART...]    without a name: all parts

Each step is one run of pytest, or one of the fuzzer on one target. When it ends, its figures are added to the
tables in docs/soak.md, so that they add up over runs: how many tests passed, what the tests have counted
(record_property with a number), and what the fuzzer did. build/soak holds how many steps an interrupted part
has done.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, TypeVar
from xml.etree import ElementTree

from tests.conftest import PROJECT
from tests.fuzz.harness import FINDING, WORK, target_names

PAGE = PROJECT / "docs" / "soak.md"
STATE = PROJECT / "build" / "soak"
HEADING = "## Figures"
COUNTS = "## Counts"
FUZZ_HEADING = "## Fuzzing"
FUZZ_SECONDS = int(os.environ.get("SDEICTL_FUZZ_SECONDS", "600"))
"""CPU time for each target."""
INTERRUPTED = 72
"""The exit status of libFuzzer after a signal."""
NO_FUZZER = (
    "soak: the part fuzz needs atheris, which has packages for Python 3.11 to 3.13 on x86-64 only. There, run"
    " `make clean` and then `make soak PART=fuzz PYTHON=python3.11`."
)


class Figures(NamedTuple):
    """What all runs of a step have given."""

    runs: int = 0
    passed: int = 0
    failed: int = 0

    def plus(self, new: Figures) -> Figures:
        """Return the figures with those of further runs."""
        return Figures(*map(sum, zip(self, new)))


class Count(NamedTuple):
    """What the tests of all runs have counted under one name."""

    number: int = 0

    def plus(self, new: Count) -> Count:
        """Return the sum."""
        return Count(self.number + new.number)


class FuzzFigures(NamedTuple):
    """What all runs of the fuzzer on a target have given."""

    runs: int = 0
    seconds: int = 0
    """Of CPU time."""
    executions: int = 0
    edges: int = 0
    """How many edges of the code the best run has reached, of sdeictl and of what parses for it."""
    features: int = 0
    """How many features of them, as libFuzzer counts: an edge that is taken more often is another feature."""
    findings: int = 0
    """How many kinds of failure each run has met."""

    def plus(self, new: FuzzFigures) -> FuzzFigures:
        """Return the figures with those of further runs."""
        total = FuzzFigures(*map(sum, zip(self, new)))
        return total._replace(edges=max(self.edges, new.edges), features=max(self.features, new.features))


class Step(NamedTuple):
    """One run of pytest."""

    arguments: str
    environment: Mapping[str, str] = {}

    def text(self) -> str:
        """Return the step as a shell takes it, below tests/."""
        return " ".join([*(f"{name}={value}" for name, value in self.environment.items()), self.arguments])


class Fuzz(NamedTuple):
    """One run of the fuzzer."""

    target: str

    def text(self) -> str:
        """Return the name of the target."""
        return self.target


class Ended(NamedTuple):
    """What one run of a step has given."""

    figures: Figures
    counts: Mapping[str, int] = {}
    """By what was counted, such as `canaries planted`."""


def _examples(number: int, *files: str) -> list[Step]:
    return [Step(f"test_{file}.py", {"SDEICTL_EXAMPLES": str(number)}) for file in files]


def _lab(arguments: str, *, guests: int = 2, **environment: str) -> Step:
    """Return a step of the lab with the extra machines, with so many guests at once."""
    return Step(
        f"lab/{arguments} --numprocesses {guests} --dist worksteal",
        {"SDEICTL_LAB_EXTRA": "1", **environment},
    )


def _every(distance: int, starts: Iterable[int]) -> str:
    """Return for each guest which calls fail in it: from a first one on, each at this distance."""
    return ",".join(f"{first}/{distance}" for first in starts)


PARTS: Mapping[str, Sequence[Step | Fuzz]] = {
    "parsers": [
        *_examples(20000, "analysis_properties", "monotone", "hostile", "vmcore", "bench", "ab"),
        *_examples(20000, "agent_counters", "agent_server"),
        *_examples(5000, "drill_logs"),
    ],
    "fuzz": [Fuzz(name) for name in target_names()],
    "hosts": [_lab("test_hosts.py"), _lab("test_probe.py")],
    "wedge": [_lab("test_wedge.py")] * 3,
    # Five runs: 1,000 masked drills on dt-idle and 200 on acpi-idle.
    "idle": [
        _lab("test_drill.py -k control"),
        *[_lab("test_drill.py -k no_drill_loses", SDEICTL_ROUNDS="40")] * 5,
    ],
    "faults": [
        Step(f"test_{name}.py --numprocesses 2 --dist worksteal", {"SDEICTL_FAULTS": "all"})
        for name in ("faults", "faults_bench", "faults_agent")
    ],
    "fleet": [Step("lab/test_fleet.py", {"SDEICTL_LAB_EXTRA": "1"})],
    "ansible": [Step(f"lab/test_{name}.py", {"SDEICTL_LAB_EXTRA": "1"}) for name in ("ansible", "waves")],
    "postmortem": [_lab("test_crashes.py")],
    # First the calls with which a drill acts. Then all calls: a drill reads its host before it acts.
    "faults-guest": [
        _lab("test_drill.py -k failing_call", guests=4, SDEICTL_FAULTY_CALLS=calls)
        for calls in (
            *(_every(20, range(first, first + 20, 5)) for first in range(-500, -495)),
            *(_every(80, range(first, first + 80, 20)) for first in range(20)),
        )
    ],
    "canaries": [Step("test_canaries.py")],
    "watchdog": [_lab("test_watchdog.py", SDEICTL_ROUNDS="20")],
    "drill": [
        _lab("test_drill.py -k 'not control and not no_drill_loses and not failing_call'"),
        *[_lab("test_drill.py -k signal_at_any_step")] * 3,
    ],
    "ladder": [_lab("test_ladder.py -k each_rung"), _lab("test_ladder.py -k 'killed or power_cut'")],
    "bench": [_lab("test_bench.py")],
    "agent": [_lab("test_agent.py"), _lab("test_prometheus.py"), _lab("test_upgrade.py")],
}


def run_part(name: str) -> bool:
    """Run the steps of a part that are not done yet; tell whether all passed."""
    if any(isinstance(step, Fuzz) for step in PARTS[name]) and not install_fuzzer():
        print(NO_FUZZER, file=sys.stderr)
        return False
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
        good = _run_and_add(name, step) and good
        state.parent.mkdir(parents=True, exist_ok=True)
        state.write_text(str(number + 1))
    state.unlink(missing_ok=True)
    return good


def _run_and_add(part: str, step: Step | Fuzz) -> bool:
    """Run a step and add its figures to the page; tell whether it passed."""
    page = PAGE.read_text()
    if isinstance(step, Fuzz):
        found = run_fuzz(step)
        PAGE.write_text(add_figures(page, FUZZ_HEADING, f"`{step.target}`", found))
        return not found.findings
    figures, counts = run_step(step)
    page = add_figures(page, HEADING, f"`{part}` | `{step.text()}`", figures)
    for what, number in sorted(counts.items()):
        page = add_figures(page, COUNTS, f"`{part}` | {what}", Count(number))
    PAGE.write_text(page)
    return not figures.failed


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


def install_fuzzer() -> bool:
    """Install atheris, unless it is there; tell whether it is there now."""
    if importlib.util.find_spec("atheris") is None:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--editable", ".[fuzz]"]
        subprocess.run(command, cwd=PROJECT, check=False)
        importlib.invalidate_caches()
    return importlib.util.find_spec("atheris") is not None


def run_fuzz(step: Fuzz) -> FuzzFigures:
    """Run the fuzzer on a target. If it ends by itself, a crash, a time-out or its memory ended it.

    Raises KeyboardInterrupt if a signal did.
    """
    command = [sys.executable, "-m", "tests.fuzz", step.target, str(FUZZ_SECONDS)]
    log = WORK / step.target / "log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        status = subprocess.run(command, cwd=PROJECT, stdout=output, stderr=output, check=False).returncode
    if status in (INTERRUPTED, -signal.SIGKILL):
        raise KeyboardInterrupt(f"the fuzzer of {step.target} was interrupted")
    figures = parse_fuzz_log(log.read_text(errors="replace"))
    if status:
        print(f"soak: the fuzzer ended with {status}, see {log}", file=sys.stderr)
    return figures._replace(seconds=FUZZ_SECONDS, findings=figures.findings + int(status != 0))


def parse_fuzz_log(text: str) -> FuzzFigures:
    """Return the figures in what the fuzzer printed; a run without them gives 0."""
    last = {
        name: int(value) for name, value in re.findall(r"\b(cov|ft|number_of_executed_units): (\d+)", text)
    }
    findings = re.findall(f"^{re.escape(FINDING)}.*", text, re.MULTILINE)
    for line in findings:
        print(f"soak: {line}", file=sys.stderr)
    return FuzzFigures(
        1, 0, last.get("number_of_executed_units", 0), last.get("cov", 0), last.get("ft", 0), len(findings)
    )


AnyFigures = TypeVar("AnyFigures", Figures, Count, FuzzFigures)


def add_figures(page: str, heading: str, label: str, new: AnyFigures) -> str:
    """Return the page with the figures of one more run: a row of the table below a heading."""
    before, _, rest = page.partition(heading)
    table, more, after = rest.partition("\n## ")
    lines = table.rstrip("\n").split("\n")
    begins = f"| {label} | "
    for number, line in enumerate(lines):
        if line.startswith(begins):
            old = type(new)(*map(int, line[len(begins) :].strip(" |").split(" | ")))
            lines[number] = _row(begins, old.plus(new))
            break
    else:
        lines.append(_row(begins, new))
    return before + heading + "\n".join(lines) + "\n" + more + after


def _row(begins: str, figures: Sequence[int]) -> str:
    return f"{begins}{' | '.join(map(str, figures))} |"


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
