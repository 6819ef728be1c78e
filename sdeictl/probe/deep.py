"""`probe --deep`: the journal, the kernel's memory, and how often idle CPUs mask SDEI."""

from __future__ import annotations

import errno
import re
import time
from typing import BinaryIO

from sdeictl.formats.cpulist import parse_cpulist
from sdeictl.formats.sysctl import parse_number
from sdeictl.host.gap import GapKind
from sdeictl.host.live import LiveRoot
from sdeictl.host.paths import CPUS_ONLINE, KALLSYMS, KCORE, NOTIFIER_RUN
from sdeictl.host.programs import output_of
from sdeictl.host.reader import Reader
from sdeictl.host.tracepoint import counting
from sdeictl.klog.journald import parse_journal
from sdeictl.probe.facts import MaskCount
from sdeictl.probe.kernel import FLAG, NOTIFIER
from sdeictl.probe.settings import read_idle_usage

JOURNAL = "journalctl -k -b 0 -o json"
COUNT_SECONDS = 3.0


def read_journal(reader: Reader) -> bytes | None:
    """Return the kernel's records of this boot in the systemd journal, in the format of `dmesg -r`.

    Returns None and notes a gap if they cannot be read.
    """
    program, *arguments = JOURNAL.split()
    output = reader.attempt(program, lambda name: output_of(name, *arguments), source=JOURNAL)
    return None if output is None else parse_journal(output)


def read_symbol_table(reader: Reader) -> bytes:
    """Return /proc/kallsyms, which has the addresses; b"" if the kernel has none, or if it cannot be read."""
    return reader.optional(KALLSYMS, reader.root.read) or b""


def read_flag(reader: Reader, symbols: bytes) -> bool | None:
    """Return sdei_nmi_available from the memory of the running kernel.

    Returns None without a gap if the host is captured, or if the kernel has no such flag or none that
    /proc/kallsyms lists; returns None and notes a gap if the flag cannot be read.
    """
    root = reader.root
    if not isinstance(root, LiveRoot):
        return None  # a captured host has no memory
    address = _address_of(reader, symbols, FLAG, KCORE)
    if address is None:
        return None

    def read_byte(path: str) -> int:
        with root.open(path) as stream:
            return byte_at(stream, address)

    value = reader.attempt(KCORE, read_byte)
    if value in (0, 1):
        return bool(value)
    if value is not None:
        reader.gap(KCORE, GapKind.BROKEN, f"{FLAG} reads {value}, which is not a bool")
    return None


def count_masking(reader: Reader, symbols: bytes) -> MaskCount | None:
    """Count for COUNT_SECONDS how often idle CPUs mask SDEI.

    Returns None without a gap if the host is captured or its kernel has no SDEI driver; returns None and
    notes a gap if the calls cannot be counted.
    """
    address = _address_of(reader, symbols, NOTIFIER, NOTIFIER_RUN) if reader.root.live else None
    if address is None:
        return None
    if reader.exists(f"{NOTIFIER_RUN}/id") is False:
        detail = "tracefs is not mounted, or the kernel has no such tracepoint (Linux 6.5 has it)"
        reader.gap(NOTIFIER_RUN, GapKind.ABSENT, detail)
        return None
    return reader.attempt(NOTIFIER_RUN, lambda directory: _count(reader, directory, address))


def _count(reader: Reader, directory: str, address: int) -> MaskCount:
    online = parse_cpulist(reader.value(CPUS_ONLINE) or "")
    if not online:  # a count on no CPU would read 0
        raise OSError(errno.EINVAL, f"{CPUS_ONLINE} names no CPU")
    with counting(directory, f"cb == {address:#x}", online) as calls:
        first = read_idle_usage(reader.root, online)
        time.sleep(COUNT_SECONDS)
        last = read_idle_usage(reader.root, online)
        times = calls()
    return MaskCount(COUNT_SECONDS, times, all(map(_was_entered, map(first.get, last), last.values())))


def _was_entered(first: str | None, last: str) -> bool:
    """Tell whether a state was entered between two readings of its usage, or never since the boot."""
    before, after = parse_number(first or ""), parse_number(last)
    return after == 0 or (before is not None and after is not None and before < after)


def _address_of(reader: Reader, symbols: bytes, symbol: str, needed_by: str) -> int | None:
    """Return the address of a symbol; note a gap of `needed_by` if /proc/kallsyms hides it."""
    line = re.search(rb"^([0-9a-f]{1,16}) [a-zA-Z] %b$" % re.escape(symbol.encode()), symbols, re.MULTILINE)
    address = int(line[1], 16) if line else None
    if address == 0:
        reader.gap(needed_by, GapKind.DENIED, f"{KALLSYMS} hides the address of {symbol}: run as root")
        return None
    return address


def byte_at(core: BinaryIO, address: int) -> int:
    """Return the byte at a virtual address of an ELF core; raise OSError if the core does not contain it."""
    from elftools.common.exceptions import ELFError  # noqa: PLC0415 - only --deep needs pyelftools
    from elftools.construct import ConstructError  # noqa: PLC0415 - as above
    from elftools.elf.elffile import ELFFile  # noqa: PLC0415 - as above

    try:
        for segment in ELFFile(core).iter_segments("PT_LOAD"):
            distance = address - segment["p_vaddr"]
            if 0 <= distance < segment["p_filesz"]:
                core.seek(segment["p_offset"] + distance)
                if byte := core.read(1):
                    return byte[0]
    except (ELFError, ConstructError, ValueError, OverflowError) as error:
        raise OSError(errno.EINVAL, f"it is not an ELF core: {error}") from error
    raise OSError(errno.EFAULT, f"it does not contain the address {address:#x}")
