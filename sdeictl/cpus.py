"""/proc/cpuinfo. arch/arm64/kernel/cpuinfo.c, arch/arm64/include/asm/cputype.h (Linux 7.3). No I/O."""

import re

from sdeictl.facts import Cpus

# (implementer, part) to core; cputype.h names the cores, not the products.
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
# Lines that only the cpuinfo of another architecture has.
_OTHERS = (
    ("x86", re.compile(r"^(?:vendor_id\s*: (?!IBM/S390)|cpu family\s*: \d)", re.MULTILINE)),
    ("s390", re.compile(r"^vendor_id\s*: IBM/S390", re.MULTILINE)),
    ("powerpc", re.compile(r"^cpu\s*: (?:POWER|PPC|Cell|e\d)", re.MULTILINE)),
    ("riscv", re.compile(r"^(?:hart|isa)\s*: ", re.MULTILINE)),
    ("loongarch", re.compile(r"^CPU Family\s*: Loongson", re.MULTILINE)),
)
_PROCESSOR = re.compile(r"^processor\s*: \d+", re.MULTILINE)
_FIELD = re.compile(
    r"^CPU (implementer|variant|part|revision)\s*: (0x[0-9a-fA-F]{1,4}|\d{1,4})", re.MULTILINE
)


def parse_architecture(cpuinfo: str) -> str | None:
    """Return `arm64`, the name of another architecture, or None: only on positive evidence."""
    if re.search(r"^CPU implementer\s*: ", cpuinfo, re.MULTILINE):
        return "arm64"
    return next((name for name, pattern in _OTHERS if pattern.search(cpuinfo)), None)


def parse_cpuinfo(cpuinfo: str) -> Cpus:
    """Return how many CPUs are online, and the first one's MIDR_EL1 and core name."""
    fields: dict[str, int] = {}
    for match in _FIELD.finditer(cpuinfo):
        fields.setdefault(match[1], int(match[2], 0))
    online = len(_PROCESSOR.findall(cpuinfo))
    if not {"implementer", "part"} <= fields.keys():
        return Cpus(online, None, None)
    midr = (
        fields["implementer"] << 24 | fields.get("variant", 0) << 20 | 0xF << 16
        | fields["part"] << 4 | fields.get("revision", 0)
    )  # fmt: skip
    return Cpus(online, midr, _CORES.get((fields["implementer"], fields["part"])))
