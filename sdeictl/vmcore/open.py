"""Which format does a crash dump have? The first bytes of the file decide."""

from __future__ import annotations

import os
from typing import BinaryIO, cast

from sdeictl.vmcore.corefile import CoreError, CoreFile
from sdeictl.vmcore.elf import ElfCore
from sdeictl.vmcore.flattened import FLATTENED, FlattenedFile
from sdeictl.vmcore.kdump import SIGNATURE, KdumpCore

_ELF = b"\x7fELF"
_START_BYTES = 16


def is_core(path: str) -> bool:
    """Tell whether a regular file begins as a crash dump does, of any kind; raise OSError."""
    if not os.path.isfile(path):
        return False
    with open(path, "rb") as file:
        return file.read(_START_BYTES).startswith((_ELF, SIGNATURE, FLATTENED))


def open_core(file: BinaryIO) -> CoreFile:
    """Return the dump in an open, seekable file; raise CoreError if the file is not a readable dump."""
    start = file.read(_START_BYTES)
    if not start.startswith(FLATTENED):
        return _open_plain(file, start)
    stream = FlattenedFile(file)
    try:
        core = _open_plain(cast("BinaryIO", stream), stream.read(_START_BYTES))
    except CoreError as error:
        # makedumpfile writes the header last.
        if stream.is_complete:
            raise
        raise CoreError("it is cut short: the end of its stream is missing") from error
    core.is_truncated = core.is_truncated or not stream.is_complete
    return core


def _open_plain(file: BinaryIO, start: bytes) -> CoreFile:
    if start.startswith(_ELF):
        return ElfCore(file)
    if start.startswith(SIGNATURE):
        return KdumpCore(file)
    raise CoreError("it is neither an ELF dump nor a dump from makedumpfile")
