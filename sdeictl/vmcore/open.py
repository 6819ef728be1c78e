"""Which format does a crash dump have? The first bytes of the file decide."""

from __future__ import annotations

from typing import BinaryIO

from sdeictl.vmcore.corefile import CoreError, CoreFile
from sdeictl.vmcore.elf import ElfCore
from sdeictl.vmcore.kdump import SIGNATURE, KdumpCore

_ELF = b"\x7fELF"
_FLATTENED = b"makedumpfile\0"
"""makedumpfile -F: a stream, as it is sent to another host."""


def open_core(file: BinaryIO) -> CoreFile:
    """Return the dump in an open, seekable file; raise CoreError if the file is not a readable dump."""
    start = file.read(16)
    if start.startswith(_ELF):
        return ElfCore(file)
    if start.startswith(SIGNATURE):
        return KdumpCore(file)
    if start.startswith(_FLATTENED):
        raise CoreError("it is flattened: rearrange it first (`makedumpfile -R NEW < FILE`)")
    raise CoreError("it is neither an ELF dump nor a compressed dump from makedumpfile")
