"""How a service reports to systemd: sd_notify(3). No maintained library does only this."""

from __future__ import annotations

import contextlib
import os
import socket


def notify(*lines: str) -> None:
    """Send lines such as `READY=1`, `WATCHDOG=1` or `STOPPING=1`. Without systemd nothing happens."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    if address.startswith("@"):
        address = f"\0{address[1:]}"
    # If systemd does not listen any more, or no descriptor is left, the service is not at fault.
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel,
    ):
        channel.connect(address)
        channel.sendall("\n".join(lines).encode())


def watchdog_seconds() -> float | None:
    """Return how often this process should send `WATCHDOG=1`: half of systemd's limit, in seconds.

    Return None if systemd sets no limit for this process.
    """
    limit, pid = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", "")
    if not limit.isdecimal() or not int(limit) or (pid and pid != str(os.getpid())):
        return None
    return int(limit) / 2e6
