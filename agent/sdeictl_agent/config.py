"""/etc/sdeictl/config.toml: every key is optional, and one that is not known is an error with its line."""

import re
import tomllib
from typing import Any, NamedTuple

CONFIG_FILE = "/etc/sdeictl/config.toml"
DEFAULT_PORT = 10054
"""Free in the list of Prometheus' exporters; Arm DEN0054 is the specification of SDEI."""
DEFAULT_LISTEN = f"127.0.0.1:{DEFAULT_PORT}"
MAX_TEXTFILE_SECONDS = 300
"""SdeictlAgentDown takes a textfile that is three times as old for one that nobody writes any more."""
_LISTEN = re.compile(r"(?:\[([0-9a-fA-F:.%]+)\]|([^:\s\[\]]+)):(\d{1,5})", re.ASCII)


class ConfigError(Exception):
    """The message is a sentence with the file and the line."""


class Address(NamedTuple):
    """Where the exporter listens."""

    host: str
    port: int


class Tls(NamedTuple):
    """How connections are encrypted, and who may come."""

    certificate: str
    key: str
    client_ca: str | None
    """Only clients with a certificate of these authorities may come."""


class Config(NamedTuple):
    """What the agent is told."""

    listen: Address = Address("127.0.0.1", DEFAULT_PORT)
    textfile: str | None = None
    """A directory of node_exporter's textfile collector; then nobody is listened to."""
    textfile_seconds: int = 60
    tls: Tls | None = None


KEYS = {
    "exporter.listen": str,
    "exporter.textfile": str,
    "exporter.textfile_seconds": int,
    "tls.certificate": str,
    "tls.key": str,
    "tls.client_ca": str,
}


def parse_config(data: bytes, path: str) -> Config:
    """Return the configuration; raise ConfigError for whatever is wrong with it."""
    try:
        text = data.decode()
        document = tomllib.loads(text)
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is no UTF-8.") from error
    except (ValueError, RecursionError) as error:  # of TOML, or of Python's numbers
        raise ConfigError(f"{path}: {error}.") from error
    values = dict(_flat(document))
    for name, value in values.items():
        kind = KEYS.get(name)
        where = f"{path}, line {_line_of(name, text)}"
        if kind is None:
            raise ConfigError(f"{where}: there is no key {name}.")
        if type(value) is not kind:
            raise ConfigError(f"{where}: {name} is no {'text' if kind is str else 'whole number'}.")
    try:
        return _config(values)
    except ValueError as error:
        raise ConfigError(f"{path}: {error}.") from error


def _config(values: dict[str, Any]) -> Config:
    tls = None
    for name, value in values.items():
        if isinstance(value, str) and ("\0" in value or not value):
            raise ValueError(f"{name} is empty, or has a NUL in it")
    if any(name.startswith("tls.") for name in values):
        if "tls.certificate" not in values or "tls.key" not in values:
            raise ValueError("tls needs a certificate and a key")
        tls = Tls(values["tls.certificate"], values["tls.key"], values.get("tls.client_ca"))
    seconds = values.get("exporter.textfile_seconds", 60)
    if not 1 <= seconds <= MAX_TEXTFILE_SECONDS:
        raise ValueError(f"exporter.textfile_seconds is not between 1 and {MAX_TEXTFILE_SECONDS}")
    listen = parse_listen(values.get("exporter.listen", DEFAULT_LISTEN))
    return Config(listen, values.get("exporter.textfile"), seconds, tls)


def _flat(document: dict[str, Any]) -> list[tuple[str, Any]]:
    """Return (section.key, value); a value that is itself a table stands for itself."""
    found = []
    for section, content in document.items():
        if isinstance(content, dict):
            found += [(f"{section}.{key}", value) for key, value in content.items()] or [(section, content)]
        else:
            found.append((section, content))
    return [(name, value) for name, value in found if not (name in ("exporter", "tls") and value == {})]


def _line_of(name: str, text: str) -> int:
    """Return the line in which a key stands; 1 where that is not to be seen."""
    section, _, key = name.rpartition(".")
    current = ""
    for number, line in enumerate(text.splitlines(), 1):
        header = re.match(r"\s*\[([^\[\]]+)\]\s*(?:#.*)?$", line)
        if header:
            current = header[1].strip().strip("\"'")
            if current.startswith(name):
                return number
        here = re.match(r"\s*[\"']?([\w.-]+)[\"']?\s*=", line)
        if here and (f"{current}.{here[1]}" if current else here[1]).startswith((name, f"{section}.{key}")):
            return number
    return 1


def parse_listen(text: str) -> Address:
    """Return an address of `HOST:PORT` or `[HOST]:PORT`; raise ValueError."""
    match = _LISTEN.fullmatch(text)
    if not match or not 0 <= int(match[3]) <= 65535:
        raise ValueError(f"{text!r} is no HOST:PORT")
    return Address(match[1] or match[2], int(match[3]))


def read_config(path: str | None) -> Config:
    """Read a configuration file; the default one need not be there."""
    try:
        with open(path or CONFIG_FILE, "rb") as file:
            return parse_config(file.read(1 << 20), path or CONFIG_FILE)
    except FileNotFoundError as error:
        if path is None:
            return Config()
        raise ConfigError(f"{path} does not exist.") from error
    except OSError as error:
        raise ConfigError(f"{path or CONFIG_FILE} cannot be read: {error.strerror}.") from error
