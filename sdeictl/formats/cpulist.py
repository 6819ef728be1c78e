"""CPU lists in the kernel's format `0-1,3`, which printk prints by %*pbl. No I/O."""

from __future__ import annotations

import re
from functools import lru_cache

MAX_CPU = 4095
"""The largest CPU number that CONFIG_NR_CPUS of arm64 allows (arch/arm64/Kconfig)."""
_RANGE = r"(\d{1,4})(?:-(\d{1,4}))?"


_ALL = tuple(range(MAX_CPU + 1))


@lru_cache(maxsize=64)  # the same lists come again and again, and share their memory
def parse_cpulist(text: str) -> tuple[int, ...]:
    """Return the CPUs of a list in ascending order; () if the text is not such a list."""
    cpus: list[int] = []
    for part in text.strip().split(","):
        match = re.fullmatch(_RANGE, part, re.ASCII)
        if not match:
            return ()
        first, last = int(match[1]), int(match[2] or match[1])
        if last > MAX_CPU or last < first or (cpus and first <= cpus[-1]):
            return ()
        cpus += _ALL[first : last + 1]
    return tuple(cpus)
