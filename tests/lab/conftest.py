"""One lab for the session; it must have been built (`make lab`)."""

from __future__ import annotations

import pytest

from tests.lab.build import Lab
from tests.lab.deb import Package, build_deb

LONG = (
    "test_agent.py", "test_waves.py", "test_python.py", "test_crashes.py", "test_watchdog.py",
    "test_drill.py", "test_ladder.py",
)  # fmt: skip
"""They begin first, so that no long story is left when the others have ended."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: LONG.index(item.path.name) if item.path.name in LONG else len(LONG))


@pytest.fixture(scope="session")
def lab() -> Lab:
    return Lab()


@pytest.fixture(scope="session")
def package(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Package:
    """The package of arm64; it takes a minute to build."""
    return build_deb(lab, "arm64", tmp_path_factory.mktemp("deb"))
