"""`sdeictl-agent`: exports what the collector, the watcher, the drills and the benchmarks wrote."""

import asyncio
import os
import signal
import socket
import ssl
import sys
import time
from typing import Any, NamedTuple, NoReturn

import click
from prometheus_client import generate_latest

from sdeictl import __version__
from sdeictl.errors import error_text
from sdeictl.interlock.journal import write_whole
from sdeictl_agent.config import Address, Config, ConfigError, Tls, parse_listen, read_config
from sdeictl_agent.families import registry_of
from sdeictl_agent.notify import notify, watchdog_seconds
from sdeictl_agent.server import Exporter
from sdeictl_agent.sources import Places, Sources

FIRST_PASSED = 3
"""The first descriptor that systemd passes: sd_listen_fds(3)."""
TEXTFILE = "sdeictl.prom"
USAGE = 2
PATH = click.Path(readable=False)
"""Lets a shell complete file names; who opens the file says what is wrong with it."""


def passed_sockets() -> list[socket.socket]:
    """Return the sockets that systemd has bound for this process."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    count = os.environ.get("LISTEN_FDS", "0")
    numbers = range(FIRST_PASSED, FIRST_PASSED + (int(count) if count.isdecimal() else 0))
    del os.environ["LISTEN_PID"]  # they are taken
    return [socket.socket(fileno=number) for number in numbers]


def bind(address: Address) -> list[socket.socket]:
    """Return a listening socket; raise ConfigError."""
    try:
        family, _kind, _protocol, _name, where = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return [socket.create_server(where[:2], family=family, backlog=1024)]
    except (OSError, ValueError) as error:  # ValueError: no name of a host can be so long
        reason = str(getattr(error, "strerror", error)).partition(" (while attempting")[0]
        raise ConfigError(f"cannot listen on {shown(address)}: {reason}.") from error


def shown(address: tuple[Any, ...] | str) -> str:
    """Return an address as it is written; a string is that of a local socket."""
    if isinstance(address, str):
        return address
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def tls_context(tls: Tls | None) -> ssl.SSLContext | None:
    """Return what connections are encrypted by; raise ConfigError for files that are none."""
    if tls is None:
        return None
    files = {"tls.certificate": tls.certificate, "tls.key": tls.key, "tls.client_ca": tls.client_ca}
    for key, path in files.items():
        try:
            if path:
                os.close(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        except OSError as error:
            raise ConfigError(f"{key}: {path}: {error.strerror}.") from error
    what = f"tls.certificate: {tls.certificate}, or tls.key: {tls.key}"
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        # Without a password it would be asked for on a terminal.
        context.load_cert_chain(tls.certificate, tls.key, password="")
        what = f"tls.client_ca: {tls.client_ca}"
        if tls.client_ca:
            context.load_verify_locations(tls.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except OSError as error:
        raise ConfigError(f"{what}: {error}.") from error
    return context


class Listening(NamedTuple):
    """What is served where."""

    exporter: Exporter
    config: Config
    sockets: list[socket.socket]
    """The exporters work on copies: a reload goes on with the same ones, and no client is turned away."""
    fixed: bool
    """They were passed by systemd or named on the command line: no configuration moves them."""


def listen(
    config: Config, sources: Sources, given: Address | None, before: Listening | None = None
) -> Listening:
    """Begin to serve; raise ConfigError, and then nothing has changed."""
    tls = tls_context(config.tls)
    if before and (before.fixed or config.listen == before.config.listen):
        sockets, fixed = before.sockets, before.fixed
    else:
        sockets = passed_sockets()
        fixed = bool(sockets or given)
        sockets = sockets or bind(given or config.listen)
    exporter = Exporter(sources.read)
    exporter.serve([each.dup() for each in sockets], tls)
    for each in sockets:
        _say(f"listening on {shown(each.getsockname())}{', by TLS' if tls else ''}")
    return Listening(exporter, config, sockets, fixed)


async def run(config: Config, sources: Sources, path: str | None, given: Address | None) -> None:
    """Serve until SIGTERM; SIGHUP reads the configuration anew."""
    loop = asyncio.get_running_loop()
    ended, reload = asyncio.Event(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    loop.add_signal_handler(signal.SIGHUP, reload.set)
    now = listen(config, sources, given)
    notify("READY=1")
    beat = watchdog_seconds()
    while not ended.is_set():
        waits = [asyncio.create_task(event.wait()) for event in (ended, reload)]
        await asyncio.wait(waits, timeout=beat, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        notify("WATCHDOG=1")
        if reload.is_set():
            reload.clear()
            now = await _reload(now, sources, path)
    notify("STOPPING=1")
    await now.exporter.drain()


async def _reload(before: Listening, sources: Sources, path: str | None) -> Listening:
    """Take the configuration anew; one that is wrong changes nothing."""
    notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
    try:
        config = read_config(path)
        if config.textfile and not before.fixed:
            raise ConfigError("exporter.textfile is for a new start")
        now = listen(config, sources, None, before)
    except ConfigError as error:
        _say(f"not reloaded: {error}")
        now = before
    else:
        await before.exporter.drain()
    notify("READY=1")
    return now


def write_textfile(sources: Sources, directory: str) -> None:
    """Write the metrics for node_exporter's textfile collector, whole or not at all."""
    write_whole(os.path.join(directory, TEXTFILE), generate_latest(registry_of(sources.read())), 0o644)


def _textfiles(sources: Sources, directory: str, seconds: int) -> None:
    ends: list[bool] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ends.append(True))
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    write_textfile(sources, directory)
    _say(f"writing {os.path.join(directory, TEXTFILE)} every {seconds} s")
    notify("READY=1")
    while not ends:
        deadline = time.monotonic() + seconds
        while not ends and time.monotonic() < deadline:
            time.sleep(1.0)
            notify("WATCHDOG=1")
        try:
            write_textfile(sources, directory)
        except OSError as error:  # a full disk may have room again
            _say(f"{os.path.join(directory, TEXTFILE)}: {error.strerror}")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="sdeictl-agent", message="%(prog)s %(version)s")
@click.option(
    "--listen", "listen_at", metavar="HOST:PORT", help="Where to listen; 127.0.0.1 and port 10054 by default."
)
@click.option(
    "--textfile",
    metavar="DIR",
    type=PATH,
    help="Write metrics there for node_exporter, and do not listen.",
)
@click.option(
    "--config",
    "path",
    metavar="FILE",
    type=PATH,
    help="Configuration; /etc/sdeictl/config.toml by default.",
)
def main(listen_at: str | None, textfile: str | None, path: str | None) -> None:
    """Export to Prometheus what sdeictl knows of this host.

    It reads what the collector, the watcher, the drills and the benchmarks have
    written, and nothing else; it changes nothing. What is not there yet is
    exported as a source that is down.
    """
    if textfile == "":
        raise click.UsageError("--textfile names no directory")
    if textfile and listen_at is not None:
        raise click.UsageError("--textfile is written instead of listening: it goes without --listen")
    try:
        config = read_config(path)
        given = None if listen_at is None else parse_listen(listen_at)
    except (ConfigError, ValueError) as error:
        _fail(str(error))
    sources = Sources(Places())
    try:
        directory = textfile or (None if given else config.textfile)
        if directory:
            _textfiles(sources, directory, config.textfile_seconds)
        else:
            asyncio.run(run(config, sources, path, given))
    except OSError as error:
        _fail(error_text(error))
    except ConfigError as error:
        _fail(str(error))


def _say(text: str) -> None:
    click.echo(f"sdeictl-agent: {text}", err=True)


def _fail(text: str) -> NoReturn:
    _say(text)
    sys.exit(USAGE)


if __name__ == "__main__":
    main()
