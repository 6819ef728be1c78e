"""The kernel's records in systemd's journal, as `journalctl -o json` prints them. No I/O.

systemd.journal-fields(7); src/journal/journald-kmsg.c.
"""

import json
from typing import Any

_FACILITY_KERNEL = "0"


def parse_journal(output: bytes) -> bytes:
    """Return the kernel's own records as `dmesg -r` would print them; other lines are left out.

    What the journal lost of them does not show: a missing line proves nothing.
    """
    return b"".join(filter(None, map(_parse_line, output.split(b"\n")[:-1])))


def _parse_line(line: bytes) -> bytes | None:
    try:
        fields: dict[str, Any] = json.loads(line)
        if fields["_TRANSPORT"] != "kernel" or fields["SYSLOG_FACILITY"] != _FACILITY_KERNEL:
            return None
        micros, priority = int(fields["_SOURCE_MONOTONIC_TIMESTAMP"]), int(fields["PRIORITY"])
        message = fields["MESSAGE"]
        # Bytes that are no text come as a list of numbers.
        text = bytes(message).decode("utf-8", "replace") if isinstance(message, list) else str(message)
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    # A record is one line, whatever it holds.
    text = text.replace("\n", "\\x0a").replace("\r", "\\x0d")
    return f"<{priority}>[{micros // 1_000_000:5d}.{micros % 1_000_000:06d}] {text}\n".encode()
