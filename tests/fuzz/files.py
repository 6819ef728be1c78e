"""Files on the disk, for readers that take a path."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from functools import cache


@cache
def directory() -> str:
    """Return a directory of this process, which goes with it."""
    path = tempfile.mkdtemp(prefix="sdeictl-fuzz-")
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


def written(data: bytes, name: str = "file") -> str:
    """Write a file anew, and return its path."""
    path = os.path.join(directory(), name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(data)
    return path
