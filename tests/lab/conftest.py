"""The lab of a session, which `make lab` must have built, and the order and the workers of its tests."""

from __future__ import annotations

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from tests.lab.build import Lab
from tests.lab.deb import Package, build_deb

LONG = (
    "test_agent.py", "test_waves.py", "test_python.py", "test_crashes.py", "test_watchdog.py",
    "test_drill.py", "test_ladder.py",
)  # fmt: skip
"""They begin first, so that no long story is left when the others have ended."""
QUIET = "test_bench.py"
"""It ends last: the clock of its guest runs away while this machine is busy."""
SHARED = {"test_agent.py": "package", "test_deb.py": "package", "test_page.py": "browser"}
SHARED_BY_PARAMETER = ("test_hosts.py", "test_fleet.py")


class Spread(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """One worker runs the tests that share a guest, a server, a package or a browser, in their order.

    xdist 3.8 writes its own groups (--dist loadgroup) into `_nodeid` of an item. pytest 9.2 does not read it.
    """

    def _split_scope(self, nodeid: str) -> str:
        path, _, test = nodeid.partition("::")
        name = path.rpartition("/")[2]
        if name in SHARED_BY_PARAMETER and "[" in test:
            return name + test[test.index("[") :]
        return SHARED.get(name, nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Spread:
    return Spread(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order = {name: number for number, name in enumerate(LONG)} | {QUIET: len(LONG) + 1}
    items.sort(key=lambda item: order.get(item.path.name, len(LONG)))


@pytest.fixture(scope="session")
def lab() -> Lab:
    return Lab()


@pytest.fixture(scope="session")
def package(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Package:
    """The package of arm64; it takes a minute to build."""
    return build_deb(lab, "arm64", tmp_path_factory.mktemp("deb"))
