"""/proc/cpuinfo: arch/arm64/kernel/cpuinfo.c, arch/arm64/include/asm/cputype.h (Linux 7.3). No I/O."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from sdeictl.text import NamedTuple

# (implementer, part) to the name of the core. cputype.h names cores, not products.
_CORES = {
    (0x41, 0xD07): "Cortex-A57",
    (0x41, 0xD08): "Cortex-A72",
    (0x41, 0xD0B): "Cortex-A76",
    (0x41, 0xD0C): "Neoverse N1",
    (0x41, 0xD40): "Neoverse V1",
    (0x41, 0xD49): "Neoverse N2",
    (0x41, 0xD4F): "Neoverse V2",
    (0x41, 0xD83): "Neoverse V3AE",
    (0x41, 0xD84): "Neoverse V3",
    (0x41, 0xD8E): "Neoverse N3",
    (0x43, 0x0AF): "ThunderX2",
    (0x46, 0x001): "A64FX",
    (0x48, 0xD01): "TSV110",
    (0x48, 0xD02): "HIP09",
    (0x48, 0xD06): "HIP12",
    (0x4E, 0x010): "Olympus",
    (0x6D, 0xD49): "Cobalt 100",
    (0xC0, 0xAC3): "AmpereOne",
    (0xC0, 0xAC4): "AmpereOne A",
}
# Lines that only the cpuinfo of another architecture contains.
_OTHER_ARCHITECTURES = (
    ("x86", r"^(?:vendor_id[ \t]*: (?!IBM/S390)|cpu family[ \t]*: \d)"),
    ("s390", r"^vendor_id[ \t]*: IBM/S390"),
    ("powerpc", r"^cpu[ \t]*: (?:POWER|PPC|Cell|e\d)"),
    ("riscv", r"^(?:hart|isa)[ \t]*: "),
    ("loongarch", r"^CPU Family[ \t]*: Loongson"),
)
_LINES = re.ASCII | re.MULTILINE
_PROCESSOR = re.compile(r"^processor[ \t]*: \d.*", _LINES)
_FIELD = re.compile(r"^CPU (implementer|variant|part|revision)[ \t]*: (0x[0-9a-fA-F]{1,4}|\d{1,4})", _LINES)


class Cpus(NamedTuple):
    """The CPUs that /proc/cpuinfo lists."""

    online: int
    """How many CPUs are online."""
    midr: int | None
    """MIDR_EL1 of the first CPU; None if the architecture is not arm64."""
    name: str | None
    """The name of the first CPU's core; None if this module does not know it."""
    kinds: tuple[tuple[str, int], ...] = ()
    """(name or else MIDR_EL1, number of CPUs) of each kind of core."""


def parse_architecture(cpuinfo: str) -> str | None:
    """Return `arm64` or the name of another architecture; None without a line that shows one."""
    if re.search(r"^CPU architecture[ \t]*: [4-7]", cpuinfo, re.MULTILINE):
        return "arm"
    if re.search(r"^CPU implementer[ \t]*: ", cpuinfo, re.MULTILINE):
        return "arm64"
    return next((name for name, pattern in _OTHER_ARCHITECTURES if re.search(pattern, cpuinfo, _LINES)), None)


def parse_cpuinfo(cpuinfo: str) -> Cpus:
    """Return the CPUs in the text of /proc/cpuinfo."""
    online = 0
    kinds: dict[int, int] = {}
    first = None
    for block in _PROCESSOR.split(cpuinfo)[1:]:
        online += 1
        midr = _midr({match[1]: _number(match[2]) for match in _FIELD.finditer(block)})
        if midr is not None:
            first = midr if first is None else first
            kinds[midr] = kinds.get(midr, 0) + 1
    return Cpus(online, first, _core(first), _named(kinds)) if first is not None else Cpus(online, None, None)


def cpus_of_midrs(online: int, midrs: Sequence[int]) -> Cpus:
    """Return the CPUs of a boot log, which names MIDR_EL1 of each CPU or only of the first."""
    first = midrs[0] if midrs else None
    kinds = Counter(midrs) if len(midrs) == online else {}
    return Cpus(online, first, None if first is None else _core(first), _named(kinds))


def _named(kinds: Mapping[int, int]) -> tuple[tuple[str, int], ...]:
    return tuple((_core(midr) or f"{midr:#010x}", count) for midr, count in kinds.items())


def _number(text: str) -> int:
    return int(text, 16) if text.startswith("0x") else int(text)


def _midr(fields: dict[str, int]) -> int | None:
    """Return MIDR_EL1, composed of its fields as in cputype.h; None if an identifying field is missing."""
    if not {"implementer", "part"} <= fields.keys():
        return None
    return (
        fields["implementer"] << 24 | fields.get("variant", 0) << 20 | 0xF << 16
        | fields["part"] << 4 | fields.get("revision", 0)
    )  # fmt: skip


def _core(midr: int) -> str | None:
    return _CORES.get((midr >> 24, midr >> 4 & 0xFFF))
