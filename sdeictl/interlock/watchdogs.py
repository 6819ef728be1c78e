"""Hardware watchdogs: which exist, whether one is armed, who feeds it, and how long it surely waits.

A driver registers with the class `watchdog` (drivers/watchdog/watchdog_dev.c), or, as that of a BMC over IPMI
does, as a misc device only (drivers/char/ipmi/ipmi_watchdog.c).
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator

from sdeictl.host.lenient import names_if_exist, text_of
from sdeictl.host.paths import (
    IPMI_WATCHDOG,
    IPMI_WATCHDOG_FILES,
    MISC_WATCHDOG,
    PROC,
    SYSTEMD_RUNS,
    WATCHDOG_DEVICES,
    WATCHDOGS,
)
from sdeictl.host.programs import output_of
from sdeictl.host.root import Root
from sdeictl.probe.settings import read_number
from sdeictl.text import NamedTuple

IPMI = "ipmi_watchdog"
MARGIN = 0.8
"""A window may take this part of the time that a watchdog surely waits."""
_HARMLESS_ACTION = "none"


class Feeder(NamedTuple):
    """A process that has the device of a watchdog open."""

    pid: int
    name: str
    cpus: tuple[int, ...]
    """The CPUs that it may run on."""


class Watchdog(NamedTuple):
    """One hardware watchdog. None: the kernel does not show it."""

    name: str
    active: bool | None
    timeout: int | None
    """Seconds."""
    time_left: int | None = None
    """Seconds until it resets the host, at the moment of the survey."""
    nowayout: bool | None = None
    """True: nothing but a reset stops it."""
    feeders: tuple[Feeder, ...] = ()
    kept_by_systemd: bool = False
    """systemd feeds it, and leaves it armed when it boots a kernel by kexec (KExecWatchdogSec=)."""

    @property
    def sure_seconds(self) -> float | None:
        """Return for how long it surely does not reset the host; None: not known, 0 or more.

        systemd and others feed it at half of its timeout, so as much may have passed already.
        """
        known = [seconds for seconds in (self.time_left, self.timeout and self.timeout / 2) if seconds]
        return min(known) if known else None

    @property
    def survives_kexec(self) -> bool:
        """Tell whether it is armed in a kernel that kexec boots: systemd stops it before by default."""
        return bool(self.active and (self.nowayout or self.kept_by_systemd))


def read_watchdogs(root: Root) -> tuple[Watchdog, ...]:
    """Return the watchdogs of the running host; raise OSError if it cannot be seen which it has."""
    names = (name for name in names_if_exist(root, WATCHDOGS) if re.fullmatch(r"watchdog\d+", name))
    found = [_of_class(root, name) for name in names]
    found += _of_ipmi(root)
    if not found and _exists(root, MISC_WATCHDOG):
        found.append(Watchdog("misc/watchdog", None, None))
    if not found:
        return ()
    feeders = tuple(_feeders())
    by_systemd = any(feeder.pid == 1 for feeder in feeders) and _kept_by_systemd()
    # Which of two devices a process has open is not looked at: each may be the one that it feeds.
    return tuple(
        watchdog._replace(
            feeders=feeders,
            active=True if watchdog.active is None and feeders else watchdog.active,
            kept_by_systemd=by_systemd,
        )
        for watchdog in found
    )


def _of_class(root: Root, name: str) -> Watchdog:
    base = f"{WATCHDOGS}/{name}"
    active = {"active": True, "inactive": False}.get(text_of(root, f"{base}/state").strip())
    # The time that is left means nothing while the watchdog is not active.
    left = read_number(root, f"{base}/timeleft") if active else None
    nowayout = read_number(root, f"{base}/nowayout")
    timeout = read_number(root, f"{base}/timeout")
    return Watchdog(name, active, timeout, left, None if nowayout is None else bool(nowayout))


def _of_ipmi(root: Root) -> Iterator[Watchdog]:
    """Yield the watchdog of the BMC; the driver does not show whether it is armed."""
    if not names_if_exist(root, IPMI_WATCHDOG):
        return
    action, nowayout = (text_of(root, path).strip() for path in IPMI_WATCHDOG_FILES[:2])
    active = False if action == _HARMLESS_ACTION else None
    yield Watchdog(IPMI, active, read_number(root, IPMI_WATCHDOG_FILES[2]), None, nowayout in ("Y", "1"))


def _feeders() -> Iterator[Feeder]:
    """Yield the processes that have the device of a watchdog open; only root sees those of others."""
    for name in filter(str.isdecimal, os.listdir(PROC)):
        directory = f"{PROC}/{name}"
        with contextlib.suppress(OSError):
            files = {os.readlink(f"{directory}/fd/{number}") for number in os.listdir(f"{directory}/fd")}
            if any(file.startswith(WATCHDOG_DEVICES) for file in files):
                with open(f"{directory}/comm", encoding="utf-8", errors="replace") as comm:
                    title = comm.read().strip()
                yield Feeder(int(name), title, tuple(sorted(os.sched_getaffinity(int(name)))))


def _kept_by_systemd() -> bool:
    if not os.path.isdir(SYSTEMD_RUNS):
        return False
    try:
        value = output_of("systemctl", "show", "--property=KExecWatchdogUSec", "--value")
    except OSError:
        return False
    return value.strip() not in (b"", b"0", b"off", b"infinity")


def _exists(root: Root, path: str) -> bool:
    directory, _, name = path.rpartition("/")
    return name in names_if_exist(root, directory)
