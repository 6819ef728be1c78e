"""Kernel configurations, packed and not: the lines that a capture keeps say the same."""

from __future__ import annotations

import gzip
from collections.abc import Iterator

from sdeictl.formats.kconfig import MAX_CONFIG_BYTES, gunzip, parse_kconfig
from sdeictl.host.paths import CONFIG_GZ
from sdeictl.probe.clean_text import clean_config, clean_config_gz
from sdeictl.probe.kept import Kept
from sdeictl.probe.kernel import CONFIG_SYMBOLS, parse_config
from tests.fuzz.harness import Target
from tests.fuzz.hosts import captured
from tests.fuzz.shapes import Dice, patched, with_long_numbers

WORDS = (*(f"CONFIG_{name}" for name in CONFIG_SYMBOLS), "=y\n", "=m\n", " is not set\n", "# CONFIG_")


def texts() -> Iterator[bytes]:
    for name in ("dt-sdei", "cloud-vm"):
        yield gunzip(captured(name)[0][CONFIG_GZ])


def seeds() -> Iterator[bytes]:
    yield from (b"\0" + text for text in with_long_numbers(texts()))
    yield b"\1"
    yield b"\1\2\12\0\1x"


def check(data: bytes) -> None:
    """The first byte says whether the rest is a text, or a patch of a packed one."""
    dice = Dice(data)
    if dice.number(2):
        _check_packed(patched(gzip.compress(next(texts()), mtime=0), dice))
        return
    text = dice.rest()
    found = parse_config(CONFIG_GZ, text, Kept())
    assert {name for name, _value in found.values} <= set(CONFIG_SYMBOLS)
    assert parse_config(CONFIG_GZ, clean_config(CONFIG_GZ, text), Kept()) == found
    assert dict(parse_kconfig(text[: text.rfind(b"\n") + 1], ["ARM64"])).keys() <= {"ARM64"}


def _check_packed(data: bytes) -> None:
    try:
        text = gunzip(data)
    except ValueError:
        text = None
    assert text is None or len(text) <= MAX_CONFIG_BYTES
    cleaned = clean_config_gz(CONFIG_GZ, data)
    if text is not None:
        assert parse_config(CONFIG_GZ, gunzip(cleaned), Kept()) == parse_config(CONFIG_GZ, text, Kept())


TARGET = Target(check, seeds, (gunzip, parse_kconfig, parse_config), WORDS, 8192)
