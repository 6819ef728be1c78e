"""Which kernels of Debian's archive the lab boots: each has a role, and takes the newest package that fits.

The archive moves on, so no release is named here but where a role is about it.
"""

from __future__ import annotations

import functools
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

SUITES = ("bullseye", "bookworm", "trixie", "trixie-backports", "unstable", "experimental")
NEWEST_SUITES = ("trixie-backports", "unstable", "experimental")
_ARCHITECTURE = "arm64"
_APT_HELPER = "/usr/lib/apt/apt-helper"
_FIELD = re.compile(r"^(Package|Version): (.+)$", re.MULTILINE)
_SPLIT_PARTS = ("linux-binary", "linux-base", "linux-modules")
"""From 6.19 on `linux-image` is empty: these three packages hold the kernel."""

Index = Mapping[str, Mapping[str, tuple[str, ...]]]
"""The versions of each package, by suite and by name."""


class ArchiveError(Exception):
    """No package of the archive fits a role; the message says which."""


class Role(NamedTuple):
    """What a kernel is in the lab for."""

    about: str
    suites: tuple[str, ...]
    """In the order in which they are asked: the first that has such a kernel gives it."""
    oldest: tuple[int, int]
    """The series that fit, from this one"""
    newest: tuple[int, int] = (999, 0)
    """to this one."""


class Choice(NamedTuple):
    """The packages that play a role today."""

    packages: tuple[str, ...]
    """As `apt-get download` takes them: NAME:ARCHITECTURE=VERSION, a source NAME=VERSION."""
    release: str
    """What the names of the packages end with: 7.3.4+deb13-arm64 of an image, 7.3 of a source."""
    origin: str
    """One sentence for people: package, version, suite."""


def long_term(*series: int) -> Role:
    """Return the role of a long-term series."""
    major, minor = series
    suites = ("bullseye", "bookworm", "trixie", *NEWEST_SUITES)
    return Role(f"the long-term series {major}.{minor}", suites, (major, minor), (major, minor))


WITH_SDEI_NMI = Role("the newest kernel with the SDEI NMI driver", NEWEST_SUITES, (7, 3))
BEFORE_SDEI_NMI = Role(
    "the newest kernel from before the SDEI NMI driver", (*NEWEST_SUITES, "trixie"), (6, 12), (7, 2)
)


def choose_source(role: Role, index: Index) -> Choice:
    """Return the newest source that plays a role; raise ArchiveError if there is none."""
    return _choose(role, index, "linux-source", "")


def choose_image(role: Role, flavour: str, index: Index) -> Choice:
    """Return the newest kernel image of a flavour, such as rt-arm64, that plays a role."""
    return _choose(role, index, "linux-image", flavour)


def _choose(role: Role, index: Index, prefix: str, flavour: str) -> Choice:
    suffix = f"-{flavour}" if flavour else ""
    name_of = re.compile(rf"{prefix}-((\d+)\.(\d+)(?:\.\d+)?(?:-\d+)?(?:\+deb\d+)?{re.escape(suffix)})")
    for suite in role.suites:
        packages = index.get(suite, {})
        found = [
            (version, match[1])
            for name, versions in packages.items()
            if (match := name_of.fullmatch(name))
            and role.oldest <= (int(match[2]), int(match[3])) <= role.newest
            for version in versions
        ]
        for version, release in sorted(found, key=lambda one: _in_order(one[0]), reverse=True):
            if names := _whole(prefix, release, version, packages):
                architecture = f":{_ARCHITECTURE}" if flavour else ""
                wanted = tuple(f"{name}{architecture}={version}" for name in names)
                return Choice(wanted, release, f"{prefix}-{release} {version} of {suite}")
    kind = f"{prefix} package" + (f" for {flavour}" if flavour else "")
    raise ArchiveError(f"The archive no longer has {role.about}: no {kind} fits in {', '.join(role.suites)}.")


def _whole(prefix: str, release: str, version: str, packages: Mapping[str, tuple[str, ...]]) -> list[str]:
    """Return the names of the packages that hold a kernel, or none if the archive lacks one of them."""
    if f"linux-binary-{release}" not in packages or prefix != "linux-image":
        return [f"{prefix}-{release}"]
    parts = [f"{part}-{release}" for part in _SPLIT_PARTS]
    return parts if all(version in packages.get(part, ()) for part in parts) else []


@functools.cmp_to_key
def _in_order(one: str, other: str) -> int:
    """Compare two versions as Debian does."""
    compare = ["dpkg", "--compare-versions", one, "lt", other]
    return -1 if subprocess.run(compare, check=False).returncode == 0 else int(one != other)


def read_index(apt_config: Path) -> Index:
    """Return the kernels that a private apt configuration knows; a suite without a list has none."""
    environment = os.environ | {"APT_CONFIG": str(apt_config), "LC_ALL": "C"}
    index: dict[str, dict[str, tuple[str, ...]]] = {}
    for suite, path in _lists(environment):
        text = subprocess.run(
            [_APT_HELPER, "cat-file", path], capture_output=True, text=True, check=True, env=environment
        ).stdout
        name = ""
        for field, value in _FIELD.findall(text):
            if field == "Package":
                name = value
            elif name.startswith("linux-"):
                packages = index.setdefault(suite, {})
                packages[name] = (*packages.get(name, ()), value)
    return index


def _lists(environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the suite and the file of each list of packages that apt has fetched."""
    form = "$(RELEASE) $(ARCHITECTURE) $(FILENAME)"
    targets = subprocess.run(
        ["apt-get", "indextargets", "--format", form, "Created-By: Packages"],
        capture_output=True, text=True, check=True, env=dict(environment),
    ).stdout  # fmt: skip
    for line in targets.splitlines():
        suite, architecture, path = line.split(maxsplit=2)
        if architecture == _ARCHITECTURE and Path(path).exists():
            yield suite, path
