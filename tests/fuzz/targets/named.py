"""A file that the user names, packed or not: OSError at most, and what comes before a damage."""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Callable, Iterator

from sdeictl.errors import SdeictlError
from sdeictl.host.log_alone import LOG, LogRoot
from sdeictl.host.named import NamedFile
from sdeictl.host.open import open_root
from sdeictl.host.unpack import magic_of
from tests.fuzz import logs
from tests.fuzz.files import written
from tests.fuzz.harness import Target
from tests.fuzz.shapes import Dice, patched

PACKERS: tuple[Callable[[bytes], bytes], ...] = (
    lambda data: data, gzip.compress, lzma.compress, bz2.compress, lambda data: b"\x28\xb5\x2f\xfd" + data,
    lambda data: gzip.compress(data[: len(data) // 2]) + gzip.compress(data[len(data) // 2 :]),
)  # fmt: skip
ZSTD = bytes.fromhex("28b52ffd2006310000") + b"hello\n"
"""A frame with one block that is not compressed."""


def seeds() -> Iterator[bytes]:
    yield from (bytes([number]) for number in range(len(PACKERS)))
    yield bytes([1, 0, 100, 0])
    yield bytes([0, 1, 0, 0, 0, len(ZSTD)]) + ZSTD
    yield bytes([2, 2, 30, 0, 4]) + b"\xff" * 4


def check(data: bytes) -> None:
    """The first byte is how a log is packed, and a patch of the packed file follows."""
    dice = Dice(data)
    pack = dice.pick(PACKERS)
    plain = logs.logs()[0]
    whole = not dice
    content = patched(pack(plain), dice)
    path = written(content)
    file = NamedFile(path)
    pieces = list(file.pieces())
    assert all(pieces)
    if whole and pack is not PACKERS[4]:
        assert (b"".join(pieces), file.damage) == (plain, None)
    if magic_of(content) is None and not file.is_archive:
        assert (b"".join(pieces), file.damage) == (content, None)
    assert not (file.is_archive and pieces)
    try:
        NamedFile(path).read_text()
    except OSError as error:
        assert error.strerror
    try:
        root = open_root(path)
    except SdeictlError as error:
        assert str(error)
    else:
        assert file.is_archive or root.read(LOG) == b"".join(pieces)


TARGET = Target(check, seeds, (NamedFile.pieces, NamedFile.read_text, LogRoot.read), (), 512)
