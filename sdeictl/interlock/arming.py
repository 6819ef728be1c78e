"""`sdeictl drill arm`: for a while, on this boot, one drill that can cost the host may run."""

import contextlib
import json
import os
import time

from sdeictl.interlock.journal import STATE_DIRECTORY, write_whole

_ARMING = "armed"
MAX_SECONDS = 3600.0


def arm(seconds: float, boot_id: str, directory: str = STATE_DIRECTORY) -> None:
    """Note until when a drill may run, on disk; raise OSError if it is not there for sure.

    By the clock that counts from the boot: nobody sets that one, and it goes on in suspend.
    """
    os.makedirs(directory, mode=0o755, exist_ok=True)
    document = {"boot_id": boot_id, "until": _now() + seconds}
    write_whole(os.path.join(directory, _ARMING), json.dumps(document).encode() + b"\n", 0o644)


def armed_seconds(boot_id: str, directory: str = STATE_DIRECTORY) -> float | None:
    """Return for how long a drill may still begin; None if it may not."""
    try:
        with open(os.path.join(directory, _ARMING), "rb") as file:
            document = json.loads(file.read())
        left = float(document["until"]) - _now()
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return left if document["boot_id"] == boot_id and 0 < left <= MAX_SECONDS else None


def disarm(directory: str = STATE_DIRECTORY) -> None:
    """Take the arming back: it is for one drill."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(os.path.join(directory, _ARMING))


def _now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)
