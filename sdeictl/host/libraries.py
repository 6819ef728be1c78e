"""Loads C libraries that may be missing."""

from __future__ import annotations

import ctypes
from functools import cache


@cache
def load_library(name: str) -> ctypes.CDLL | None:
    """Return a library by its file name; None if it is not installed."""
    try:
        return ctypes.CDLL(name)
    except OSError:
        return None
