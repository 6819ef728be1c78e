"""CPU lists as the kernel prints them (%*pbl): `0-1,3`."""

import re

MAX_CPU = 65535
_RANGE = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?")


def parse_cpulist(text: str) -> tuple[int, ...]:
    """Return the CPUs of a list, sorted; () where the text is no CPU list."""
    cpus: set[int] = set()
    for part in text.strip().split(","):
        match = _RANGE.fullmatch(part)
        if not match or max(int(match[1]), int(match[2] or 0)) > MAX_CPU:
            return ()
        cpus.update(range(int(match[1]), int(match[2] or match[1]) + 1))
    return tuple(sorted(cpus))
