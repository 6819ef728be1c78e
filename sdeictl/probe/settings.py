"""What no log tells of the running kernel: idle states, sysctls, counters, consoles, what drills can use."""

import json
import posixpath
import re
from typing import Any

from sdeictl.formats.interrupts import BACKTRACE_ROW
from sdeictl.host.reader import Reader
from sdeictl.probe.facts import DrillAbilities, Evidence, IdleStates, Interrupts, StoredDrill
from sdeictl.probe.kernel import CPU_DEVICES

INTERRUPTS = "/proc/interrupts"
SYSCTLS = "/proc/sys/kernel"
COUNTERS = "/sys/kernel"
RCU = "/sys/module/rcupdate/parameters"
POST_NOTIFIERS = "/sys/module/kernel/parameters/crash_kexec_post_notifiers"
LOCKDOWN = "/sys/kernel/security/lockdown"
DEBUGFS = "/sys/kernel/debug"
BPF_JIT = "/proc/sys/net/core/bpf_jit_enable"
CONSOLES = "/proc/consoles"
MAX_CONSOLES_BYTES = 1 << 16
PSTORE_BACKEND = "/sys/module/pstore/parameters/backend"
RAMOOPS_CONSOLE = "/sys/module/ramoops/parameters/console_size"
PROGRAMS = "/usr/bin"
MAKEDUMPFILE = ("/usr/sbin/makedumpfile", "/usr/bin/makedumpfile", "/sbin/makedumpfile")

SETTINGS = (
    *(
        f"{SYSCTLS}/{name}"
        for name in (
            "watchdog", "soft_watchdog", "nmi_watchdog", "watchdog_thresh", "watchdog_cpumask",
            "hardlockup_panic", "softlockup_panic", "hardlockup_all_cpu_backtrace",
            "softlockup_all_cpu_backtrace", "hung_task_timeout_secs", "hung_task_panic",
            "hung_task_detect_count", "panic", "panic_on_oops", "panic_on_warn", "panic_on_rcu_stall",
            "sysrq",
        )
    ),
    *(
        f"{COUNTERS}/{name}"
        for name in (
            "hardlockup_count", "softlockup_count", "rcu_stall_count", "oops_count", "warn_count",
            "kexec_crash_loaded", "kexec_crash_size",
        )
    ),
    f"{RCU}/rcu_cpu_stall_timeout",
    f"{RCU}/rcu_cpu_stall_suppress",
    POST_NOTIFIERS,
)  # fmt: skip
"""Small files whose one line the checks ask for; each may be missing in a kernel."""

DRILLS = "/var/lib/sdeictl/drills"
MAX_DRILLS = 10
_DRILL_NAME = re.compile(r"\d{8}T\d{6}\.\d{6}Z-[a-z]+\.json", re.ASCII)

CPU_NAME = re.compile(r"cpu\d{1,4}", re.ASCII)
_CPU_HEADER = re.compile(rb"(?:[ ]+CPU\d+)+[ ]*", re.ASCII)
_CONSOLE = re.compile(r"(\S+) +[-R][-W][-U] \(.*")
# The controller of a row, before the number it has there; a device may be called anything.
_GIC = re.compile(rb" (GICv[1-9]|GIC-\d)(?: +|-)\d+ +(?:Level|Edge) ")
GICV3 = ("GICv3", "GICv4")
"""What irq-gic-v3*.c call the controllers whose CPU interface can do pseudo-NMI."""
_COUNT = re.compile(rb"\d{1,20}\n")
_CHOSEN = re.compile(r"\[(\w+)\]")


def read_idle_states(reader: Reader) -> IdleStates | None:
    """Read which idle states but the first the CPUs have been in; None where there is no cpuidle."""
    driver = reader.optional(f"{CPU_DEVICES}/cpuidle/current_driver", reader.root.read)
    if driver is None:
        return None
    used: set[str] = set()
    for cpu in reader.optional(CPU_DEVICES, reader.root.names) or ():
        directory = f"{CPU_DEVICES}/{cpu}/cpuidle"
        states = reader.optional(directory, reader.root.names) if CPU_NAME.fullmatch(cpu) else None
        for state in states or ():
            name = _read_used_state(reader, f"{directory}/{state}") if state != "state0" else None
            used.update({name} if name else ())
    return IdleStates(driver.decode("utf-8", "replace").strip(), tuple(sorted(used)))


def _read_used_state(reader: Reader, directory: str) -> str | None:
    """Return the name of an idle state if its CPU has been in it."""
    usage = reader.optional(f"{directory}/usage", reader.root.read)
    if not usage or not _COUNT.fullmatch(usage) or not usage.strip(b"0\n"):
        return None
    name = reader.optional(f"{directory}/name", reader.root.read)
    return (name or b"").decode("utf-8", "replace").strip() or posixpath.basename(directory)


def read_interrupts(reader: Reader) -> Interrupts | None:
    """Read which interrupt controller serves, and whether requests for backtraces are counted."""
    data = reader.attempt(INTERRUPTS, reader.root.read)
    if data is None:
        return None
    controllers = set(_GIC.findall(data))
    header, _, rows = data.partition(b"\n")
    if not _CPU_HEADER.fullmatch(header):
        reader.gap(INTERRUPTS, "broken", "its first line does not name the CPUs")
        return None
    return Interrupts(
        # A GICv3 and a cascaded one: which of them serves the CPUs is not told.
        gic=controllers.pop().decode() if len(controllers) == 1 else None,
        cpus=len(header.split()) if rows else None,
        backtrace_row=BACKTRACE_ROW.encode() in data,
    )


def read_settings(reader: Reader) -> tuple[tuple[str, str], ...] | None:
    """Read the settings that are there; a whole directory that is missing is a gap."""
    if reader.attempt(SYSCTLS, reader.root.names) is None:
        return None
    values = ((path, reader.value(path)) for path in SETTINGS)
    return tuple((path, value) for path, value in values if value is not None)


def read_drill_abilities(reader: Reader, release: str | None) -> DrillAbilities:
    """Read what could provoke a stuck CPU: LKDTM, the test_lockup module, BPF; and the lockdown level."""
    debugfs = reader.listing(DEBUGFS)
    modules = reader.listing(f"/lib/modules/{release}/kernel/lib") if release else None
    lockdown = reader.value(LOCKDOWN)
    level = _CHOSEN.search(lockdown or "")
    jit = reader.value(BPF_JIT)
    return DrillAbilities(
        lkdtm="provoke-crash" in debugfs if debugfs else None,
        test_lockup=any(name.startswith("test_lockup.ko") for name in modules) if modules else None,
        bpf_jit=jit != "0" if jit and jit.isdecimal() else None,
        lockdown=level[1] if level else None,
    )


def read_evidence(reader: Reader) -> Evidence | None:
    """Read which channels carry a kernel's last words across a reset."""
    text = reader.text(CONSOLES, MAX_CONSOLES_BYTES)
    if text is None:
        return None
    consoles = [_CONSOLE.fullmatch(line) for line in text.splitlines()]
    if not text.endswith("\n") or None in consoles:
        reader.gap(CONSOLES, "broken", "it is no list of consoles: it was cut, or is something else")
        return None
    backend = reader.value(PSTORE_BACKEND)
    size = reader.value(RAMOOPS_CONSOLE) or ""
    return Evidence(
        consoles=tuple(console[1] for console in consoles if console),
        pstore=None if backend in (None, "", "(null)") else backend,
        ramoops_console=int(size) if size.isdecimal() else None,
    )


def read_stored_drills(reader: Reader) -> tuple[StoredDrill, ...]:
    """Read what the last drills on this host have left; one that cannot be read is a gap."""
    names = [name for name in reader.listing(DRILLS) or () if _DRILL_NAME.fullmatch(name)]
    drills = []
    for name in names[-MAX_DRILLS:]:
        data = reader.optional(f"{DRILLS}/{name}", reader.root.read)
        if data is None:
            continue
        try:
            drills.append(_parse_drill(json.loads(data)))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            reader.gap(f"{DRILLS}/{name}", "broken", "it is no sdeictl.drill/1")
    return tuple(drills)


def _parse_drill(result: dict[str, Any]) -> StoredDrill:
    silent = [int(cpu["cpu"]) for cpu in result["cpus"] if cpu["state"] in ("silent", "late")]
    lost = [int(cpu) for cpu in result["lost_cpus"]]
    host = result["host"]
    return StoredDrill(
        str(result["id"]), host.get("kernel"), host.get("firmware"), str(result["path"]),
        tuple(silent), tuple(lost),
    )  # fmt: skip


def read_makedumpfile(reader: Reader) -> bool | None:
    """Tell whether makedumpfile is installed; without it a kdump is as large as the memory."""
    if not reader.exists(PROGRAMS):
        return None
    found = [reader.exists(path) for path in MAKEDUMPFILE]
    return True if True in found else (None if None in found else False)
