"""One lab for the session; it must have been built (`make lab`)."""

import shutil
from collections.abc import Iterator

import pytest

from tests.lab.build import Lab


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    lab = Lab()
    yield lab
    shutil.rmtree(lab.site(), ignore_errors=True)
