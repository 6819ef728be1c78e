"""Arming: allows one drill that can cost the host, in this boot and for a limited time (`drill arm`)."""

from __future__ import annotations

import contextlib
import json
import os
import time

from sdeictl.host.files import read_file, write_whole
from sdeictl.host.json_text import parse_json
from sdeictl.host.paths import DRILL_RESULTS

_ARMING = "armed"
MAX_SECONDS = 3600.0
"""The longest time for which a host can be armed."""


def arm(seconds: float, boot_id: str, directory: str = DRILL_RESULTS) -> None:
    """Allow one drill to begin in this boot within some seconds.

    Raises OSError if that cannot be stored; then the host is not armed.
    """
    document = {"boot_id": boot_id, "until": _now() + seconds}
    try:
        os.makedirs(directory, mode=0o755, exist_ok=True)
        write_whole(os.path.join(directory, _ARMING), json.dumps(document).encode() + b"\n", 0o644)
    except OSError:
        with contextlib.suppress(OSError):
            disarm(directory)
        raise


def armed_seconds(boot_id: str, directory: str = DRILL_RESULTS) -> float | None:
    """Return for how many more seconds a drill may begin; None if the host is not armed."""
    try:
        document = parse_json(read_file(os.path.join(directory, _ARMING)))
    except (OSError, ValueError):
        return None
    if not isinstance(document, dict) or document.get("boot_id") != boot_id:
        return None
    until = document.get("until")
    left = until - _now() if isinstance(until, (int, float)) and not isinstance(until, bool) else 0.0
    return left if 0 < left <= MAX_SECONDS else None


def disarm(directory: str = DRILL_RESULTS) -> None:
    """End the arming, also because a drill has begun: an arming allows only one."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(os.path.join(directory, _ARMING))


def _now() -> float:
    # This clock counts from the boot, also in suspend, and settimeofday(2) does not change it.
    return time.clock_gettime(time.CLOCK_BOOTTIME)
