"""`sdeictl-agent`: exports the results of the collector, the watcher, the drills and the benchmarks."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import socket
import ssl
import sys
import time
from typing import NamedTuple

import click
from prometheus_client import generate_latest

from sdeictl import __version__
from sdeictl.errors import Status, error_text
from sdeictl.host.files import write_whole
from sdeictl_agent.config import Address, Config, ConfigError, Tls, parse_listen, read_config
from sdeictl_agent.families import registry_of
from sdeictl_agent.notify import notify, watchdog_seconds
from sdeictl_agent.server import Exporter
from sdeictl_agent.sources import Places, Sources

FIRST_PASSED = 3
"""The first descriptor that systemd passes: SD_LISTEN_FDS_START of sd_listen_fds(3)."""
TEXTFILE = "sdeictl.prom"
PATH = click.Path(readable=False)
"""Makes shells complete file names. The code that opens the file checks it."""


def passed_sockets() -> list[socket.socket]:
    """Return the sockets that systemd passed to this process; at a second call, none."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    del os.environ["LISTEN_PID"]
    count = os.environ.get("LISTEN_FDS", "0")
    numbers = range(FIRST_PASSED, FIRST_PASSED + (int(count) if count.isdecimal() else 0))
    return [socket.socket(fileno=number) for number in numbers]


def bind(address: Address) -> socket.socket:
    """Return a listening socket; raise ConfigError."""
    try:
        family, _kind, _protocol, _name, where = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return socket.create_server(where[:2], family=family, backlog=1024)
    except (OSError, ValueError) as error:  # ValueError: the host name has a label that is empty or too long
        reason = str(getattr(error, "strerror", error)).partition(" (while attempting")[0]
        raise ConfigError(f"cannot listen on {address}: {reason}.") from error


def socket_name(listening: socket.socket) -> str:
    """Return the address of a socket as HOST:PORT; a local socket has a path or an abstract name."""
    name = listening.getsockname()
    return os.fsdecode(name) if isinstance(name, (str, bytes)) else str(Address(*name[:2]))


def tls_context(tls: Tls) -> ssl.SSLContext:
    """Return the context for TLS connections; raise ConfigError for files that cannot be used."""
    for key, path in tls._asdict().items():
        try:
            if path:
                os.close(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        except OSError as error:
            raise ConfigError(f"tls.{key}: {path}: {error.strerror}.") from error
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        # With a password given, OpenSSL does not ask for one on the terminal.
        context.load_cert_chain(tls.certificate, tls.key, password="")
    except OSError as error:
        files = f"tls.certificate: {tls.certificate}, or tls.key: {tls.key}"
        raise ConfigError(f"{files}: {error}.") from error
    if tls.client_ca:
        _require_clients(context, tls.client_ca)
    return context


def _require_clients(context: ssl.SSLContext, authorities: str) -> None:
    """Let a TLS context accept only clients with a certificate of these authorities; raise ConfigError."""
    try:
        context.load_verify_locations(authorities)
    except OSError as error:
        raise ConfigError(f"tls.client_ca: {authorities}: {error}.") from error
    context.verify_mode = ssl.CERT_REQUIRED


class Listening(NamedTuple):
    """A running exporter and its sockets."""

    exporter: Exporter
    config: Config
    sockets: list[socket.socket]
    """The exporter works on copies. So the exporter of a reload uses the same sockets, and no client is
    turned away."""
    fixed: bool
    """systemd passed the sockets, or --listen named the address: a reload does not change them."""


def listen(
    config: Config, sources: Sources, address: Address | None, before: Listening | None = None
) -> Listening:
    """Start an exporter, at the address of the command line if one is given.

    `before` is the exporter that a reload replaces. Raises ConfigError, and then nothing has changed.
    """
    tls = tls_context(config.tls) if config.tls else None
    if before and (before.fixed or config.listen == before.config.listen):
        sockets, fixed = before.sockets, before.fixed
    else:
        passed = passed_sockets()
        sockets = passed or [bind(address or config.listen)]
        fixed = bool(passed or address)
    exporter = Exporter(sources.read)
    exporter.serve([each.dup() for each in sockets], tls)
    for each in sockets:
        _say(f"listening on {socket_name(each)}{' with TLS' if tls else ''}")
    return Listening(exporter, config, sockets, fixed)


async def run(config: Config, sources: Sources, path: str | None, address: Address | None) -> None:
    """Serve until SIGTERM or SIGINT; on SIGHUP, read the configuration file `path` again."""
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(_report)
    ended, reload = asyncio.Event(), asyncio.Event()
    try:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, ended.set)
        loop.add_signal_handler(signal.SIGHUP, reload.set)
    except RuntimeError as error:  # asyncio makes it of the OSError of signal.set_wakeup_fd()
        raise OSError(errno.EIO, f"no signal can be received: {error}") from error
    now = listen(config, sources, address)
    notify("READY=1")
    while not ended.is_set():
        await _wait_for_any(ended, reload, watchdog_seconds())
        notify("WATCHDOG=1")
        if reload.is_set():
            reload.clear()
            now = await _reload(now, sources, path)
    notify("STOPPING=1")
    await now.exporter.drain()


def _report(loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
    """Say that a client was not served. It harms only itself, unless sdeictl has a bug."""
    error = context.get("exception")
    if isinstance(error, OSError):
        _say(f"a client was not served: {error_text(error)}")
    else:
        loop.default_exception_handler(context)


async def _wait_for_any(one: asyncio.Event, other: asyncio.Event, seconds: float | None) -> None:
    waits = [asyncio.create_task(event.wait()) for event in (one, other)]
    await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()


async def _reload(before: Listening, sources: Sources, path: str | None) -> Listening:
    """Read the configuration again; a wrong one changes nothing."""
    # MONOTONIC_USEC is for units of Type=notify-reload, see sd_notify(3).
    notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
    try:
        config = read_config(path)
        if config.textfile and not before.fixed:
            raise ConfigError("exporter.textfile takes effect only after a restart")
        now = listen(config, sources, None, before)
    except ConfigError as error:
        _say(f"not reloaded: {error}")
        now = before
    else:
        await before.exporter.drain()
    notify("READY=1")
    return now


def write_textfile(sources: Sources, path: str) -> None:
    """Replace a file for node_exporter's textfile collector as a whole; raise OSError."""
    write_whole(path, generate_latest(registry_of(sources.read())), 0o644)


def _keep_writing(sources: Sources, path: str, seconds: int) -> None:
    """Write the textfile again and again until SIGTERM or SIGINT.

    Raises ConfigError if it cannot be written the first time.
    """
    ends: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _frame: ends.append(received))
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        write_textfile(sources, path)
    except OSError as error:
        raise ConfigError(error_text(error)) from error
    _say(f"writing {path} every {seconds} s")
    notify("READY=1")
    while not ends:
        _sleep(seconds, ends)
        try:
            write_textfile(sources, path)
        except OSError as error:  # a full disk may have room later
            _say(f"{path}: {error.strerror}")


def _sleep(seconds: int, ends: list[int]) -> None:
    """Sleep until a signal is in `ends`, at most for so many seconds; feed the watchdog of systemd."""
    deadline = time.monotonic() + seconds
    while not ends and time.monotonic() < deadline:
        time.sleep(1.0)
        notify("WATCHDOG=1")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="sdeictl-agent", message="%(prog)s %(version)s")
@click.option(
    "--listen",
    "listen_at",
    metavar="HOST:PORT",
    help="Listen on this address; 127.0.0.1:10054 by default.",
)
@click.option(
    "--textfile",
    metavar="DIR",
    type=PATH,
    help="Write the metrics to a file in DIR for node_exporter instead of listening.",
)
@click.option(
    "--config",
    "path",
    metavar="FILE",
    type=PATH,
    help="Read this configuration; /etc/sdeictl/config.toml by default.",
)
def main(listen_at: str | None, textfile: str | None, path: str | None) -> None:
    """Export the results of sdeictl on this host to Prometheus.

    The agent reads the files that the collector, the watcher, the drills and
    the benchmarks have written. It reads nothing else and changes nothing. A
    source that it cannot read is exported as down.
    """
    if textfile == "":
        raise click.UsageError("--textfile needs the name of a directory")
    if textfile and listen_at is not None:
        raise click.UsageError("--textfile and --listen exclude each other")
    try:
        config, address = read_config(path), _parse_option(listen_at)
        directory = textfile or (None if address else config.textfile)
        if directory:
            _keep_writing(Sources(Places()), os.path.join(directory, TEXTFILE), config.textfile_seconds)
        else:
            # Not by asyncio.run(): if the loop fails, that goes on with it, and fails again.
            asyncio.new_event_loop().run_until_complete(run(config, Sources(Places()), path, address))
            os._exit(Status.GOOD)  # the clients that are left have had their time
    except OSError as error:
        _say(f"a system call failed: {error_text(error)}")
        os._exit(Status.UNKNOWN)
    except ConfigError as error:
        _say(str(error))
        sys.exit(Status.USAGE)


def _parse_option(listen_at: str | None) -> Address | None:
    """Return the address that --listen names; raise ConfigError."""
    try:
        return None if listen_at is None else parse_listen(listen_at)
    except ValueError as error:
        raise ConfigError(f"--listen: {error}.") from error


def _say(message: str) -> None:
    with contextlib.suppress(OSError):  # whether or not somebody reads that, the exporter serves
        click.echo(f"sdeictl-agent: {message}", err=True)


if __name__ == "__main__":
    main()
