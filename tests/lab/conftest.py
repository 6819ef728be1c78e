"""One lab for the session; it must have been built (`make lab`). How its tests are spread over workers."""

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
    """Tests that share a guest, a server, a package or a browser run in one worker, in their order.

    The groups of xdist 3.8 itself (--dist loadgroup) are none with pytest 9.2, which has another name for an
    item's `_nodeid`.
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
