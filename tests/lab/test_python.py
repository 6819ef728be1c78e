"""The tests of behaviour on the Python of other Debians: 3.9 is the oldest, trixie's the newest.

Three kinds of tests run in `make test` alone. Linters depend on the tools, not on the Python. The tests in
which calls of the C library fail, and the tests of large logs, run the code of other tests many times.
A property takes fewer examples here: a Python that differs shows it in the first ones.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.lab.build import PROJECT, Lab
from tests.lab.deb import run_in

ELSEWHERE = (
    "test_repository.py", "test_imports.py", "test_dist.py",
    "test_faults.py", "test_faults_agent.py", "test_faults_bench.py", "test_hostile_logs.py",
)  # fmt: skip
TESTS = f"""
ip link set lo up
mkdir -p /dev/pts
mount -t devpts -o newinstance,ptmxmode=0666 devpts /dev/pts
ln -sf pts/ptmx /dev/ptmx
cd /build/sdeictl
export SDEICTL_EXAMPLES=20
/venv/bin/python -c 'import sys; print("Python", sys.version)'
/venv/bin/pip install --quiet --no-index --no-build-isolation --no-deps --editable .
/venv/bin/pytest tests --ignore=tests/lab {" ".join(f"--ignore=tests/{name}" for name in ELSEWHERE)} \\
    --numprocesses 2 --quiet -p no:cacheprovider
"""


def copy_checkout(target: Path) -> None:
    """Copy what git keeps of this checkout, or would keep."""
    target.mkdir(parents=True)
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=PROJECT, check=True, capture_output=True,
    ).stdout  # fmt: skip
    names = [name for name in listed.decode().split("\0") if name and os.path.lexists(PROJECT / name)]
    subprocess.run(
        ["tar", "-cf", "-", "--null", "--files-from=-"], cwd=PROJECT, check=True,
        input="\0".join(names).encode(), stdout=(target / "checkout.tar").open("wb"),
    )  # fmt: skip
    subprocess.run(["tar", "-C", str(target), "-xf", str(target / "checkout.tar")], check=True)
    (target / "checkout.tar").unlink()


@pytest.mark.parametrize(("suite", "version"), [("bullseye", "Python 3.9."), ("trixie", "Python 3.13.")])
def test_behaviour_on_python(lab: Lab, suite: str, version: str) -> None:
    with tempfile.TemporaryDirectory(prefix="python-", dir=lab.cache) as root:
        subprocess.run(["tar", "-C", root, "-xf", lab.part(suite) / "root.tar"], check=True)
        copy_checkout(Path(root, "build/sdeictl"))
        said = run_in(root, TESTS)
    assert version in said
    assert " passed" in said
    assert " failed" not in said
