"""Captures and other archives: a damaged one raises SdeictlError, a whole one is judged."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Iterator
from functools import cache

from sdeictl.errors import SdeictlError, Status
from sdeictl.host.archive import ArchiveRoot
from sdeictl.host.open import open_root
from sdeictl.probe.collect import collect
from sdeictl.probe.report import build_report
from tests.fuzz.files import written
from tests.fuzz.harness import Target
from tests.fuzz.hosts import captured
from tests.fuzz.shapes import Dice, patched
from tests.fuzz.targets.host import check_report

KEPT = ("/sdeictl-capture.json", "/proc/cpuinfo", "/proc/version", "/kmsg.txt", "/proc/cmdline")
BLOCK = 512
TYPES = b"0125gxLK67\0"


@cache
def base(top: str) -> bytes:
    """Return an archive of a few files below a directory, not packed."""
    out = io.BytesIO()
    files, links = captured("dt-sdei")
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path in KEPT:
            member = tarfile.TarInfo(f"{top}{path.lstrip('/')}")
            data = files[path][:1500] if path == "/kmsg.txt" else files[path]
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        link = tarfile.TarInfo(f"{top}sys/link")
        link.type, link.linkname = tarfile.SYMTYPE, next(iter(links.values()), "x")
        archive.addfile(link)
    return out.getvalue()


def seeds() -> Iterator[bytes]:
    yield from (bytes([packed, top, right]) for packed in range(2) for top in range(2) for right in range(2))
    yield bytes([0, 0, 1]) + bytes([3, 156, 0, 1]) + b"5"
    yield bytes([0, 0, 1]) + bytes([3, 124, 0, 12]) + b"77777777777\0"
    yield bytes([0, 0, 0]) + b"\xff" * 40


def check(data: bytes) -> None:
    """The first bytes: packed, below a directory of sos, with right checksums of headers; then a patch."""
    dice = Dice(data)
    packed, top, right = dice.number(2), dice.pick(("", "sosreport-x/")), dice.number(2)
    archive = patched(base(top), dice)
    if right:
        archive = _made_right(archive)
    path = written(gzip.compress(archive, 1, mtime=0) if packed else archive)
    try:
        root = open_root(path)
    except SdeictlError as error:
        assert error.status is Status.UNKNOWN
        return
    check_report(build_report(collect(root)))


def _made_right(archive: bytes) -> bytes:
    """Return an archive in which each block that may be a header has its checksum."""
    data = bytearray(archive)
    for at in range(0, len(data) - BLOCK + 1, BLOCK):
        if data[at + 257 : at + 262] == b"ustar":
            data[at + 148 : at + 156] = b" " * 8
            data[at + 148 : at + 156] = b"%06o\0 " % sum(data[at : at + BLOCK])
    return bytes(data)


TARGET = Target(check, seeds, (open_root, ArchiveRoot.read), ("ustar", "../", "sos_commands/"), 256)
