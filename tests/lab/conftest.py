"""One lab for the session; it must have been built (`make lab`)."""

from __future__ import annotations

import pytest

from tests.lab.build import Lab
from tests.lab.deb import Package, build_deb


@pytest.fixture(scope="session")
def lab() -> Lab:
    return Lab()


@pytest.fixture(scope="session")
def package(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Package:
    """The package of arm64; it takes a minute to build."""
    return build_deb(lab, "arm64", tmp_path_factory.mktemp("deb"))
