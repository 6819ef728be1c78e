"""Which packages play the roles of the lab's kernels: the newest that is whole, or one sentence."""

from __future__ import annotations

import shutil

import pytest

from tests.lab.archive import (
    BEFORE_SDEI_NMI,
    WITH_SDEI_NMI,
    ArchiveError,
    Index,
    Role,
    choose_image,
    choose_source,
    long_term,
)
from tests.lab.recipes import PARTS_TABLE

pytestmark = pytest.mark.skipif(not shutil.which("dpkg"), reason="dpkg compares the versions")


def split(release: str, version: str) -> dict[str, tuple[str, ...]]:
    names = ("linux-image", "linux-binary", "linux-base", "linux-modules")
    return {f"{name}-{release}": (version,) for name in names}


TODAY: Index = {
    "bookworm": {"linux-image-6.1.0-47-arm64": ("6.1.170-3",), "linux-image-6.1.0-50-arm64": ("6.1.176-1",)},
    "trixie": {
        "linux-source-6.12": ("6.12.9-1", "6.12.117-1", "6.12.107-1"),
        "linux-image-6.12.107+deb13-arm64": ("6.12.107-1",),
        "linux-image-6.12.107+deb13-rt-arm64": ("6.12.107-1",),
        "linux-image-6.12.107+deb13-cloud-arm64": ("6.12.107-1",),
        "linux-image-6.12.107+deb13-arm64-dbg": ("6.12.107-1",),
    },
    "trixie-backports": {
        "linux-source-7.3": ("7.3.4-1~bpo13+1",),
        **split("7.2.9+deb13-arm64", "7.2.9-1~bpo13+1"),
        **split("7.3.4+deb13-arm64", "7.3.4-1~bpo13+1"),
        **split("7.3.4+deb13-arm64-16k", "7.3.4-1~bpo13+1"),
        **split("7.3.4+deb13-rt-arm64", "7.3.4-1~bpo13+1"),
    },
    "experimental": {"linux-source-7.4": ("7.4~rc1-1~exp1",), **split("7.4-arm64", "7.4~rc1-1~exp1")},
}


@pytest.mark.parametrize(
    ("role", "flavour", "release"),
    [
        (WITH_SDEI_NMI, "arm64", "7.3.4+deb13-arm64"),
        (WITH_SDEI_NMI, "arm64-16k", "7.3.4+deb13-arm64-16k"),
        (WITH_SDEI_NMI, "rt-arm64", "7.3.4+deb13-rt-arm64"),
        (BEFORE_SDEI_NMI, "arm64", "7.2.9+deb13-arm64"),
        (long_term(6, 12), "arm64", "6.12.107+deb13-arm64"),
        (long_term(6, 1), "arm64", "6.1.0-50-arm64"),
    ],
)
def test_newest_of_flavour(role: Role, flavour: str, release: str) -> None:
    choice = choose_image(role, flavour, TODAY)
    assert choice.release == release
    assert all(f"-{release}:arm64=" in package for package in choice.packages)
    assert release in choice.origin


def test_origin_names_package_version_and_suite() -> None:
    choice = choose_source(long_term(6, 12), TODAY)
    assert choice.packages == ("linux-source-6.12=6.12.117-1",)
    assert choice.origin == "linux-source-6.12 6.12.117-1 of trixie"


def test_archive_moves_on() -> None:
    later = {**TODAY, "trixie-backports": {}}
    assert choose_source(WITH_SDEI_NMI, later).origin == "linux-source-7.4 7.4~rc1-1~exp1 of experimental"
    assert choose_image(BEFORE_SDEI_NMI, "arm64", later).release == "6.12.107+deb13-arm64"


def test_package_without_its_modules_is_passed_over() -> None:
    """So it is with Debian's 6.19 to 7.1, of which the archive has kept half."""
    half = {**TODAY["trixie-backports"], **split("7.2.12+deb13-arm64", "7.2.12-1~bpo13+1")}
    del half["linux-modules-7.2.12+deb13-arm64"]
    choice = choose_image(BEFORE_SDEI_NMI, "arm64", {"trixie-backports": half})
    assert choice.release == "7.2.9+deb13-arm64"


def test_release_candidate_is_older_than_release() -> None:
    versions = {"linux-source-7.3": ("7.3~rc7-1~exp1", "7.3.1-1")}
    assert "7.3.1-1" in choose_source(WITH_SDEI_NMI, {"unstable": versions}).origin


def test_none_left_is_one_sentence() -> None:
    with pytest.raises(ArchiveError) as error:
        choose_image(long_term(5, 10), "arm64", TODAY)
    assert str(error.value) == (
        "The archive no longer has the long-term series 5.10: no linux-image package for arm64 fits in "
        "bullseye, bookworm, trixie, trixie-backports, unstable, experimental."
    )


def test_each_base_is_a_part() -> None:
    names = [part.name for part in PARTS_TABLE]
    bases = {part.kernel.base for part in PARTS_TABLE if part.kernel and part.kernel.base}
    assert bases <= set(names)
    assert len(names) == len(set(names))
