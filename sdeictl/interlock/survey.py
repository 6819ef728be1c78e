"""The survey of a host before a drill or `bench ab`: facts, what a drill can use, what it puts at risk."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import time
from collections.abc import Iterator, Mapping
from types import MappingProxyType

import psutil

from sdeictl.formats.cpulist import parse_cpulist
from sdeictl.formats.sysctl import parse_number
from sdeictl.host.files import exists
from sdeictl.host.lenient import text_if_exists, text_of
from sdeictl.host.paths import (
    BOOT_ID,
    CONSOLE_LEVEL,
    CONTAINER_MARKS,
    CPU_DEVICES,
    CPU_LATENCY,
    CPUS_ONLINE,
    DRILL_RESULTS,
    HOTPLUG_STATES,
    OWN_MOUNTS,
    SYSRQ_TRIGGER,
    TAINTED,
    TERMINALS,
    UTMP,
    WATCHDOG_THRESH,
    cpu_device,
)
from sdeictl.host.root import Root
from sdeictl.interlock.arming import armed_seconds
from sdeictl.interlock.lkdtm import read_crash_types
from sdeictl.interlock.load import Loads, read_loads
from sdeictl.interlock.providers import FoundProviders, find_providers
from sdeictl.interlock.results import read_unresolved
from sdeictl.interlock.watchdogs import Watchdog, read_watchdogs
from sdeictl.probe.facts import HostFacts
from sdeictl.probe.settings import number, read_idle_usage, read_number
from sdeictl.text import NamedTuple, lines_of

HEARTBEATS = frozenset({"corosync", "sbd", "pacemaker-remoted", "pacemaker_remoted"})
"""Their peers fence a host that is silent for 1 to 5 s (corosync.conf(5), sbd(8))."""
LOGIN_PROMPTS = frozenset({"agetty", "getty", "login"})
"""They run on a terminal where nobody has logged in."""
FORGETFUL = frozenset({"tmpfs", "ramfs", "rootfs", "overlay"})
"""File systems of which a reset may leave nothing."""
WATCH_SECONDS = 0.05
"""A CPU that goes offline needs about 1 ms for each of its 60 states."""


class Survey(NamedTuple):
    """The state of the running host."""

    facts: HostFacts
    # what a drill can use
    privileged: bool = True
    online: tuple[int, ...] = ()
    moving: tuple[int, ...] = ()
    """CPUs that are going online or offline."""
    isolated: tuple[int, ...] = ()
    """CPUs that the administrator reserved: isolcpus= or nohz_full=."""
    loads: Loads = MappingProxyType({})
    """What masking each CPU would hold up."""
    console_level: int | None = None
    deep_idle: bool = False
    """There are idle states other than the first."""
    has_cpu_latency: bool = True
    has_sysrq: bool = True
    providers: FoundProviders = FoundProviders()
    crash_types: tuple[str, ...] = ()
    """What LKDTM can do here."""
    # what a drill puts at risk
    host_name: str = ""
    armed: float | None = None
    """For how many more seconds a drill may begin; None: the host is not armed."""
    tainted: int = 0
    users: tuple[str, ...] = ()
    """Who is logged in on other terminals."""
    load: float = 0.0
    watchdogs: tuple[Watchdog, ...] = ()
    heartbeats: tuple[str, ...] = ()
    """Programs that run here and whose peers reset this host when it is silent for some seconds."""
    free_bytes: int = 1 << 30
    """On the file system of the journal."""
    forgets: str = ""
    """The type of that file system if a reset empties it, such as `tmpfs`."""
    in_container: bool = False
    """This process sees a container, not the host: its host name is another."""
    unresolved: int | None = 0
    """How many of the last drills in a row ended unknown or lost; None: the results cannot be read."""

    @property
    def watchdog_thresh(self) -> int | None:
        """Return kernel.watchdog_thresh in seconds: 0 if the detectors are off, None if there are none."""
        return number(self.facts, WATCHDOG_THRESH)


def read_survey(root: Root, facts: HostFacts, *, providers: bool, trial: bool = True) -> Survey:
    """Read the state of the running host; with `providers` also what could mask a CPU.

    Without `trial` nothing is loaded into the kernel to see whether it accepts that. Raises OSError if what
    may speak against a drill cannot be read.
    """
    online = read_online(root)
    isolated = {
        cpu
        for name in ("isolated", "nohz_full")
        for cpu in parse_cpulist(text_of(root, f"{CPU_DEVICES}/{name}"))
    }
    return Survey(
        facts=facts,
        privileged=os.geteuid() == 0,
        online=online,
        moving=tuple(cpu for cpu in online if _is_moving(root, cpu)),
        isolated=tuple(sorted(isolated)),
        loads=read_loads(root, online, isolated),
        console_level=read_number(root, CONSOLE_LEVEL),
        deep_idle=any(read_idle_usage(root, online)),
        has_cpu_latency=exists(CPU_LATENCY),
        has_sysrq=exists(SYSRQ_TRIGGER),
        providers=find_providers(root, facts.release, trial=trial) if providers else FoundProviders(),
        crash_types=read_crash_types(root),
        host_name=socket.gethostname(),
        armed=armed_seconds(read_boot_id(root)),
        tainted=parse_number(text_if_exists(root, TAINTED)) or 0,
        users=_other_users(),
        load=psutil.getloadavg()[0],
        watchdogs=read_watchdogs(root),
        heartbeats=read_heartbeats(),
        free_bytes=_free_bytes(DRILL_RESULTS),
        forgets=forgetful_type(DRILL_RESULTS, text_if_exists(root, OWN_MOUNTS)),
        in_container=any(map(exists, CONTAINER_MARKS)),
        unresolved=read_unresolved(),
    )


def read_online(root: Root) -> tuple[int, ...]:
    """Return the CPUs that are online, () if that cannot be read."""
    return parse_cpulist(text_of(root, CPUS_ONLINE))


def read_boot_id(root: Root) -> str:
    """Return the kernel's identifier of this boot; raise OSError if it cannot be read.

    Without it sdeictl cannot tell whether a drill or an arming belongs to this boot.
    """
    identifier = root.read(BOOT_ID).decode("ascii", "replace").strip()
    if not identifier:
        raise OSError(errno.ENODATA, "it is empty", BOOT_ID)
    return identifier


def default_target(survey: Survey) -> int:
    """Return the CPU whose mask would hold up least; of several the last: the first ones have most to do.

    A CPU that the administrator reserved is taken only if all are.
    """
    return min(survey.online, key=lambda cpu: (cpu in survey.isolated, len(survey.loads.get(cpu, ())), -cpu))


def _is_moving(root: Root, cpu: int) -> bool:
    """Tell whether a CPU is being taken online or offline."""
    state, target = _hotplug(root, cpu)
    if state == target:
        return False
    # Before Linux 6.12 the target of the boot CPU reads 0 for ever. A CPU that does go offline leaves the
    # last state at once, or its state changes while it is watched.
    if target == "0" and state == _online_state(root):
        time.sleep(WATCH_SECONDS)
        return _hotplug(root, cpu) != (state, target)
    return True


def _hotplug(root: Root, cpu: int) -> tuple[str, str]:
    """Return the state of a CPU, and the state that it shall reach."""
    state, target = (
        text_of(root, cpu_device(cpu, f"hotplug/{name}")).strip() for name in ("state", "target")
    )
    return state, target


def _online_state(root: Root) -> str:
    """Return the number of the last hotplug state; "" if unknown."""
    number, _, name = text_of(root, HOTPLUG_STATES).rstrip().rpartition("\n")[2].partition(":")
    return number.strip() if name.strip() == "online" else ""


def _other_users() -> tuple[str, ...]:
    """Return who is logged in on other terminals: by utmp, or without it by what runs on terminals."""
    own = set()
    for descriptor in (0, 1, 2):
        with contextlib.suppress(OSError):  # not a terminal, or one without a name, as in a container
            own.add(os.ttyname(descriptor).removeprefix(TERMINALS))
    if exists(UTMP):
        found = {(user.name, user.terminal or "") for user in psutil.users()}
    else:
        found = {
            (process["username"] or "?", process["terminal"].removeprefix(TERMINALS))
            for process in _processes("name", "username", "terminal")
            if process["terminal"] and process["name"] not in LOGIN_PROMPTS
        }
    return tuple(sorted(f"{name} ({terminal})" for name, terminal in found if terminal not in own))


def forgetful_type(path: str, mounts: str) -> str:
    """Return the type of the file system of a path if a reset empties it, else "".

    `mounts` is /proc/self/mountinfo: the mount point is the fifth field, the type follows " - ". An overlay
    may lie in memory, as that of a live system or a container does.
    """
    best, kind = "", ""
    for line in lines_of(mounts):
        before, _, after = line.partition(" - ")
        fields = before.split()
        if len(fields) < 5 or not after.strip():
            continue
        point = fields[4].replace("\\040", " ")
        if (path == point or path.startswith(point.rstrip("/") + "/")) and len(point) >= len(best):
            best, kind = point, after.split()[0]
    return kind if kind in FORGETFUL else ""


def read_heartbeats() -> tuple[str, ...]:
    """Return which of HEARTBEATS run here."""
    return tuple(sorted({process["name"] for process in _processes("name")} & HEARTBEATS))


def _processes(*attributes: str) -> Iterator[Mapping[str, str]]:
    """Yield these attributes of each process, except for one that ends meanwhile or cannot be read."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            yield process.as_dict(attributes)


def _free_bytes(directory: str) -> int:
    while not os.path.isdir(directory):
        directory = os.path.dirname(directory)
    free = os.statvfs(directory)
    return free.f_bavail * free.f_frsize
