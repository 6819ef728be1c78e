"""The kernel's records in the systemd journal, in the format of `journalctl -o json`. No I/O.

systemd.journal-fields(7); src/journal/journald-kmsg.c.
"""

from __future__ import annotations

import json

_KERNEL_FACILITY = "0"


def parse_journal(output: bytes) -> bytes:
    """Return the records that the kernel itself logged, in the format of `dmesg -r`.

    The journal does not show which records it lost, so a missing line proves nothing.
    """
    return b"".join(filter(None, map(_parse_entry, output.split(b"\n")[:-1])))


def _parse_entry(line: bytes) -> bytes | None:
    try:
        fields = json.loads(line)
        if fields["_TRANSPORT"] != "kernel" or fields["SYSLOG_FACILITY"] != _KERNEL_FACILITY:
            return None
        micros, priority = int(fields["_SOURCE_MONOTONIC_TIMESTAMP"]), int(fields["PRIORITY"])
        message = fields["MESSAGE"]
        # journalctl prints a message that is not valid UTF-8 as a list of bytes.
        text = bytes(message).decode("utf-8", "replace") if isinstance(message, list) else str(message)
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    # A line feed in a message must not begin another record.
    text = text.replace("\n", "\\x0a").replace("\r", "\\x0d")
    return f"<{priority}>[{micros // 1_000_000:5d}.{micros % 1_000_000:06d}] {text}\n".encode()
