"""The watcher: follows the kernel log and the CPUs that come and go, and writes down what it saw.

It needs to read /dev/kmsg (CAP_SYSLOG where dmesg_restrict is set) and writes two files of its own
directory: watch.json, and the request for a new probe, which a path unit of systemd turns into one.
"""

import errno
import json
import os
import selectors
import signal
import sys
import time
from collections.abc import Callable
from itertools import islice
from typing import Any, NamedTuple

import click

from sdeictl import __version__
from sdeictl.errors import error_text
from sdeictl.host.root import kmsg_records, open_kmsg
from sdeictl.interlock.journal import RUN_DIRECTORY, write_whole
from sdeictl_agent.counters import Counters, LogCounter, Progress
from sdeictl_agent.notify import notify, watchdog_seconds

Json = dict[str, Any]
WATCH_SCHEMA = "sdeictl.watch/1"
WATCH_FILE, REQUEST_FILE = "watch.json", "probe.request"
BOOT_ID = "/proc/sys/kernel/random/boot_id"
WRITE_SECONDS = 5.0
"""A change is on disk after so long at the latest."""
FRESH_SECONDS = 60.0
"""And without one the file is written as often, which shows that somebody watches."""
REQUEST_SECONDS = 30.0
"""Between two requests for a probe."""
MAX_WAIT_SECONDS = 30.0


class Events(NamedTuple):
    """What the kernel's devices did, since the boot as far as it was watched."""

    cpu_online: int = 0
    cpu_offline: int = 0
    requests: int = 0
    """How often a probe was asked for."""


class State(NamedTuple):
    """What watch.json holds."""

    boot_id: str
    progress: Progress
    events: Events


def encode(state: State, now: float) -> bytes:
    """Return watch.json."""
    document = {
        "schema": WATCH_SCHEMA,
        "boot_id": state.boot_id,
        "updated_at": now,
        "counters": state.progress.counters._asdict(),
        "events": state.events._asdict(),
        "read_to": state.progress.read_to,
        "open_from": {"sequence": state.progress.sequence, "closed": state.progress.closed._asdict()},
    }
    return json.dumps(document).encode() + b"\n"


def decode(data: bytes, boot_id: str) -> State:
    """Return what a former watcher of this boot left; of another boot, or damaged: a beginning."""
    fresh = State(boot_id, Progress(), Events())
    try:
        document = json.loads(data)
        if (document["schema"], document["boot_id"]) != (WATCH_SCHEMA, boot_id):
            return fresh
        kept = document["open_from"]
        closed, counters = (
            Counters(*_numbers(numbers, Counters)) for numbers in (kept["closed"], document["counters"])
        )
        progress = Progress(_whole(kept["sequence"]), closed, _whole(document["read_to"]), counters)
        return State(boot_id, progress, Events(*_numbers(document["events"], Events)))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return fresh


def _numbers(values: Json, kind: type[Counters] | type[Events]) -> list[int]:
    return [_whole(values[name]) for name in kind._fields]


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{value!r} is no count")
    return value


def read_records(descriptor: int, most: int = 4096) -> list[bytes]:
    """Return what can be read of /dev/kmsg now, one record for each read(2); no log as a whole."""
    return list(islice(kmsg_records(descriptor), most))


class Watcher:
    """One watcher. The clock and the directory are given, so that a test has its own."""

    def __init__(self, directory: str, boot_id: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._directory = directory
        self._clock = clock
        state = decode(self._read(), boot_id)
        self._boot_id = boot_id
        self._counter = LogCounter(state.progress)
        self._events = state.events
        self._written = self._requested = float("-inf")
        self._changed = False
        """Something is not on disk yet."""
        self._wanted = False
        """A probe is to be asked for."""

    def _read(self) -> bytes:
        try:
            with open(os.path.join(self._directory, WATCH_FILE), "rb") as file:
                return file.read(1 << 20)
        except OSError:
            return b""

    @property
    def state(self) -> State:
        """Return what was seen so far."""
        return State(self._boot_id, self._counter.progress, self._events)

    def take_records(self, records: list[bytes]) -> None:
        """Take what was logged."""
        before = self._counter.counters
        self._counter.feed(records)
        if self._counter.counters != before:
            self._changed = True

    def take_event(self, subsystem: str | None, action: str | None) -> None:
        """Take an event of the kernel's devices.

        SDEI event 0 is registered on each CPU: one that came back, or a device that came, may change by
        what a masked CPU is reached.
        """
        if subsystem == "cpu" and action in ("online", "offline"):
            name = f"cpu_{action}"
            self._events = self._events._replace(**{name: getattr(self._events, name) + 1})
        elif not (subsystem == "platform" and action in ("add", "remove", "bind", "unbind")):
            return
        self.want_probe()

    def want_probe(self) -> None:
        """Ask for a new probe as soon as one may be asked for."""
        self._wanted = True
        self._changed = True

    def settle(self) -> float:
        """Write what is due; return for how many seconds nothing else will be."""
        now = self._clock()
        if self._wanted and now - self._requested >= REQUEST_SECONDS:
            self._requested, self._wanted = now, False
            self._events = self._events._replace(requests=self._events.requests + 1)
            self._changed = True
            write_whole(os.path.join(self._directory, REQUEST_FILE), b"", 0o644)
        since = now - self._written
        if since >= FRESH_SECONDS or (self._changed and since >= WRITE_SECONDS):
            self.write()
        waits = [FRESH_SECONDS - (now - self._written), MAX_WAIT_SECONDS]
        if self._changed:
            waits.append(WRITE_SECONDS - (now - self._written))
        if self._wanted:
            waits.append(REQUEST_SECONDS - (now - self._requested))
        return max(min(waits), 0.1)

    def write(self) -> None:
        """Write watch.json."""
        self._written, self._changed = self._clock(), False
        data = encode(self.state, time.time())
        write_whole(os.path.join(self._directory, WATCH_FILE), data, 0o644)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="sdeictl-agent-watch", message="%(prog)s %(version)s")
def main() -> None:
    """Follow the kernel log and the CPUs, and write /run/sdeictl/watch.json for sdeictl-agent."""
    try:
        _watch()
    except OSError as error:
        click.echo(f"sdeictl-agent-watch: {error_text(error)}", err=True)
        sys.exit(3)


def _watch() -> None:
    import pyudev  # noqa: PLC0415 - the tests have no udev

    with open(BOOT_ID, encoding="ascii") as file:
        boot_id = file.read().strip()
    os.makedirs(RUN_DIRECTORY, mode=0o755, exist_ok=True)
    watcher = Watcher(RUN_DIRECTORY, boot_id)
    ends = []
    signal.signal(signal.SIGTERM, lambda *_: ends.append(True))
    signal.signal(signal.SIGINT, lambda *_: ends.append(True))
    ours, theirs = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(theirs)
    monitor = pyudev.Monitor.from_netlink(pyudev.Context(), source="kernel")
    for subsystem in ("cpu", "platform"):
        monitor.filter_by(subsystem)
    monitor.start()
    kmsg = open_kmsg()
    selector = selectors.DefaultSelector()
    for descriptor in (kmsg, monitor.fileno(), ours):
        selector.register(descriptor, selectors.EVENT_READ)
    watcher.write()
    notify("READY=1")
    beat = watchdog_seconds()
    while not ends:
        wait = watcher.settle()
        selector.select(min(wait, beat) if beat else wait)
        notify("WATCHDOG=1")
        watcher.take_records(read_records(kmsg))
        _take_events(watcher, monitor)
    notify("STOPPING=1")
    watcher.write()


def _take_events(watcher: Watcher, monitor: Any) -> None:
    try:
        while (device := monitor.poll(timeout=0)) is not None:
            watcher.take_event(device.subsystem, device.action)
    except OSError as error:
        if error.errno != errno.ENOBUFS:
            raise
        watcher.want_probe()  # too many at once: some are lost, and were perhaps a CPU's


if __name__ == "__main__":
    main()
