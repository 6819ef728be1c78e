"""One lab for the session; it must have been built (`make lab`)."""

from __future__ import annotations

import pytest

from tests.lab.build import Lab


@pytest.fixture(scope="session")
def lab() -> Lab:
    return Lab()
