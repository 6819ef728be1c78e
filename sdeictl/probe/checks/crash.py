"""Whether a crash would leave a dump, and one that can be read."""

from collections.abc import Iterator

from sdeictl.formats.cmdline import parse_parameters
from sdeictl.probe.checks.check import Check, Witness, lacks, number
from sdeictl.probe.facts import HostFacts
from sdeictl.probe.kernel import CMDLINE
from sdeictl.probe.settings import COUNTERS, MAKEDUMPFILE

LOADED = f"{COUNTERS}/kexec_crash_loaded"
SIZE = f"{COUNTERS}/kexec_crash_size"


def _reserved(facts: HostFacts) -> Iterator[Witness]:
    size = number(facts, SIZE)
    if size is not None:
        asked = facts.command_line is not None and _has_crashkernel(facts.command_line)
        why = " although the command line asks for it" if asked and not size else ""
        yield Witness(bool(size), f"{size} bytes are reserved{why}", SIZE)
    elif lacks(facts, SIZE):
        yield Witness(False, "the kernel has no crash kernel support", SIZE)
    if facts.command_line is not None and not _has_crashkernel(facts.command_line):
        yield Witness(None, "the command line has no crashkernel=", CMDLINE)


def _has_crashkernel(text: str) -> bool:
    return any(name == "crashkernel" for name, _ in parse_parameters(text))


def _loaded(facts: HostFacts) -> Iterator[Witness]:
    loaded = number(facts, LOADED)
    if loaded is not None:
        yield Witness(bool(loaded), f"a crash kernel is {'' if loaded else 'not '}loaded", LOADED)
    elif lacks(facts, LOADED):
        yield Witness(False, "the kernel has no crash kernel support", LOADED)


def _makedumpfile(facts: HostFacts) -> Iterator[Witness]:
    if number(facts, LOADED) == 0:
        yield Witness(False, "no crash kernel is loaded", LOADED, applies=False)
        return
    if facts.makedumpfile is False:
        yield Witness(False, "it is not installed", MAKEDUMPFILE[0])
    for config in facts.configs if facts.makedumpfile else ():
        values = dict(config.values)
        bits = values.get("ARM64_VA_BITS")
        pages = next((size for size in ("4", "16", "64") if values.get(f"ARM64_{size}K_PAGES") == "y"), None)
        if bits and pages:
            # Every version in use reads this; of the others only a run would tell.
            known = True if (pages, bits) == ("4", "48") else None
            seen = f"it is installed; the kernel has {pages} KiB pages and {bits} bits of virtual addresses"
            yield Witness(known, seen, config.source)


CRASH_CHECKS = (
    Check(
        "kdump-reserved", "", "Memory is reserved for a crash kernel",
        "Without it there is no dump, and no registers of the CPU that was stuck.",
        "crashkernel= on the command line, and kexec_crash_size above 0",
        "Boot with crashkernel=, as the distribution's kdump guide says for this much memory.",
        "admin", _reserved,
    ),
    Check(
        "kdump-loaded", "", "A crash kernel is loaded",
        "At a panic the CPUs are stopped by the path of the verdict, and their registers go into the dump.",
        "kexec_crash_loaded reads 1",
        "Install and start the distribution's kdump service (kdump-tools, kexec-tools).",
        "admin", _loaded,
    ),
    Check(
        "kdump-makedumpfile", "", "makedumpfile can reduce the dump",
        "Without it the dump is as large as the memory. Versions that do not know the kernel's page size and"
        " address width write one that cannot be read.",
        "makedumpfile is installed, and knows the kernel's page size and address width",
        "Install makedumpfile; with pages or addresses beyond 4 KiB and 48 bits take a recent one, and try"
        " it.",
        "admin", _makedumpfile,
    ),
)  # fmt: skip
