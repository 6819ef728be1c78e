"""Shared by all tests: the captured hosts, and goldens that one flag renews."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import hypothesis
import pytest
from jsonschema import Draft202012Validator

from tests.lab.machines import MACHINES
from tests.support import faults

# No test measures time: a busy machine makes any example slow.
hypothesis.settings.register_profile("sdeictl", deadline=None)
hypothesis.settings.load_profile("sdeictl")
pytest.register_assert_rewrite("tests.support.wedge_story")

TESTS = Path(__file__).resolve().parent
PROJECT = TESTS.parent


class CapturedHost(NamedTuple):
    """One directory of tests/hosts."""

    name: str
    root: Path
    console: bytes
    wedged: int | None
    """The CPU that the story wedged before it asked for backtraces."""
    function: str | None
    """The function it was wedged in."""


def installed_modules() -> set[str]:
    """Return what each package has below its directory of modules, but for what is compiled."""
    return {
        str(path.relative_to(base))
        for base, name in ((PROJECT, "sdeictl"), (PROJECT / "agent", "sdeictl_agent"))
        for path in (base / name).rglob("*")
        if path.suffix in (".py", ".json", ".typed")
    }


@cache
def _validator(name: str) -> Draft202012Validator:
    schema = json.loads((PROJECT / f"sdeictl/schemas/{name}.json").read_text())
    return Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)


def validate(name: str, document: Any) -> None:
    """Check a document against a schema: `drill-1`, `report-1`..."""
    _validator(name).validate(document)


def load_host(name: str) -> CapturedHost:
    directory = TESTS / "hosts" / name
    record = json.loads((directory / "record.json").read_text())
    console = (directory / "console.log").read_bytes()
    return CapturedHost(name, directory / "root", console, record["wedged"], record["function"])


HOST_NAMES = sorted(path.name for path in (TESTS / "hosts").iterdir())
NMI_PATHS = {machine.name: machine.nmi_path for machine in MACHINES.values()}


@pytest.fixture(params=HOST_NAMES)
def host(request: pytest.FixtureRequest) -> CapturedHost:
    return load_host(request.param)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-goldens", action="store_true", help="write tests/golden anew; review the diff")


class Golden:
    """Compares a document with its file in tests/golden."""

    def __init__(self, update: bool) -> None:
        self._update = update

    def check(self, name: str, document: Any) -> None:
        path = TESTS / "golden" / name
        text = document if isinstance(document, str) else json.dumps(document, indent=1) + "\n"
        if self._update:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        assert text == path.read_text(), f"{path} differs; --update-goldens if the change is meant"


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Golden:
    return Golden(request.config.getoption("--update-goldens"))


@pytest.fixture(scope="session")
def faults_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the library in which a call fails (tests/tools/faults.c)."""
    return faults.build_library(tmp_path_factory.mktemp("faults"))


@pytest.fixture(params=faults.SHIFTS)
def inject(
    request: pytest.FixtureRequest, faults_library: Path, tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> Iterator[faults.Inject]:  # fmt: skip
    """Return what runs a program once for each call, in a directory of the test."""
    injector = faults.Inject(faults_library, tmp_path, request.param)
    yield injector
    for name, number in sorted(injector.counts.items()):
        record_property(name, number)
