"""What takes the place of devices, and of times to wait, while calls fail (tests/support/fault_runner.py)."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil

IDLE = (0.1, 0.1, 0.1)
BENCH_SECONDS = 0.003
"""How long one call is timed: long enough for the samples of an estimate."""
DAY = 1000.0
"""How many times as fast as the clock of this host the exporter's clock is where it only waits."""


def install(tree: Path) -> None:
    """Let the modules of sdeictl, which are imported already, use these."""
    _read_recorded_log(tree)
    _bench_briefly()
    _wait_briefly()
    psutil.getloadavg = lambda: IDLE


def _read_recorded_log(tree: Path) -> None:
    """Let the kernel log be the one of the recorded host; /dev/kmsg is a device."""
    _set("sdeictl.host.live", read_kmsg=lambda: [(tree / "kmsg.txt").read_bytes()])


def _bench_briefly() -> None:
    """Time briefly, and in Python: each call from the loops in C would be one more that can fail."""
    loop = import_module("sdeictl.bench.loop")
    in_python = partial(loop.load_loops, "/no/such/library")
    _set("sdeictl.commands.bench", load_loops=in_python)
    _set("sdeictl.bench.measure", WARM_SECONDS=0.0, SAMPLE_NS=10_000)
    measure = import_module("sdeictl.bench.measure").measure

    def measure_briefly(timers: Mapping[str, Callable[[int], int]], _seconds: float) -> Any:
        return measure(timers, BENCH_SECONDS)

    _set("sdeictl.bench.run", load_loops=in_python, measure=measure_briefly)
    _set("sdeictl.bench.experiment_runner", DOWN_SECONDS=0.01)


def _wait_briefly() -> None:
    watcher = import_module("sdeictl_agent.watcher")
    _set("sdeictl_agent.watcher", WRITE_SECONDS=0.0, _open_monitor=partial(Hotplug, watcher._open_monitor))
    _set("sdeictl_agent.server", CLIENT_SECONDS=1.0, LINGER_SECONDS=0.1, DRAIN_SECONDS=0.02)
    fast = SimpleNamespace(
        monotonic=lambda: time.monotonic() * DAY, monotonic_ns=time.monotonic_ns,
        sleep=lambda seconds: time.sleep(seconds / DAY),
    )  # fmt: skip
    _set("sdeictl_agent.exporter", time=fast)


def _set(module: str, **values: object) -> None:
    for name, value in values.items():
        assert hasattr(import_module(module), name), name
        setattr(import_module(module), name, value)


class Hotplug:
    """A monitor of the kernel's events on which a CPU comes back at once."""

    def __init__(self, open_monitor: Callable[[], Any]) -> None:
        self._monitor = open_monitor()
        self._events = [SimpleNamespace(subsystem="cpu", action="online")]

    def fileno(self) -> int:
        return int(self._monitor.fileno())

    def poll(self, timeout: float) -> object:
        return self._events.pop() if self._events else self._monitor.poll(timeout)


def use_as_kmsg(descriptor: int) -> None:
    """Let the watcher read the records from a socket: one read(2) returns one record, as from /dev/kmsg."""
    os.set_blocking(descriptor, False)
    _set("sdeictl_agent.watcher", open_kmsg=lambda: descriptor)
