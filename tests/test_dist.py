"""What a fleet's own index would get: an sdist with all that is built and installed, and three wheels."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from sdeictl import __version__
from tests.conftest import PROJECT, installed_modules
from tests.support.tools import run, tool
from tests.test_repository import MAN
from tests.tools.dist import COMPILERS, LIBRARY, build_sdist, build_wheel

EM = {"aarch64": 183, "x86_64": 62}
"""An ELF file's machine."""
SCHEMAS = (
    "import importlib.resources as r;"
    " print(*sorted(file.name for file in (r.files('sdeictl') / 'schemas').iterdir()))"
)
NOT_OF_A_PACKAGE = ("tests/", ".ci/", ".gitignore")


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_sdist(tmp_path_factory.mktemp("sdist"))


def test_sdist_is_git_without_tests(sdist: Path) -> None:
    base = f"sdeictl-{__version__}"
    assert sdist.name == f"{base}.tar.gz"
    with tarfile.open(sdist) as archive:
        names = {member.name.removeprefix(f"{base}/") for member in archive if not member.isdir()}
    kept = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=PROJECT, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    wanted = {name for name in kept if (PROJECT / name).exists() and not name.startswith(NOT_OF_A_PACKAGE)}
    made = {name for name in names if name.startswith("sdeictl.egg-info/")} | {"PKG-INFO", "setup.cfg"}
    assert names - made == wanted


@pytest.mark.parametrize("machine", [*COMPILERS, None])
def test_wheel_name_says_architecture(sdist: Path, tmp_path: Path, machine: str | None) -> None:
    if machine:
        tool(COMPILERS[machine])
    wheel = build_wheel(sdist, tmp_path, machine)
    assert wheel.name == f"sdeictl-{__version__}-py3-none-{f'linux_{machine}' if machine else 'any'}.whl"
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        library = archive.read(LIBRARY) if LIBRARY in names else None
    modules = installed_modules() | ({LIBRARY} if machine else set())
    assert {name for name in names if not name.startswith(f"sdeictl-{__version__}.")} == modules
    if machine:
        assert library
        assert (library[:4], int.from_bytes(library[18:20], "little")) == (b"\x7fELF", EM[machine])


def test_wheel_installs_in_empty_environment(sdist: Path, tmp_path: Path) -> None:
    python = tmp_path / "venv/bin/python"
    wheel = build_wheel(sdist, tmp_path, None)
    run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv")
    run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-compile", wheel)
    for page in MAN.iterdir():
        assert (tmp_path / f"venv/share/man/man{page.suffix[1:]}" / page.name).exists()
    (tmp_path / "elsewhere").mkdir()
    done = subprocess.run(
        [tmp_path / "venv/bin/sdeictl", "probe", "--root", PROJECT / "tests/hosts/dt-sdei/root"],
        cwd=tmp_path / "elsewhere", capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "READY  NMI path: sdei")
    done = subprocess.run([python, "-c", SCHEMAS], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split() == sorted(path.name for path in (PROJECT / "sdeictl/schemas").iterdir())
