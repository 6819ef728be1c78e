"""Fuzz one target: `python -m tests.fuzz TARGET SECONDS`, in seconds of CPU time."""

from __future__ import annotations

import sys

from tests.fuzz.harness import fuzz

if __name__ == "__main__":
    fuzz(sys.argv[1], float(sys.argv[2]))
