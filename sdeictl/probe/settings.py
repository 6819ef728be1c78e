"""Reads the state of the running kernel: idle states, sysctls, counters, consoles, means of drills."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator
from itertools import islice

from sdeictl.formats.interrupts import (
    BACKTRACE_ROW,
    BROADCAST_ROW,
    MAX_LINE_BYTES,
    STOP_ROW,
    Interrupts,
    counts_of_row,
    parse_interrupts,
)
from sdeictl.formats.sysctl import parse_number
from sdeictl.host.gap import GapKind
from sdeictl.host.lenient import names_in, text_of
from sdeictl.host.paths import (
    BPF_JIT,
    CONSOLES,
    COUNTERS,
    CPU_DEVICES,
    CPUIDLE_OFF,
    DEBUGFS,
    INTERRUPTS,
    LOCKDOWN,
    MAKEDUMPFILE,
    MODULES,
    POST_NOTIFIERS,
    PSTORE_BACKEND,
    RAMOOPS_CONSOLE,
    RCU,
    SYSCTLS,
    USER_PROGRAMS,
    WORKQUEUE_STALL,
    cpu_device,
)
from sdeictl.host.reader import Reader
from sdeictl.host.root import Root
from sdeictl.probe import names
from sdeictl.probe.facts import DrillAbilities, Evidence, HostFacts, IdleState, IdleStates
from sdeictl.text import lines_of

MAX_CONSOLES_BYTES = 1 << 16
MAX_ROWS = 64
"""Limit for rows of one kind in /proc/interrupts; a kernel prints one."""

SETTINGS = (
    *(
        f"{SYSCTLS}/{name}"
        for name in (
            "watchdog", "soft_watchdog", "nmi_watchdog", "watchdog_thresh", "watchdog_cpumask",
            "hardlockup_panic", "softlockup_panic", "hardlockup_all_cpu_backtrace",
            "softlockup_all_cpu_backtrace", "hung_task_all_cpu_backtrace", "hung_task_timeout_secs",
            "hung_task_panic",
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
    WORKQUEUE_STALL,
)  # fmt: skip
"""Files with one line each that the checks need; a kernel may lack any of them."""

CPU_NAME = re.compile(r"cpu\d{1,4}", re.ASCII)
_CPU_HEADER = re.compile(rb"(?:[ ]+CPU\d+)+[ ]*", re.ASCII)
CONSOLE_LINE = re.compile(r"(\S+) +[-R][-W][-U] \(.*")
# The interrupt controller of a row: only the number after it distinguishes it from the name of a device.
GIC_ROW = re.compile(rb" (GICv[1-9]|GIC-\d)(?: +|-)\d+ +(?:Level|Edge) ")
GICV3 = ("GICv3", "GICv4")
"""The names of the controllers that support pseudo-NMI (drivers/irqchip/irq-gic-v3*.c)."""
ACPI_IDLE = "acpi_idle"
STATE_NAME = re.compile(r"state\d{1,3}", re.ASCII)
COUNT = re.compile(rb"\d{1,20}\n")
SELECTED = re.compile(r"\[(\w+)\]")


def read_idle_states(reader: Reader) -> IdleStates | None:
    """Return the idle states, other than the first, that a CPU has entered.

    Returns None without cpuidle, and if it is unknown whether a CPU has entered one.
    """
    driver = reader.optional(f"{CPU_DEVICES}/cpuidle/current_driver", reader.root.read)
    if driver is None:
        return None
    cpus = reader.attempt(CPU_DEVICES, reader.root.names)
    if cpus is None:
        return None
    name = driver.decode("utf-8", "replace").strip()
    used: set[str] = set()
    own_drivers = unknown = False
    for cpu in cpus:
        directory = f"{CPU_DEVICES}/{cpu}/cpuidle"
        states = reader.optional(directory, reader.root.names) if CPU_NAME.fullmatch(cpu) else None
        if "driver" in (states or ()):
            own = reader.value(f"{directory}/driver/name")
            own_drivers = own_drivers or own not in (None, name)
        for state in states or ():
            entries = _read_entries(reader, f"{directory}/{state}") if _is_deeper(state) else 0
            unknown = unknown or entries is None
            if entries:
                used.add(names.idle_state(reader.value(f"{directory}/{state}/name"), state))
    if unknown and not used:
        return None
    deep = name == ACPI_IDLE and used
    found = _read_states(reader) if deep else ()
    return IdleStates(names.idle_driver(name), tuple(sorted(used)), found, own_drivers)


def read_cpuidle_off(reader: Reader) -> bool:
    """Tell whether the kernel was booted with cpuidle.off=1."""
    return parse_number(reader.value(CPUIDLE_OFF) or "") not in (None, 0)


def read_idle_usage(root: Root, cpus: Iterable[int]) -> dict[tuple[int, str], str]:
    """Return how often each CPU has entered each of its idle states but the first; "" if that is unknown."""
    usage = {}
    for cpu in cpus:
        directory = cpu_device(cpu, "cpuidle")
        for state in filter(_is_deeper, names_in(root, directory)):
            usage[cpu, state] = text_of(root, f"{directory}/{state}/usage").strip()
    return usage


def _is_deeper(name: str) -> bool:
    return bool(STATE_NAME.fullmatch(name)) and name != "state0"


def _read_entries(reader: Reader, directory: str) -> int | None:
    """Return how often a CPU has entered an idle state; None if that is unknown."""
    usage = reader.optional(f"{directory}/usage", reader.root.read)
    return int(usage) if usage and COUNT.fullmatch(usage) else None


def _read_states(reader: Reader) -> tuple[IdleState, ...]:
    """Return the states of CPU 0, which is online on every arm64 host."""
    directory = f"{CPU_DEVICES}/cpu0/cpuidle"
    states = [
        name for name in reader.optional(directory, reader.root.names) or () if STATE_NAME.fullmatch(name)
    ]
    found = []
    for state in sorted(states, key=lambda name: int(name[len("state") :])):
        values = (
            reader.value(f"{directory}/{state}/{field}") for field in ("name", "desc", "latency", "residency")
        )
        name, description, latency, residency = (value or "" for value in values)
        shown = names.idle_state(name, state)
        found.append(IdleState(shown, description, parse_number(latency), parse_number(residency)))
    return tuple(found)


def read_interrupts(reader: Reader) -> Interrupts | None:
    """Return the facts in /proc/interrupts; None and a gap if it cannot be read."""
    data = reader.attempt(INTERRUPTS, reader.root.read)
    if data is None:
        return None
    controllers = {match[1] for match in GIC_ROW.finditer(data)}
    header, _, rows = data.partition(b"\n")
    if not is_cpu_header(header):
        reader.gap(INTERRUPTS, GapKind.BROKEN, "its first line does not name the CPUs")
        return None
    return Interrupts(
        # With a second, cascaded controller the file does not show which one serves the CPUs.
        gic=controllers.pop().decode() if len(controllers) == 1 else None,
        cpus=len(header.split()) if rows else None,
        backtrace_row=BACKTRACE_ROW.encode() in data,
        broadcasts=_sum_of_row(data, BROADCAST_ROW),
        stop_row=STOP_ROW.encode() in data,
    )


def is_cpu_header(line: bytes) -> bool:
    """Tell whether a line is the first one of /proc/interrupts."""
    return len(line) <= MAX_LINE_BYTES and _CPU_HEADER.fullmatch(line) is not None


def _sum_of_row(data: bytes, row: str) -> int | None:
    rows = rows_of(data, row)
    if not 0 < len(rows) <= MAX_ROWS:
        return None
    header = data[: data.find(b"\n")].decode("utf-8", "replace")
    counts = parse_interrupts("\n".join([header, *rows]), row)
    return sum(counts.values()) if counts else None


def rows_of(data: bytes, row: str) -> list[str]:
    """Return the lines that have counts and end with `row`, but not more than MAX_ROWS + 1."""
    lines = (line.decode("utf-8", "replace") for line in _lines_with(data, row.encode()))
    found = (line for line in lines if line.rstrip().endswith(row) and counts_of_row(line))
    return [*islice(found, MAX_ROWS + 1)]


def _lines_with(data: bytes, words: bytes) -> Iterator[bytes]:
    """Yield the lines with these words, as far as they can be lines of /proc/interrupts."""
    at = data.find(words)
    while at >= 0:
        end = data.find(b"\n", at, at + MAX_LINE_BYTES)
        end = len(data) if end < 0 else end
        start = data.rfind(b"\n", 0, at) + 1
        if end - start <= MAX_LINE_BYTES:
            yield data[start:end]
        at = data.find(words, end)


def read_settings(reader: Reader) -> tuple[tuple[str, str], ...] | None:
    """Return (path, value) of each file of SETTINGS that exists; None and a gap without the directory."""
    if reader.attempt(SYSCTLS, reader.root.names) is None:
        return None
    values = ((path, reader.value(path)) for path in SETTINGS)
    return tuple((path, value) for path, value in values if value is not None)


def read_drill_abilities(reader: Reader, release: str | None) -> DrillAbilities:
    """Return what a drill could use to mask a CPU (LKDTM, test_lockup, BPF), and the lockdown level."""
    debugfs = reader.listing(DEBUGFS)
    modules = reader.listing(f"{MODULES}/{release}/kernel/lib") if release else None
    lockdown = reader.value(LOCKDOWN)
    level = SELECTED.search(lockdown or "")
    jit = parse_number(reader.value(BPF_JIT) or "")
    return DrillAbilities(
        lkdtm="provoke-crash" in debugfs if debugfs else None,
        test_lockup=any(name.startswith("test_lockup.ko") for name in modules) if modules else None,
        bpf_jit=None if jit is None else jit != 0,
        lockdown=names.lockdown_level(level[1]) if level else None,
    )


def read_evidence(reader: Reader) -> Evidence | None:
    """Return the channels that can keep the last lines of a kernel across a reset."""
    text = reader.text(CONSOLES, MAX_CONSOLES_BYTES)
    if text is None:
        return None
    consoles = [CONSOLE_LINE.fullmatch(line) for line in lines_of(text)]
    if not text.endswith("\n") or None in consoles:
        text = "it is not a list of consoles: it was cut short, or is another file"
        reader.gap(CONSOLES, GapKind.BROKEN, text)
        return None
    backend = reader.value(PSTORE_BACKEND)
    return Evidence(
        consoles=tuple(names.console(console[1]) for console in consoles if console),
        pstore=names.pstore_backend(backend) if backend and backend != "(null)" else None,
        ramoops_console=parse_number(reader.value(RAMOOPS_CONSOLE) or ""),
    )


def read_makedumpfile(reader: Reader) -> bool | None:
    """Tell whether makedumpfile is installed; None if the tree does not show its programs."""
    if not reader.exists(USER_PROGRAMS):
        return None
    found = [reader.exists(path) for path in MAKEDUMPFILE]
    return True if True in found else (None if None in found else False)


def setting(facts: HostFacts, path: str) -> str | None:
    """Return the value of a setting; None if it does not exist or could not be read."""
    return dict(facts.settings or ()).get(path)


def lacks(facts: HostFacts, path: str) -> bool:
    """Tell whether the kernel lacks a setting: the file does not exist, but others in its directory do."""
    known = [name for name, _ in facts.settings or ()]
    directory = posixpath.dirname(path)
    return (
        path not in known
        and any(posixpath.dirname(name) == directory for name in known)
        and not any(gap.source == path for gap in facts.gaps)
    )


def number(facts: HostFacts, path: str) -> int | None:
    """Return the value of a setting as a number; None if it is unknown or not a number."""
    return parse_number(setting(facts, path) or "")


def read_number(root: Root, path: str) -> int | None:
    """Return the present value of a setting as a number; None if it is unknown or not a number."""
    return parse_number(Reader(root).value(path) or "")
