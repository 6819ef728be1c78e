"""The configuration of the agent: ConfigError with a sentence, or values in their bounds."""

from __future__ import annotations

from collections.abc import Iterator

from sdeictl_agent.config import (
    KEYS,
    MAX_TEXTFILE_SECONDS,
    ConfigError,
    parse_config,
    parse_listen,
    read_config,
)

from tests.fuzz.files import written
from tests.fuzz.harness import Target
from tests.fuzz.shapes import with_long_numbers

WHOLE = b"""
[exporter]
listen = "[::1]:10054"
textfile = "/var/lib/x"
textfile_seconds = 30

[tls]
certificate = "/etc/c.pem"
key = "/etc/k.pem"
client_ca = "/etc/ca.pem"
"""


def seeds() -> Iterator[bytes]:
    yield from with_long_numbers(
        (WHOLE, b'exporter.listen = "host:1"\n', b"[exporter]\nlisten = 1979-05-27\n")
    )
    yield b"x = " + b"[" * 2000


def check(data: bytes) -> None:
    try:
        config = parse_config(data, "FILE")
        assert read_config(written(data, "config.toml")) == config
    except ConfigError as error:
        assert str(error).endswith(".")
        assert "FILE" in str(error)
    else:
        assert 1 <= config.textfile_seconds <= MAX_TEXTFILE_SECONDS
        assert 0 <= config.listen.port < 1 << 16
        assert config.textfile != ""
        assert parse_listen(str(config.listen)) == config.listen
    try:
        parse_listen(data.decode("utf-8", "replace"))
    except ValueError as error:
        assert str(error)


TARGET = Target(
    check, seeds, (parse_config, parse_listen, read_config), (*KEYS, "[exporter]\n", "[tls]\n", ' = "'), 8192
)
