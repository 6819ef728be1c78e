"""ELF dumps: a damaged one raises CoreError, and no damage gives a CPU the registers of another one."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator

from sdeictl.errors import Status
from sdeictl.text import to_plain
from sdeictl.vmcore.core import Core, read_core
from sdeictl.vmcore.corefile import CoreError
from sdeictl.vmcore.elf import ElfCore
from sdeictl.vmcore.open import open_core
from sdeictl.vmcore.report import missing_cpus, vmcore_document, vmcore_status
from sdeictl.vmcore.text import render_vmcore
from tests.conftest import validate
from tests.fuzz.harness import Target
from tests.fuzz.shapes import Dice, patched
from tests.support.core_builder import elf_core
from tests.test_vmcore import STOPPED

BASE = elf_core(STOPPED)
MOST_BYTES = 16
"""The registers of this many bytes are no chance."""


def seeds() -> Iterator[bytes]:
    for at in (4, 16, 18, 28, 44, 54, 56, 64, 72, 80, 96, 120, 176, 240, 300, 700, 2000, 9000, 30000):
        yield bytes([2, at & 0xFF, at >> 8, 4]) + b"\xff\xff\0\0"
    yield bytes([0, 0, 40])


def check(data: bytes) -> None:
    check_dump(patched(BASE, Dice(data)))


def check_dump(dump: bytes) -> None:
    try:
        core = read_core(open_core(io.BytesIO(dump)))
    except CoreError as error:
        assert str(error)
        return
    check_core(core)


def check_core(core: Core) -> None:
    """Check what a dump shows, and its outputs."""
    cpus = [cpu.cpu for cpu in core.cpus]
    assert cpus == sorted(set(cpus))
    for cpu in core.cpus:
        assert cpu.known or cpu.registers is None
        assert cpu.registers or cpu.function is None
    status = vmcore_status(core)
    assert (status is Status.FAILED) is bool(missing_cpus(core))
    if status is Status.GOOD:
        assert core.cpus
        assert not core.unmatched
    document = json.loads(json.dumps(vmcore_document(core)))
    validate("vmcore-1", document)
    assert "\x1b" not in to_plain(render_vmcore(document))


TARGET = Target(check, seeds, (read_core, ElfCore.read), (), 512)
