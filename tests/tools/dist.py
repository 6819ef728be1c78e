"""Build what a fleet's own index gets: an sdist, and of it a wheel for each architecture and for others.

    python -m tests.tools.dist [DIRECTORY]

A wheel serves every Python of its architecture; only the library of `sdeictl bench` is compiled (setup.py).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from sdeictl.host.files import write_aside
from tests.conftest import PROJECT

COMPILERS = {"aarch64": "aarch64-linux-gnu-gcc", "x86_64": "x86_64-linux-gnu-gcc"}
PACKAGES = {
    "aarch64-linux-gnu-gcc": "gcc-aarch64-linux-gnu", "x86_64-linux-gnu-gcc": "gcc-x86-64-linux-gnu",
}  # fmt: skip
LIBRARY = "sdeictl/bench/libbench.so"
NONE = "false"
"""A compiler that compiles nothing: the wheel for all architectures."""


class BuildError(Exception):
    """What the build printed."""


def build(kind: str, source: Path, directory: Path, environment: dict[str, str] | None = None) -> Path:
    """Build a `wheel` or an `sdist`, put it into a directory and return it; raise BuildError."""
    with tempfile.TemporaryDirectory() as empty:
        # Without isolation: this environment has what the project is built by (`dev` in pyproject.toml).
        words = [sys.executable, "-m", "build", "--no-isolation", f"--{kind}", "--outdir", empty]
        done = subprocess.run(
            [*words, str(source)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
            env=os.environ | (environment or {}),
        )  # fmt: skip
        if done.returncode:
            raise BuildError(done.stdout)
        (built,) = Path(empty).iterdir()
        directory.mkdir(parents=True, exist_ok=True)
        return Path(shutil.copy(built, directory))


def build_sdist(directory: Path) -> Path:
    """Return this checkout's sdist, put into a directory."""
    return build("sdist", PROJECT, directory)


def build_wheel(sdist: Path, directory: Path, machine: str | None) -> Path:
    """Return the wheel of an sdist for a machine, as uname calls it, or for all."""
    environment = {"CC": NONE}
    if machine:
        environment = {"CC": COMPILERS[machine], "_PYTHON_HOST_PLATFORM": f"linux-{machine}"}
    with tempfile.TemporaryDirectory() as base:
        subprocess.run(["tar", "-C", base, "-xf", str(sdist)], check=True)
        (source,) = Path(base).iterdir()
        wheel = build("wheel", source, directory, environment)
    if machine and not wheel.stem.endswith(machine):
        raise BuildError(f"{COMPILERS[machine]} is missing, or compiles nothing for {machine}")
    return wheel


def main() -> int:
    """Build all of them into the directory named on the command line, or into dist."""
    directory = Path((*sys.argv[1:], "dist")[0])
    missing = [f"{name} (Debian: {PACKAGES[name]})" for name in COMPILERS.values() if not shutil.which(name)]
    if missing:
        print(f"tests.tools.dist: nothing was built. Missing: {', '.join(missing)}", file=sys.stderr)
        return 1
    try:
        built = build_all()
    except BuildError as error:
        print(f"tests.tools.dist: {error}\nnothing was put into {directory}", file=sys.stderr)
        return 1
    directory.mkdir(parents=True, exist_ok=True)
    for name, data in built.items():
        write_aside(str(directory / name), data)
        print(directory / name)
    return 0


def build_all() -> dict[str, bytes]:
    """Return the content of each file by its name; raise BuildError."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        sdist = build_sdist(directory)
        wheels = [build_wheel(sdist, directory, machine) for machine in (*COMPILERS, None)]
        return {path.name: path.read_bytes() for path in (sdist, *wheels)}


if __name__ == "__main__":
    sys.exit(main())
