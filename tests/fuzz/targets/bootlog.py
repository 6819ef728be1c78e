"""The log of a boot: a part of it never says more than the whole, and is never more complete."""

from __future__ import annotations

from collections.abc import Iterator

from sdeictl.klog.bootlog import BootLog, BootLogReader, read_bootlog
from sdeictl.klog.log import parse_log
from sdeictl.probe.collect import collect
from tests.conftest import load_host
from tests.fuzz import logs
from tests.fuzz.harness import Target
from tests.fuzz.hosts import NAMES, MemoryRoot
from tests.fuzz.shapes import Dice

CPUINFO = b"processor\t: 0\nCPU implementer\t: 0x41\nCPU architecture: 8\nCPU part\t: 0xd0c\n"
INIT = b"[    9.000000] Run /sbin/init as init process\n"


def seeds() -> Iterator[bytes]:
    for number, name in enumerate(NAMES):
        console = load_host(name).console
        start = console.find(b"[", max(console.find(b"Booting Linux") - 40, 0))
        known = [line for line in console[start:].splitlines(keepends=True) if is_known(line)]
        yield bytes([20 * number]) + b"".join(known)[:3000] + INIT


def is_known(line: bytes) -> bool:
    return any(word.encode() in line for word in logs.WORDS if len(word) > 4)


def check(data: bytes) -> None:
    """The first byte says how much of the log is kept."""
    dice = Dice(data)
    where = dice.number(256)
    log = dice.rest()
    records = [record for record in parse_log(log).records if record.boot == 0]
    whole, part = read_bootlog(records), read_bootlog(records[: len(records) * where // 256])
    assert whole.complete or not part.complete
    assert whole.started or not part.started
    for name in ("sdei_disabled", "sdei_nmi", "vhe", "gicv3", "feat_nmi"):
        assert getattr(whole, name) or not getattr(part, name), name
    for name in BootLog._fields:
        value = getattr(part, name)
        assert (
            value in (None, False, ()) or value == getattr(whole, name) or isinstance(value, (tuple, bool))
        ), name
    facts = collect(MemoryRoot({"/proc/cpuinfo": CPUINFO, "/dmesg.txt": log}))
    bootlog = facts.bootlog or BootLog()
    assert not (bootlog.complete and parse_log(log).relayed)


TARGET = Target(check, seeds, (read_bootlog, BootLogReader.read), logs.WORDS)
