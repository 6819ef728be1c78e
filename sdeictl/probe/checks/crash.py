"""Whether a crash leaves a dump that can be read."""

from __future__ import annotations

from collections.abc import Iterator

from sdeictl.formats.cmdline import parse_parameters
from sdeictl.host.paths import CMDLINE, KEXEC_CRASH_LOADED, KEXEC_CRASH_SIZE, MAKEDUMPFILE
from sdeictl.probe.checks.check import Check, Witness
from sdeictl.probe.facts import HostFacts
from sdeictl.probe.settings import lacks, number
from sdeictl.probe.words import Owner


def _reserved(facts: HostFacts) -> Iterator[Witness]:
    size = number(facts, KEXEC_CRASH_SIZE)
    if size is not None:
        asked = facts.command_line is not None and _has_crashkernel(facts.command_line)
        why = " although the command line asks for it" if asked and not size else ""
        seen = f"the kernel reserves {size} bytes for a crash kernel{why}"
        yield Witness(bool(size), seen, KEXEC_CRASH_SIZE)
    elif lacks(facts, KEXEC_CRASH_SIZE):
        yield Witness(False, "the kernel does not support crash kernels", KEXEC_CRASH_SIZE)
    if facts.command_line is not None and not _has_crashkernel(facts.command_line):
        yield Witness(None, "the command line has no crashkernel=", CMDLINE)


def _has_crashkernel(text: str) -> bool:
    return any(name == "crashkernel" for name, _ in parse_parameters(text))


def _loaded(facts: HostFacts) -> Iterator[Witness]:
    loaded = number(facts, KEXEC_CRASH_LOADED)
    if loaded is not None:
        yield Witness(bool(loaded), f"{'a' if loaded else 'no'} crash kernel is loaded", KEXEC_CRASH_LOADED)
    elif lacks(facts, KEXEC_CRASH_LOADED):
        yield Witness(False, "the kernel does not support crash kernels", KEXEC_CRASH_LOADED)


def _makedumpfile(facts: HostFacts) -> Iterator[Witness]:
    if number(facts, KEXEC_CRASH_LOADED) == 0:
        yield Witness(False, "no crash kernel is loaded", KEXEC_CRASH_LOADED, applies=False)
        return
    if facts.makedumpfile is False:
        yield Witness(False, "makedumpfile is not installed", MAKEDUMPFILE[0])
    for config in facts.configs if facts.makedumpfile else ():
        values = dict(config.values)
        bits = values.get("ARM64_VA_BITS")
        pages = next((size for size in ("4", "16", "64") if values.get(f"ARM64_{size}K_PAGES") == "y"), None)
        if bits and pages:
            # Every version in use reads this; for other kernels only a trial can tell.
            known = True if (pages, bits) == ("4", "48") else None
            kernel = f"{pages} KiB pages and {bits}-bit virtual addresses"
            seen = f"makedumpfile is installed; the kernel has {kernel}"
            yield Witness(known, seen, config.source)


CRASH_CHECKS = (
    Check(
        "kdump-reserved", None, "Memory is reserved for a crash kernel",
        "Without it a crash leaves no dump, and no registers of the stuck CPU.",
        "crashkernel= is on the command line, and kexec_crash_size is above 0",
        "Boot with crashkernel=, with the value that the distribution's kdump guide names for this much"
        " memory.",
        Owner.ADMIN, _reserved,
    ),
    Check(
        "kdump-loaded", None, "A crash kernel is loaded",
        "At a panic the kernel stops the CPUs by the stop ladder, and the crash kernel saves their"
        " registers.",
        "kexec_crash_loaded reads 1",
        "Install and start the distribution's kdump service (kdump-tools, kexec-tools).",
        Owner.ADMIN, _loaded,
    ),
    Check(
        "kdump-makedumpfile", None, "makedumpfile can reduce the dump",
        "Without it the dump is as large as the memory. A version that does not know the page size and"
        " address width of the kernel writes a dump that cannot be read.",
        "makedumpfile is installed, and knows the page size and address width of the kernel",
        "Install makedumpfile. For pages above 4 KiB or addresses above 48 bits install a recent version,"
        " and try it.",
        Owner.ADMIN, _makedumpfile,
    ),
)  # fmt: skip
