"""The watcher: follows the kernel log and the hotplug of CPUs and platform devices, and writes watch.json.

It needs to read /dev/kmsg, which takes CAP_SYSLOG where kernel.dmesg_restrict is set. It writes two files in
a directory of its own: watch.json, and probe.request, for which sdeictl-collect.path starts the collector.
"""

from __future__ import annotations

import errno
import os
import selectors
import signal
import sys
import time
from collections.abc import Callable, Iterable
from itertools import islice
from typing import NoReturn, Protocol

import click
import pyudev

from sdeictl import __version__
from sdeictl.errors import Status, error_text
from sdeictl.host.files import write_whole
from sdeictl.host.kmsg import kmsg_records, open_kmsg
from sdeictl.host.paths import BOOT_ID, WATCH_DIRECTORY, WATCH_FILE
from sdeictl_agent.counters import LogCounter
from sdeictl_agent.notify import notify, watchdog_seconds
from sdeictl_agent.trust import UntrustedError, read_trusted, trusted_users
from sdeictl_agent.watch_file import MAX_WATCH_BYTES, State, decode_state, encode_state

REQUEST_FILE = "probe.request"
WRITE_SECONDS = 5.0
"""watch.json is written at most this often, and so holds each change after this time."""
FRESH_SECONDS = 60.0
"""Without a change watch.json is still written this often, as a sign of life."""
REQUEST_SECONDS = 30.0
"""Probes are requested at most this often."""
MAX_WAIT_SECONDS = 30.0
MIN_WAIT_SECONDS = 0.1


class Device(Protocol):
    """The event of a device, as pyudev.Monitor returns it."""

    @property
    def subsystem(self) -> str | None:
        """Return the subsystem, such as `cpu`."""

    @property
    def action(self) -> str | None:
        """Return what happened, such as `online`."""


class Monitor(Protocol):
    """The part of pyudev.Monitor that the watcher uses; pyudev has no types."""

    def fileno(self) -> int:
        """Return a descriptor that is readable when an event has arrived."""

    def poll(self, timeout: float) -> Device | None:
        """Return the next event; None if none arrives within `timeout` seconds."""


class Watcher:
    """Counts what happens, and writes the files that are due. Tests give it a directory and a clock."""

    def __init__(self, directory: str, boot_id: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._watch_file = os.path.join(directory, WATCH_FILE)
        self._request_file = os.path.join(directory, REQUEST_FILE)
        self._clock = clock
        state = decode_state(read_state_file(self._watch_file), boot_id)
        self._boot_id = boot_id
        self._counter = LogCounter(state.progress)
        self._events = state.events
        self._written_at = self._requested_at = float("-inf")
        self._changed = False
        """watch.json lacks something that was counted."""
        self._probe_wanted = False

    @property
    def state(self) -> State:
        """Return the counts so far, and how far the log was read."""
        return State(self._boot_id, self._counter.progress, self._events)

    def take_records(self, records: Iterable[bytes]) -> None:
        """Count the events in new records of /dev/kmsg."""
        before = self._counter.counters
        self._counter.feed(records)
        if self._counter.counters != before:
            self._changed = True

    def take_event(self, subsystem: str | None, action: str | None) -> None:
        """Count a device event, and want a probe if it can change how this host reaches a masked CPU.

        A CPU that comes back can, because SDEI event 0 is registered on each CPU. So can a platform device:
        the SDEI driver binds to one.
        """
        events = self._events
        if subsystem == "cpu" and action == "online":
            self._events = events._replace(cpu_online=events.cpu_online + 1)
        elif subsystem == "cpu" and action == "offline":
            self._events = events._replace(cpu_offline=events.cpu_offline + 1)
        elif subsystem != "platform" or action not in ("add", "remove", "bind", "unbind"):
            return
        self.want_probe()

    def want_probe(self) -> None:
        """Request a probe as soon as REQUEST_SECONDS allows."""
        self._probe_wanted = True
        self._changed = True

    def write_due(self) -> float:
        """Write the files that are due; return how many seconds later this should be called again."""
        now = self._clock()
        if self._probe_wanted and now - self._requested_at >= REQUEST_SECONDS:
            self._request_probe(now)
        age = now - self._written_at
        if age >= FRESH_SECONDS or (self._changed and age >= WRITE_SECONDS):
            self.write()
        return self._seconds_until_due(now)

    def finish(self) -> None:
        """Write what is not written yet. A request that still waits would be lost with this process."""
        if self._probe_wanted:
            self._request_probe(self._clock())
        self.write()

    def _request_probe(self, now: float) -> None:
        self._requested_at, self._probe_wanted = now, False
        self._events = self._events._replace(requests=self._events.requests + 1)
        self._changed = True
        write_whole(self._request_file, b"", 0o644)

    def _seconds_until_due(self, now: float) -> float:
        waits = [self._written_at + FRESH_SECONDS - now, MAX_WAIT_SECONDS]
        if self._changed:
            waits.append(self._written_at + WRITE_SECONDS - now)
        if self._probe_wanted:
            waits.append(self._requested_at + REQUEST_SECONDS - now)
        return max(min(waits), MIN_WAIT_SECONDS)

    def write(self) -> None:
        """Write watch.json; raise OSError."""
        self._written_at, self._changed = self._clock(), False
        write_whole(self._watch_file, encode_state(self.state, time.time()), 0o644)


def read_state_file(path: str) -> bytes:
    """Return the content of watch.json; b"" if it cannot be read or is another user's."""
    try:
        return read_trusted(path, trusted_users(), MAX_WATCH_BYTES)
    except (OSError, UntrustedError):
        return b""


def read_records(descriptor: int, most: int = 4096) -> list[bytes]:
    """Return the records that /dev/kmsg has now, at most `most`: a whole log may not fit into memory."""
    return list(islice(kmsg_records(descriptor), most))


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="sdeictl-agent-watch", message="%(prog)s %(version)s")
def main() -> None:
    """Follow the kernel log and CPU hotplug, and write watch.json for sdeictl-agent."""
    try:
        _watch()
    except OSError as error:
        _fail(f"a system call failed: {error_text(error)}")
    except ImportError as error:  # pyudev looks for its library when it is used
        _fail(f"the hotplug of CPUs cannot be followed: {error}")


def _fail(message: str) -> NoReturn:
    click.echo(f"sdeictl-agent-watch: {message}", err=True)
    sys.exit(Status.UNKNOWN)


def _watch() -> None:
    """Watch until SIGTERM or SIGINT; raise OSError."""
    with open(BOOT_ID, "rb") as file:
        boot_id = file.read().decode("ascii", "replace").strip()
    os.makedirs(WATCH_DIRECTORY, mode=0o755, exist_ok=True)
    watcher = Watcher(WATCH_DIRECTORY, boot_id)
    stop, monitor, kmsg = _open_stop(), _open_monitor(), open_kmsg()
    selector = selectors.DefaultSelector()
    for descriptor in (stop, monitor.fileno(), kmsg):
        selector.register(descriptor, selectors.EVENT_READ)
    watcher.write()
    notify("READY=1")
    ready: set[int] = set()
    while stop not in ready:
        seconds = min(watcher.write_due(), watchdog_seconds() or MAX_WAIT_SECONDS)
        ready = {key.fd for key, _events in selector.select(seconds)}
        notify("WATCHDOG=1")
        watcher.take_records(read_records(kmsg))
        _take_events(watcher, monitor)
    notify("STOPPING=1")
    watcher.finish()


def _open_stop() -> int:
    """Return a descriptor that becomes readable when SIGTERM or SIGINT arrives."""
    descriptor, written = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: None)
    signal.set_wakeup_fd(written)
    return descriptor


def _open_monitor() -> Monitor:
    """Return a monitor of the kernel's events of CPUs and platform devices."""
    monitor = pyudev.Monitor.from_netlink(pyudev.Context(), source="kernel")
    for subsystem in ("cpu", "platform"):
        monitor.filter_by(subsystem)
    monitor.start()
    started: Monitor = monitor
    return started


def _take_events(watcher: Watcher, monitor: Monitor) -> None:
    try:
        while (device := monitor.poll(timeout=0)) is not None:
            watcher.take_event(device.subsystem, device.action)
    except OSError as error:
        if error.errno != errno.ENOBUFS:
            raise
        watcher.want_probe()  # the socket overflowed: events of CPUs may be lost


if __name__ == "__main__":
    main()
