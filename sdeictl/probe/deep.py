"""`probe --deep`: what only a program or the kernel's memory tells, where the log has rotated."""

import errno
import re
from typing import BinaryIO

from sdeictl.host.programs import output_of
from sdeictl.host.reader import Reader
from sdeictl.host.root import LiveRoot
from sdeictl.klog.journald import parse_journal
from sdeictl.probe.kernel import FLAG, KALLSYMS, KCORE

JOURNAL = "journalctl -k -b 0 -o json"
_FLAG_LINE = re.compile(rb"^([0-9a-f]{1,16}) [bBdD] %b$" % FLAG.encode(), re.MULTILINE)


def read_journal(reader: Reader) -> bytes | None:
    """Return the kernel's records of this boot in systemd's journal, as `dmesg -r` prints them."""
    program, *arguments = JOURNAL.split()
    output = reader.attempt(program, lambda name: output_of(name, *arguments), source=JOURNAL)
    return None if output is None else parse_journal(output)


def read_flag(reader: Reader, root: LiveRoot) -> bool | None:
    """Read sdei_nmi_available in the kernel's memory; None, and mostly a gap, if that cannot be."""
    symbols = reader.optional(KALLSYMS, root.read)
    line = _FLAG_LINE.search(symbols or b"")
    if line is None:
        return None
    address = int(line[1], 16)
    if not address:
        reader.gap(KCORE, "denied", f"{KALLSYMS} hides where {FLAG} is: run as root")
        return None

    def read_byte(path: str) -> int:
        with root.open(path) as stream:
            return byte_at(stream, address)

    value = reader.attempt(KCORE, read_byte)
    if value in (0, 1):
        return bool(value)
    if value is not None:
        reader.gap(KCORE, "broken", f"{FLAG} reads {value}, which is no bool")
    return None


def byte_at(core: BinaryIO, address: int) -> int:
    """Return the byte at a virtual address of an ELF core. OSError if the core does not have it."""
    from elftools.common.exceptions import ELFError  # noqa: PLC0415 - only --deep pays for it
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
        raise OSError(errno.EINVAL, f"it is no ELF core: {error}") from error
    raise OSError(errno.EFAULT, f"it has nothing at {address:#x}")
