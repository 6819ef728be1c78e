"""Which format a core file has: told by its first bytes."""

from typing import BinaryIO

from sdeictl.vmcore.corefile import CoreError, CoreFile
from sdeictl.vmcore.elf import ElfCore
from sdeictl.vmcore.kdump import SIGNATURE, KdumpCore

_ELF = b"\x7fELF"
_FLATTENED = b"makedumpfile\0"


def open_core(file: BinaryIO) -> CoreFile:
    """Return the core that an open file is; raise CoreError if it is none."""
    start = file.read(16)
    if start.startswith(_ELF):
        return ElfCore(file)
    if start.startswith(SIGNATURE):
        return KdumpCore(file)
    if start.startswith(_FLATTENED):
        raise CoreError("it is flattened: rearrange it first (`makedumpfile -R NEW < FILE`)")
    raise CoreError("it is neither an ELF core nor a compressed one of makedumpfile")
