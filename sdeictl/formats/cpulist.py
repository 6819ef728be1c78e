"""CPU lists as the kernel prints them (%*pbl): `0-1,3`."""

import re

MAX_CPU = 4095
"""The largest number that CONFIG_NR_CPUS of arm64 allows."""
_RANGE = re.compile(r"(\d{1,4})(?:-(\d{1,4}))?", re.ASCII)


def parse_cpulist(text: str) -> tuple[int, ...]:
    """Return the CPUs of a list, ascending as the kernel prints them; () where the text is no such list."""
    cpus: list[int] = []
    for part in text.strip().split(","):
        match = _RANGE.fullmatch(part)
        if not match:
            return ()
        first, last = int(match[1]), int(match[2] or match[1])
        if last > MAX_CPU or last < first or (cpus and first <= cpus[-1]):
            return ()
        cpus += range(first, last + 1)
    return tuple(cpus)
