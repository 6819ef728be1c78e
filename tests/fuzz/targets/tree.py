"""A directory tree of a captured host with links in it: nothing outside the tree is read."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

from sdeictl.host.directory import DirectoryRoot
from tests.fuzz.files import directory, written
from tests.fuzz.harness import Target
from tests.fuzz.shapes import Dice

NAMES = ("proc", "sys", "a", "b")
TARGETS = (
    "..",
    "/",
    ".",
    "a",
    "../..",
    "/proc/../b",
    "../../../outside",
    "b/c",
    "/sys",
    "",
    "a/../..",
    "//a",
)
OUTSIDE = b"a secret"
INSIDE = b"a file"


def seeds() -> Iterator[bytes]:
    yield b"\0\0\1\1\2\2\3\6"
    yield from (bytes([0, number, 2, 1, 3, 3]) for number in range(len(TARGETS)))


def check(data: bytes) -> None:
    """An input is a list of links: where each is, and its target."""
    dice = Dice(data)
    tree = os.path.join(directory(), "tree")
    shutil.rmtree(tree, ignore_errors=True)
    written(OUTSIDE, "outside")
    written(INSIDE, "tree/sys/c")
    for _link in range(6):
        place = os.path.join(tree, dice.pick(NAMES))
        target = dice.pick(TARGETS)
        if dice and target and not os.path.lexists(place):
            os.symlink(target, place)
    root = DirectoryRoot(tree)
    for path in (
        "/proc/c",
        "/sys/c",
        "/a",
        "/a/outside",
        "/b/../outside",
        "/a/b/c",
        "/proc/a/b/../c",
        "/../outside",
    ):
        try:
            assert root.read(path) == INSIDE
        except OSError as error:
            assert error.errno
        try:
            assert "outside" not in root.names(path)
        except OSError as error:
            assert error.errno


TARGET = Target(check, seeds, (DirectoryRoot.read,), (), 16)
