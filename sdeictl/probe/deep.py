"""`probe --deep`: the journal and the kernel's memory, for a host on which the boot log is overwritten."""

from __future__ import annotations

import errno
import re
from typing import BinaryIO

from sdeictl.host.gap import GapKind
from sdeictl.host.live import LiveRoot
from sdeictl.host.paths import KALLSYMS, KCORE
from sdeictl.host.programs import output_of
from sdeictl.host.reader import Reader
from sdeictl.klog.journald import parse_journal
from sdeictl.probe.kernel import FLAG

JOURNAL = "journalctl -k -b 0 -o json"
_FLAG_LINE = re.compile(rb"^([0-9a-f]{1,16}) [bBdD] %b$" % FLAG.encode(), re.MULTILINE)


def read_journal(reader: Reader) -> bytes | None:
    """Return the kernel's records of this boot in the systemd journal, in the format of `dmesg -r`.

    Returns None and notes a gap if they cannot be read.
    """
    program, *arguments = JOURNAL.split()
    output = reader.attempt(program, lambda name: output_of(name, *arguments), source=JOURNAL)
    return None if output is None else parse_journal(output)


def read_flag(reader: Reader) -> bool | None:
    """Return sdei_nmi_available from the memory of the running kernel.

    Returns None without a gap if the host is captured, or if the kernel has no such flag or none that
    /proc/kallsyms lists; returns None and notes a gap if the flag cannot be read.
    """
    root = reader.root
    if not isinstance(root, LiveRoot):
        return None  # a captured host has no memory
    symbols = reader.optional(KALLSYMS, root.read)
    line = _FLAG_LINE.search(symbols or b"")
    if line is None:
        return None
    address = int(line[1], 16)
    if not address:
        reader.gap(KCORE, GapKind.DENIED, f"{KALLSYMS} hides the address of {FLAG}: run as root")
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
