"""/etc/sdeictl/config.toml: every key is optional. An unknown key is an error, reported with its line."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from typing import NamedTuple, TypedDict, cast

from sdeictl.host.paths import AGENT_CONFIG
from sdeictl.text import lines_of

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DEFAULT_PORT = 10054
"""Free in Prometheus' list of default ports for exporters. Arm DEN0054 is the specification of SDEI."""
DEFAULT_LISTEN = f"127.0.0.1:{DEFAULT_PORT}"
MAX_TEXTFILE_SECONDS = 300
"""The alert SdeictlAgentDown fires when a textfile is three times as old."""
MAX_CONFIG_BYTES = 1 << 20
_LISTEN = re.compile(r"(?:\[([0-9a-fA-F:.%]+)\]|([^:\s\[\]]+)):(\d{1,5})", re.ASCII)


class ConfigError(Exception):
    """A configuration that cannot be used. The message is a sentence that names the file or the key."""


class Address(NamedTuple):
    """An address to listen on."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Tls(NamedTuple):
    """The files for TLS, in PEM."""

    certificate: str
    key: str
    client_ca: str | None
    """Only clients with a certificate of these authorities are accepted; None: every client."""


class Config(NamedTuple):
    """The configuration of the agent."""

    listen: Address = Address("127.0.0.1", DEFAULT_PORT)
    textfile: str | None = None
    """A directory of node_exporter's textfile collector: the agent writes there instead of listening."""
    textfile_seconds: int = 60
    tls: Tls | None = None


class ExporterTable(TypedDict, total=False):
    """The table `exporter`."""

    listen: str
    textfile: str
    textfile_seconds: int


class TlsTable(TypedDict, total=False):
    """The table `tls`."""

    certificate: str
    key: str
    client_ca: str


class ConfigDocument(TypedDict, total=False):
    """The file, when its keys and their types are checked."""

    exporter: ExporterTable
    tls: TlsTable


KEYS: Mapping[str, type] = {
    "exporter.listen": str,
    "exporter.textfile": str,
    "exporter.textfile_seconds": int,
    "tls.certificate": str,
    "tls.key": str,
    "tls.client_ca": str,
}
"""Every key and the type of its value."""


def parse_config(data: bytes, path: str) -> Config:
    """Return the configuration in a file; raise ConfigError for anything wrong with it."""
    try:
        text = data.decode()
        document = tomllib.loads(text)
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8.") from error
    except (ValueError, RecursionError) as error:  # ValueError: TOML, or a number too large for int()
        raise ConfigError(f"{path}: {error}.") from error
    values = _flat(document)
    _check_types(values, text, path)
    try:
        _check_texts(values)
        return _config(cast("ConfigDocument", document))
    except ValueError as error:
        raise ConfigError(f"{path}: {error}.") from error


def _flat(document: Mapping[str, object]) -> dict[str, object]:
    """Return the values by `table.key`. A table in a table is a value; an empty unknown table is one too."""
    found: dict[str, object] = {}
    for table, content in document.items():
        if isinstance(content, dict) and (content or table in ("exporter", "tls")):
            found.update((f"{table}.{key}", value) for key, value in content.items())
        else:
            found[table] = content
    return found


def _check_types(values: Mapping[str, object], text: str, path: str) -> None:
    for name, value in values.items():
        kind = KEYS.get(name)
        where = f"{path}, line {_line_of(name, text)}"
        if kind is None:
            raise ConfigError(f"{where}: unknown key {name}.")
        if type(value) is not kind:
            raise ConfigError(f"{where}: {name} must be {'text' if kind is str else 'a whole number'}.")


def _check_texts(values: Mapping[str, object]) -> None:
    for name, value in values.items():
        if isinstance(value, str) and ("\0" in value or not value):
            raise ValueError(f"{name} is empty or contains a NUL")


def _config(document: ConfigDocument) -> Config:
    exporter = document.get("exporter", {})
    seconds = exporter.get("textfile_seconds", 60)
    if not 1 <= seconds <= MAX_TEXTFILE_SECONDS:
        raise ValueError(f"exporter.textfile_seconds must be between 1 and {MAX_TEXTFILE_SECONDS}")
    listen = parse_listen(exporter.get("listen", DEFAULT_LISTEN))
    return Config(listen, exporter.get("textfile"), seconds, _tls(document.get("tls", {})))


def _tls(table: TlsTable) -> Tls | None:
    if not table:
        return None
    if "certificate" not in table or "key" not in table:
        raise ValueError("tls needs both a certificate and a key")
    return Tls(table["certificate"], table["key"], table.get("client_ca"))


def _line_of(name: str, text: str) -> int:
    """Return the line of a key; 1 if the text does not show it."""
    table, _, key = name.rpartition(".")
    current = ""
    for number, line in enumerate(lines_of(text), 1):
        header = re.match(r"\s*\[([^\[\]]+)\]\s*(?:#.*)?$", line)
        if header:
            current = header[1].strip().strip("\"'")
            if current.startswith(name):
                return number
        here = re.match(r"\s*[\"']?([\w.-]+)[\"']?\s*=", line)
        if here and (f"{current}.{here[1]}" if current else here[1]).startswith((name, f"{table}.{key}")):
            return number
    return 1


def parse_listen(text: str) -> Address:
    """Return the address in `HOST:PORT` or `[HOST]:PORT`; raise ValueError."""
    match = _LISTEN.fullmatch(text)
    if not match or not 0 <= int(match[3]) <= 65535:
        raise ValueError(f"{text!r} is not HOST:PORT")
    return Address(match[1] or match[2], int(match[3]))


def read_config(path: str | None) -> Config:
    """Read a configuration file; None means the default one, which need not exist. Raise ConfigError."""
    name = path or AGENT_CONFIG
    try:
        with open(name, "rb") as file:
            return parse_config(file.read(MAX_CONFIG_BYTES), name)
    except FileNotFoundError as error:
        if path is None:
            return Config()
        raise ConfigError(f"{name} does not exist.") from error
    except OSError as error:
        raise ConfigError(f"{name} cannot be read: {error.strerror}.") from error
