"""What must be known of a host before a drill that can cost it, and what speaks against one."""

import os
import socket
from collections.abc import Iterator
from typing import NamedTuple

import psutil

from sdeictl.host.programs import output_of
from sdeictl.host.root import Root
from sdeictl.interlock.arming import armed_seconds
from sdeictl.interlock.host import read_boot_id, read_setting
from sdeictl.interlock.journal import STATE_DIRECTORY, read_unresolved
from sdeictl.interlock.lkdtm import DIRECT, read_crash_types
from sdeictl.interlock.refusals import POLICY, PROVIDER, Reason
from sdeictl.probe.facts import HostFacts
from sdeictl.probe.kernel import KCORE
from sdeictl.probe.settings import SYSCTLS

WATCHDOGS = "/sys/class/watchdog"
TAINTED = f"{SYSCTLS}/tainted"
MIN_FREE_BYTES = 64 << 20
"""Journal, log slice and result take less than one; a disk that is nearly full has trouble of its own."""
MAX_LOAD_A_CPU = 0.5
MAX_UNRESOLVED = 3
"""After so many drills in a row whose outcome was never seen, somebody has to look."""

_TAINTS = {4: "a machine check", 5: "a bad page", 7: "an oops", 9: "a warning", 14: "a soft lockup"}
"""Bits that say the kernel has had trouble (Documentation/admin-guide/tainted-kernels.rst)."""


class HardwareWatchdog(NamedTuple):
    """One of /sys/class/watchdog."""

    name: str
    active: bool | None
    """None: it does not say (CONFIG_WATCHDOG_SYSFS)."""
    timeout: int | None
    """Seconds."""


class Consent(NamedTuple):
    """What the operator has said about this drill."""

    host_name: str | None = None
    """The name of the host that is meant."""
    way_back: str | None = None
    """How the host is reset if it does not come back by itself: a BMC, a switched socket."""
    plain_dump: bool = False
    """The kdump service saves the memory as it is: makedumpfile is not needed."""


class Danger(NamedTuple):
    """The host and its people, as far as a drill may cost them."""

    host_name: str
    armed: float | None
    """For how many seconds still; None: it is not armed."""
    tainted: int
    users: tuple[str, ...]
    """Logged in besides this terminal."""
    load: float
    watchdogs: tuple[HardwareWatchdog, ...]
    free_bytes: int
    """Where the journal is."""
    unresolved: int
    """Drills in a row, up to the last, whose outcome was not seen."""
    crash_types: tuple[str, ...]
    """What LKDTM can do here."""


def read_danger(root: Root) -> Danger:
    """Read what the host and its people say about being put at risk."""
    return Danger(
        host_name=socket.gethostname(),
        armed=armed_seconds(read_boot_id(root)),
        tainted=read_setting(root, TAINTED) or 0,
        users=_others(),
        load=psutil.getloadavg()[0],
        watchdogs=tuple(_watchdogs(root)),
        free_bytes=_free_bytes(STATE_DIRECTORY),
        unresolved=read_unresolved(),
        crash_types=read_crash_types(root),
    )


def try_makedumpfile() -> str | None:
    """Return why makedumpfile cannot read this kernel, None if it can.

    By the running one's memory, for the crash kernel is of the same build: no list of versions
    knows which page size and address width a distribution's makedumpfile was taught.
    """
    try:
        output_of("makedumpfile", "--mem-usage", KCORE)
    except FileNotFoundError:
        return "it is not installed"
    except OSError as error:
        return str(error.strerror)
    return None


def _others() -> tuple[str, ...]:
    own = {os.ttyname(descriptor).removeprefix("/dev/") for descriptor in (0, 1, 2) if os.isatty(descriptor)}
    return tuple(
        sorted(f"{user.name} ({user.terminal})" for user in psutil.users() if user.terminal not in own)
    )


def _watchdogs(root: Root) -> Iterator[HardwareWatchdog]:
    try:
        names = root.names(WATCHDOGS)
    except OSError:
        return
    for name in names:
        try:
            state = root.read(f"{WATCHDOGS}/{name}/state").decode("utf-8", "replace").strip()
        except OSError:
            state = ""
        active = {"active": True, "inactive": False}.get(state)
        yield HardwareWatchdog(name, active, read_setting(root, f"{WATCHDOGS}/{name}/timeout"))


def _free_bytes(directory: str) -> int:
    while not os.path.isdir(directory):
        directory = os.path.dirname(directory)
    free = os.statvfs(directory)
    return free.f_bavail * free.f_frsize


def about_danger(danger: Danger, consent: Consent, cpus: int) -> Iterator[Reason]:
    """Yield what speaks against any drill that can cost the host."""
    if danger.armed is None:
        yield Reason(
            POLICY, "It is not armed on this boot: `sdeictl drill arm --for 10m` allows one such drill."
        )
    if consent.host_name is None:
        yield Reason(POLICY, "The host's name was not given (--host).")
    elif consent.host_name != danger.host_name:
        yield Reason(POLICY, f"This host is {danger.host_name}, not {consent.host_name}.")
    seen = [what for bit, what in _TAINTS.items() if danger.tainted >> bit & 1]
    if seen:
        yield Reason(POLICY, f"This kernel has had {' and '.join(seen)} already: boot afresh first.")
    if danger.users:
        yield Reason(POLICY, f"Others are logged in: {', '.join(danger.users)}.")
    if danger.load > MAX_LOAD_A_CPU * max(cpus, 1):
        yield Reason(POLICY, f"The host is at work: its load is {danger.load:.1f} on {cpus} CPUs.")
    if danger.free_bytes < MIN_FREE_BYTES:
        text = f"Only {danger.free_bytes >> 20} MiB are free for the journal in {STATE_DIRECTORY}."
        yield Reason(POLICY, text)
    if danger.unresolved >= MAX_UNRESOLVED:
        text = (
            f"The last {danger.unresolved} drills that can cost the host ended unknown or lost: look into"
            f" them, and remove their results from {STATE_DIRECTORY}."
        )
        yield Reason(POLICY, text)


def about_lkdtm(facts: HostFacts, danger: Danger, wanted: tuple[str, ...]) -> Iterator[Reason]:
    """Yield why LKDTM cannot do what a drill needs."""
    lockdown = facts.drills.lockdown if facts.drills else None
    if lockdown not in (None, "none"):
        yield Reason(PROVIDER, f"The kernel is locked down ({lockdown}): LKDTM takes nothing.")
    elif not danger.crash_types:
        yield Reason(PROVIDER, f"There is no LKDTM here (CONFIG_LKDTM, and debugfs mounted: {DIRECT}).")
    else:
        missing = [kind for kind in wanted if kind not in danger.crash_types]
        if missing:
            yield Reason(PROVIDER, f"This kernel's LKDTM has no {', '.join(missing)}.")


def about_dump(problem: str | None, consent: Consent) -> Iterator[Reason]:
    """Yield that the crash kernel may not be able to save a dump; `problem` is of try_makedumpfile."""
    if problem and not consent.plain_dump:
        text = (
            f"makedumpfile cannot read this kernel ({problem}): `makedumpfile --mem-usage {KCORE}` says more."
            " Take a newer one, or say that the kdump service also saves a dump without it (--plain-dump)."
        )
        yield Reason(PROVIDER, text)


def about_way_back(danger: Danger, consent: Consent) -> Iterator[Reason]:
    """Yield that nothing would bring the host back if its reset failed."""
    if not consent.way_back and not any(watchdog.active for watchdog in danger.watchdogs):
        text = (
            "Nothing would bring this host back if its reset failed: arm a hardware watchdog, or say how it"
            " is reset (--way-back 'BMC at ...')."
        )
        yield Reason(POLICY, text)


def about_watchdogs(danger: Danger, seconds: float) -> Iterator[Reason]:
    """Yield the hardware watchdogs that could reset the host within this time."""
    for watchdog in danger.watchdogs:
        if watchdog.active is None:
            yield Reason(POLICY, f"Whether the hardware watchdog {watchdog.name} is armed cannot be seen.")
        elif watchdog.active and (watchdog.timeout is None or watchdog.timeout <= seconds):
            text = f"The hardware watchdog {watchdog.name} resets the host after {watchdog.timeout} s."
            yield Reason(POLICY, text)
