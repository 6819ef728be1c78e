"""What of each file that the probe reads may leave the host in a capture. No I/O.

A file leaves only by a rule of this module, and a rule keeps only what a check reads: known words, numbers,
and the names of the kernel's own functions. The text that reports show by contract stays: the release of the
kernel, the names of the machine, of its firmware and of its system on chip. Where a check compares other
names, a number stands for each of them. A file that the probe cannot read for what it is stays so.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence

from sdeictl.formats.acpidump import MAX_DUMP_BYTES
from sdeictl.formats.cpulist import parse_cpulist
from sdeictl.host.paths import (
    ACPI_TABLES,
    BOOT_DIRECTORY,
    BPF_JIT,
    CAPTURED_LOGS,
    CMDLINE,
    CONFIG_GZ,
    CONSOLES,
    CPU_DEVICES,
    CPUIDLE_OFF,
    CPUINFO,
    DEBUGFS,
    DEVICE_TREE,
    DMI,
    DRILL_RESULTS,
    HOTPLUG_STATES,
    HYPERVISOR,
    INTERRUPTS,
    KALLSYMS,
    KMSG,
    LOCKDOWN,
    MAKEDUMPFILE,
    MODULES,
    PLATFORM_BUS,
    POST_NOTIFIERS,
    PSTORE_BACKEND,
    RAMOOPS_CONSOLE,
    SOC_DEVICES,
    SYSCTLS,
    USER_PROGRAMS,
    VERSION,
    WATCHDOG_CPUMASK,
)
from sdeictl.host.reader import MAX_TEXT_BYTES, one_line
from sdeictl.klog.messages.boot import RELEASE
from sdeictl.klog.public import LEFT_OUT, public_log
from sdeictl.klog.words import CpuState, NmiPath
from sdeictl.probe import names
from sdeictl.probe.acpi import ACPIDUMP, CODE, DMI_NAMES
from sdeictl.probe.clean_acpi import TABLES, clean_acpidump, clean_table
from sdeictl.probe.clean_text import (
    BROKEN,
    OTHER,
    clean_command_line,
    clean_config,
    clean_config_gz,
    clean_consoles,
    clean_cpuinfo,
    clean_hotplug_states,
    clean_interrupts,
    clean_version,
)
from sdeictl.probe.drills import DrillKind, DrillOutcome
from sdeictl.probe.facts import HostFacts
from sdeictl.probe.firmware import SDEI_COMPATIBLE, SOC_NAME, is_string_list
from sdeictl.probe.kernel import KEPT_SYMBOLS, MAX_CMDLINE_BYTES
from sdeictl.probe.settings import (
    COUNT,
    CPU_NAME,
    MAX_CONSOLES_BYTES,
    SELECTED,
    SETTINGS,
    STATE_NAME,
)
from sdeictl.probe.stored_drills import RESULT_ID, parse_cpu_states, parse_stored_drill
from sdeictl.text import NamedTuple

_NODE_PLACE = re.compile(rf"({DEVICE_TREE}/firmware/)([^/]+)(.*)")
_NUMBERS = re.compile(r"-?\d{1,20}(?: +-?\d{1,20}){0,7}|[YN]", re.ASCII)


class Cleaner:
    """Cleans the files of one host. A name that it replaces gets the same number wherever it stands."""

    def __init__(self, facts: HostFacts) -> None:
        self.facts = facts
        self._numbers: dict[str, int] = {}

    def path(self, path: str) -> str | None:
        """Return the path of a file, directory or link in the capture; None if no rule knows it."""
        place = CAPTURED_LOGS[0] if path == KMSG else path
        if not _PLACES.fullmatch(place):
            return None
        node = _NODE_PLACE.fullmatch(place)
        return f"{node[1]}{self.node(node[2])}{node[3]}" if node else place

    def file(self, path: str, data: bytes) -> bytes | None:
        """Return the part of a file that may leave; None if it is larger than the probe takes."""
        rule, match = _rule_of(path)
        if rule.limit and len(data) > rule.limit:
            return None
        return rule.clean(self, match, data)

    def listing(self, path: str, listed: Sequence[str]) -> tuple[str, ...]:
        """Return the names in a directory that a check asks for. One more name stands for all others."""
        wanted, rename = next(
            (pattern, rename) for place, pattern, rename in _LISTINGS if re.fullmatch(place, path, re.ASCII)
        )
        known = [name for name in listed if re.fullmatch(wanted, name, re.ASCII)]
        kept = {rename(self, name) for name in known}
        return tuple(sorted(kept | ({LEFT_OUT} if len(known) < len(listed) else set())))

    def name(self, name: str) -> str:
        """Return what stands for a name that only has to differ from others."""
        return f"name-{self._numbers.setdefault(name, len(self._numbers) + 1):03}" if name else ""

    def node(self, name: str) -> str:
        """Return what stands for a node of the device tree."""
        return name if re.fullmatch(rf"{names.NODE}|name", name, re.ASCII) else self.name(name)


_Clean = Callable[[Cleaner, "re.Match[str]", bytes], bytes]


class Rule(NamedTuple):
    """How one kind of file is cleaned."""

    path: str
    """A pattern for the whole path in the capture."""
    clean: _Clean
    what: str
    """What it leaves out, a noun phrase."""
    limit: int = 0
    """So many bytes the probe reads; 0: any number."""


def is_place(path: str) -> bool:
    """Tell whether a capture can have a file, a directory or a link at a path."""
    node = _NODE_PLACE.fullmatch(path)
    known = node is None or re.fullmatch(rf"{names.NODE}|name|name-\d{{3,6}}", node[2], re.ASCII)
    return bool(known and _PLACES.fullmatch(path))


def what_is_left_out(path: str) -> str:
    """Return what the rule for a file of the capture leaves out, a noun phrase."""
    return _rule_of(path)[0].what


def _rule_of(path: str) -> tuple[Rule, re.Match[str]]:
    return next((rule, match) for pattern, rule in _PATTERNS if (match := pattern.fullmatch(path)))


def _of_source(clean: Callable[[str, bytes], bytes]) -> _Clean:
    return lambda _cleaner, match, data: clean(match[0], data)


def _of_data(clean: Callable[[bytes], bytes]) -> _Clean:
    return lambda _cleaner, _match, data: clean(data)


def _of_text(clean: Callable[[str], str]) -> _Clean:
    return lambda _cleaner, _match, data: clean(data.decode("utf-8", "replace")).encode()


def _of_line(clean: Callable[[Cleaner, str], str]) -> _Clean:
    """Return a rule for a file of one line; a file of another form stays broken."""

    def of_line(cleaner: Cleaner, _match: re.Match[str], data: bytes) -> bytes:
        line = one_line(data)
        return BROKEN if line is None else f"{clean(cleaner, line)}\n".encode()

    return of_line


def _of_strings(clean: Callable[[list[str]], str]) -> _Clean:
    """Return a rule for a string list of the device tree."""

    def of_strings(_cleaner: Cleaner, _match: re.Match[str], data: bytes) -> bytes:
        if not is_string_list(data):
            return BROKEN
        return clean(data.decode("ascii").rstrip("\0").split("\0")).encode() + b"\0"

    return of_strings


def _number(_cleaner: Cleaner, line: str) -> str:
    return line if _NUMBERS.fullmatch(line) else LEFT_OUT


def _cpulist(_cleaner: Cleaner, line: str) -> str:
    return line if parse_cpulist(line) else LEFT_OUT


def _flag(_cleaner: Cleaner, line: str) -> str:
    return "Y" if line.startswith(("Y", "1")) else "N"


def _text(_cleaner: Cleaner, line: str) -> str:
    return line


def _lockdown(_cleaner: Cleaner, line: str) -> str:
    level = SELECTED.search(line)
    return f"[{level[1] if level[1] in names.LOCKDOWN_LEVELS else OTHER}]" if level else LEFT_OUT


def _backend(_cleaner: Cleaner, line: str) -> str:
    return line if line in ("", "(null)", *names.PSTORE_BACKENDS) else OTHER


def _hypervisor(name: str) -> str:
    known = names.hypervisor(name)
    return OTHER if known == names.OTHER else known


def _idle_driver(cleaner: Cleaner, line: str) -> str:
    return cleaner.name(line) if names.idle_driver(line) == names.OTHER else line


def _current_driver(cleaner: Cleaner, _match: re.Match[str], data: bytes) -> bytes:
    return f"{_idle_driver(cleaner, data.decode('utf-8', 'replace').strip())}\n".encode()


def _idle_name(_cleaner: Cleaner, line: str) -> str:
    return line if not line or names.is_idle_state(line) else LEFT_OUT


def idle_description(cleaner: Cleaner, line: str) -> str:
    """Return what stands for the description of an idle state, in sysfs as in the ACPI tables."""
    return line if names.is_idle_state(line) else cleaner.name(line)


def _usage(_cleaner: Cleaner, _match: re.Match[str], data: bytes) -> bytes:
    return data if COUNT.fullmatch(data) else BROKEN


def _acpi_table(_cleaner: Cleaner, match: re.Match[str], data: bytes) -> bytes:
    return clean_table(match[1], data)


def _acpidump(data: bytes) -> bytes:
    return clean_acpidump(data[:MAX_DUMP_BYTES].decode("ascii", "replace")).encode() or BROKEN


def _compatible(strings: list[str]) -> str:
    return SDEI_COMPATIBLE if SDEI_COMPATIBLE in strings else OTHER


def _status(strings: list[str]) -> str:
    return "okay" if strings[0] in ("okay", "ok") else "disabled"


def _drill(cleaner: Cleaner, _match: re.Match[str], data: bytes) -> bytes:
    """Return what the probe reads of a stored result. Another kernel or firmware gets a number."""
    try:
        drill = parse_stored_drill(data)
        cpus = parse_cpu_states(data)
    except (ValueError, KeyError, TypeError):
        return BROKEN
    own = (cleaner.facts.release, cleaner.facts.firmware)
    kernel, firmware = (
        name if name in (None, known) else cleaner.name(str(name)) for name, known in zip(drill.build, own)
    )
    kept = {
        "id": drill.id,
        "drill": drill.drill if drill.drill in set(DrillKind) else cleaner.name(drill.drill),
        "variant": drill.variant if drill.variant in _VARIANTS else cleaner.name(drill.variant or ""),
        "host": {"kernel": kernel, "firmware": firmware},
        "outcome": drill.outcome if drill.outcome in set(DrillOutcome) else OTHER,
        "path": drill.path if drill.path in set(NmiPath) else OTHER,
        "cpus": [{"cpu": cpu, "state": state if state in set(CpuState) else OTHER} for cpu, state in cpus],
        "lost_cpus": list(drill.lost),
    }
    return json.dumps(kept, indent=1).encode() + b"\n"


_VARIANTS = (None, "masked", "permanent", "wedged", "all-masked", "hardlockup-panic")
_CPU = rf"{CPU_DEVICES}/{CPU_NAME.pattern}/cpuidle"
_STATE = rf"{_CPU}/{STATE_NAME.pattern}"
_NODE = rf"{DEVICE_TREE}/firmware/[^/]+"
_SOC = rf"{SOC_DEVICES}/{SOC_NAME}"
_DEVICE = rf"{PLATFORM_BUS}/devices/(?:{names.PLATFORM_DEVICE})"
_NO_NUMBERS = "other text than numbers"
OTHER_NAMES = "names that no check knows"
_OTHER_OPTIONS = "options that no check reads"


def _any_of(paths: Iterable[str]) -> str:
    return "|".join(map(re.escape, paths))


RULES: tuple[Rule, ...] = (
    Rule(CPUINFO, _of_text(clean_cpuinfo), "lines such as serial numbers", MAX_TEXT_BYTES),
    Rule(
        VERSION, _of_text(clean_version), "the builder, build host and compiler of the kernel",
        MAX_TEXT_BYTES,
    ),
    Rule(
        CMDLINE, _of_text(clean_command_line), "parameters other than the known public ones",
        MAX_CMDLINE_BYTES,
    ),
    Rule(re.escape(CONFIG_GZ), _of_source(clean_config_gz), _OTHER_OPTIONS),
    Rule(
        rf"{BOOT_DIRECTORY}/config-{RELEASE}|{MODULES}/{RELEASE}/config", _of_source(clean_config),
        _OTHER_OPTIONS,
    ),
    Rule(HOTPLUG_STATES, _of_text(clean_hotplug_states), "other states", MAX_TEXT_BYTES),
    Rule(INTERRUPTS, _of_data(clean_interrupts), "the interrupts of devices"),
    Rule(CONSOLES, _of_text(clean_consoles), "all but the names of the consoles", MAX_CONSOLES_BYTES),
    Rule(
        _any_of(CAPTURED_LOGS), _of_data(public_log),
        "lines that no check reads, names of tasks and of modules, addresses and general registers",
    ),
    Rule(ACPIDUMP, _of_data(_acpidump), "tables and fields that no check reads"),
    Rule(rf"{ACPI_TABLES}/({'|'.join(TABLES)}|{CODE})", _acpi_table, "fields that no check reads"),
    Rule(rf"{DMI}/(?:{'|'.join(DMI_NAMES)})", _of_line(_text), "other text than one line"),
    Rule(rf"{_SOC}/(?:soc_id|machine)", _of_line(_text), "other text than one line"),
    Rule(rf"{_SOC}/revision", _of_line(_number), _NO_NUMBERS),
    Rule(HYPERVISOR, _of_line(lambda _cleaner, line: _hypervisor(line) if line else ""), OTHER_NAMES),
    Rule(rf"{DEVICE_TREE}/model", _of_strings(lambda strings: strings[0]), "further strings"),
    Rule(
        rf"{DEVICE_TREE}/hypervisor/compatible", _of_strings(lambda strings: _hypervisor(strings[0])),
        OTHER_NAMES,
    ),
    Rule(rf"{_NODE}/compatible", _of_strings(_compatible), OTHER_NAMES),
    Rule(rf"{_NODE}/status", _of_strings(_status), OTHER_NAMES),
    Rule(
        rf"{_NODE}/method",
        _of_strings(lambda strings: strings[0] if strings[0] in names.METHODS else OTHER), OTHER_NAMES,
    ),
    Rule(WATCHDOG_CPUMASK, _of_line(_cpulist), _NO_NUMBERS),
    Rule(POST_NOTIFIERS, _of_line(_flag), _NO_NUMBERS),
    Rule(_any_of((*SETTINGS, BPF_JIT, CPUIDLE_OFF, RAMOOPS_CONSOLE)), _of_line(_number), _NO_NUMBERS),
    Rule(LOCKDOWN, _of_line(_lockdown), "levels that are not in use"),
    Rule(PSTORE_BACKEND, _of_line(_backend), OTHER_NAMES),
    Rule(f"{CPU_DEVICES}/cpuidle/current_driver", _current_driver, OTHER_NAMES),
    Rule(f"{_CPU}/driver/name", _of_line(_idle_driver), OTHER_NAMES),
    Rule(f"{_STATE}/name", _of_line(_idle_name), OTHER_NAMES),
    Rule(f"{_STATE}/desc", _of_line(idle_description), OTHER_NAMES),
    Rule(f"{_STATE}/(?:latency|residency)", _of_line(_number), _NO_NUMBERS),
    Rule(f"{_STATE}/usage", _usage, _NO_NUMBERS),
    Rule(
        rf"{DRILL_RESULTS}/{RESULT_ID}\.json", _drill,
        "all but the drill, its kernel and firmware, its outcome, its path, and the states of the CPUs",
    ),
)  # fmt: skip
"""How each file is cleaned. The first rule whose pattern matches the path counts."""
_PATTERNS = tuple((re.compile(rule.path, re.ASCII), rule) for rule in RULES)


def _same(_cleaner: Cleaner, name: str) -> str:
    return name


_LISTINGS: tuple[tuple[str, str, Callable[[Cleaner, str], str]], ...] = (
    (f"{PLATFORM_BUS}/devices", names.PLATFORM_DEVICE, _same),
    (f"{PLATFORM_BUS}/drivers", "sdei", _same),
    (SOC_DEVICES, SOC_NAME, _same),
    (CPU_DEVICES, CPU_NAME.pattern, _same),
    (_CPU, rf"driver|{STATE_NAME.pattern}", _same),
    (SYSCTLS, _any_of(path.rpartition("/")[2] for path in SETTINGS if path.startswith(SYSCTLS)), _same),
    (DEBUGFS, "provoke-crash", _same),
    (rf"{MODULES}/{RELEASE}/kernel/lib", r"test_lockup\.ko.*", lambda _cleaner, _name: "test_lockup.ko"),
    (ACPI_TABLES, rf"{'|'.join(TABLES)}|{CODE}", _same),
    (DEVICE_TREE, "compatible|firmware|hypervisor|model", _same),
    (f"{DEVICE_TREE}/firmware", r".+", Cleaner.node),
    (DRILL_RESULTS, rf"{RESULT_ID}\.json", _same),
)
"""The directories that are listed, the names in them that a check asks for, and what stands for each."""
_LINKS = (rf"{_DEVICE}/driver", _any_of((USER_PROGRAMS, *MAKEDUMPFILE)))
"""A check asks whether these links exist."""
_PLACES = re.compile(
    "|".join(
        (
            *(rule.path for rule in RULES),
            *(place for place, _wanted, _rename in _LISTINGS),
            *_LINKS,
            KALLSYMS,
        )
    ),
    re.ASCII,
)


def clean_symbols(found: Iterable[bytes]) -> bytes:
    """Return /proc/kallsyms with only the symbols that were found in it, without their addresses."""
    lines = (b" %b\n" % name.encode() for name in KEPT_SYMBOLS)
    return b"".join(b"%016x t%b" % (0, line) for line in lines if line[:-1] in found)
