"""The exporter over its socket: pages, bad clients, signals, TLS. On loopback, with a time limit."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import http.client
import os
import re
import resource
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from sdeictl_agent import server as http_server
from sdeictl_agent.config import (
    DEFAULT_PORT,
    KEYS,
    Address,
    Config,
    ConfigError,
    Tls,
    parse_config,
    parse_listen,
)
from sdeictl_agent.exporter import main
from sdeictl_agent.server import BadRequestError, parse_request
from sdeictl_agent.sources import Places, Sources

from tests.test_agent_families import Agent
from tests.test_analysis_properties import EXAMPLES

SERVE = """
import asyncio, sys
from sdeictl_agent.exporter import run
from sdeictl_agent.config import parse_listen, read_config
from sdeictl_agent.sources import Places, Sources
*places, config, port = sys.argv[1:]
sources = Sources(Places(*places), lambda: 4e9, lambda: 4e9)
asyncio.run(run(read_config(config), sources, config, parse_listen(f"127.0.0.1:{port}")))
"""
SECONDS = 20.0
MEMORY_MAX = 256 << 20
"""MemoryMax of sdeictl-agent.service."""


class Served:
    """An exporter in its own process."""

    def __init__(self, agent: Agent, directory: Path, config: str = "") -> None:
        self.config = directory / "config.toml"
        self.config.write_text(config)
        words = [sys.executable, "-c", SERVE, *agent.places, self.config, 0]
        self.process = subprocess.Popen([*map(str, words)], stderr=subprocess.PIPE, text=True)
        said = re.match(r"sdeictl-agent: listening on 127\.0\.0\.1:(\d+)( with TLS)?\n", self.says())
        assert said
        assert bool(said[2]) is ("[tls]" in config)
        self.port = int(said[1])

    def says(self) -> str:
        assert self.process.stderr
        return self.process.stderr.readline()

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=SECONDS)

    def get(self, path: str, accept: str = "", method: str = "GET") -> tuple[int, str, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)
        with contextlib.closing(connection):
            connection.request(method, path, headers={"Accept": accept})
            response = connection.getresponse()
            return response.status, response.headers["Content-Type"], response.read()

    def say(self, data: bytes) -> bytes:
        with self.connect() as client:
            with contextlib.suppress(OSError):
                client.sendall(data)
            answer = b""
            with contextlib.suppress(OSError):
                while piece := client.recv(4096):
                    answer += piece
            return answer

    def ask(self, data: bytes) -> bytes:
        """Send all of this, then read to the end; any error of the connection is one of the server."""
        with self.connect() as client:
            client.sendall(data)
            return b"".join(iter(lambda: client.recv(1 << 16), b""))

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(SECONDS)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    server = Served(Agent(tmp_path), tmp_path)
    yield server
    server.process.kill()
    server.process.wait()


def test_the_three_pages(served: Served) -> None:
    status, kind, body = served.get("/metrics")
    assert (status, kind.split(";")[0]) == (200, "text/plain")
    assert b"sdeictl_hard_lockups_total 3.0" in body
    status, kind, body = served.get("/metrics", "application/openmetrics-text; version=1.0.0")
    assert (status, kind.split(";")[0], body[-6:]) == (200, "application/openmetrics-text", b"# EOF\n")
    assert served.get("/healthz")[::2] == (200, b"ok\n")
    assert b"All sources are up." in served.get("/")[2]
    assert served.get("/nonsense")[0] == 404
    assert b"\r\nAllow: GET, HEAD\r\n" in served.say(b"POST / HTTP/1.1\r\n\r\n")
    assert served.get("/metrics", method="HEAD")[::2] == (200, b"")
    assert served.get("/metrics?x=1")[0] == 200


@pytest.mark.parametrize(
    "accept", ["text/plain; version=x", "application/openmetrics-text; version=1.x.0", ";;=,"]
)
def test_malformed_accept_gets_text(accept: str, served: Served) -> None:
    status, kind, body = served.get("/metrics", accept)
    assert (status, kind.split(";")[0]) == (200, "text/plain")
    assert b"sdeictl_agent_build_info" in body


def test_fifo_does_not_block(served: Served, tmp_path: Path) -> None:
    (tmp_path / "watch/watch.json").unlink()
    os.mkfifo(tmp_path / "watch/watch.json")
    assert b'sdeictl_source_up{source="watch"} 0.0' in served.get("/metrics")[2]
    assert b"<li>watch (" in served.get("/")[2]
    assert served.end() == 0


def test_source_down_is_not_an_error(served: Served, tmp_path: Path) -> None:
    (tmp_path / "run/report.json").write_text("{<b>")
    status, _kind, body = served.get("/metrics")
    assert status == 200
    assert b'sdeictl_source_up{source="report"} 0.0' in body
    assert (
        b"<li>report (/run/sdeictl/report.json, written by sdeictl-collect.service): It is damaged.</li>"
        in served.get("/")[2]
    )


def test_textfile_survives_a_failed_write(tmp_path: Path) -> None:
    directory, config = tmp_path / "node", tmp_path / "config.toml"
    directory.mkdir()
    config.write_text(f"[exporter]\ntextfile = '{directory}'\ntextfile_seconds = 1\n")
    words = [sys.executable, "-m", "sdeictl_agent.exporter", "--config", config]
    process = subprocess.Popen([*map(str, words)], stderr=subprocess.PIPE)
    assert process.stderr
    try:
        assert (
            process.stderr.readline()
            == f"sdeictl-agent: writing {directory}/sdeictl.prom every 1 s\n".encode()
        )
        first = (directory / "sdeictl.prom").read_bytes()
        assert b"sdeictl_agent_timestamp_seconds 1." in first
        directory.rename(tmp_path / "gone")
        assert b"/node/sdeictl.prom: No such file or directory\n" in process.stderr.readline()
        (tmp_path / "gone").rename(directory)
        deadline = time.monotonic() + SECONDS
        while (directory / "sdeictl.prom").read_bytes() == first:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert [path.name for path in directory.iterdir()] == ["sdeictl.prom"]
        process.send_signal(signal.SIGHUP)
        time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == 0
    finally:
        process.kill()
        process.wait()


def test_textfile_excludes_listening() -> None:
    done = CliRunner().invoke(main, ["--textfile", "/nonexistent", "--listen", "127.0.0.1:0"])
    assert (done.exit_code, "--textfile and --listen exclude" in done.output) == (2, True)
    done = CliRunner().invoke(main, ["--textfile", "", "--listen", "127.0.0.1:0"])
    assert (done.exit_code, "needs the name of a directory" in done.output) == (2, True)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"\r\n\r\n", 400),
        (b"\x16\x03\x01\r\n\r\n", 400),
        (b"GET http://x/ HTTP/1.1\r\n\r\n", 400),
        (b"GET /metrics HTTP/9\r\n\r\n", 400),
        (b"POST /metrics HTTP/1.1\r\n\r\n", 405),
        (b"GET /metrics HTTP/1.1\r\nAccept: application/openmetrics-text;version=1\nX: y\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\r\nX: a\rb\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\r\nX: a\0b\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\r\nX: a\tb\r\n\r\n", 200),
        (b"GET /metrics HTTP/1.1\r\nX: " + b"x" * (10 << 20) + b"\r\n\r\n", 431),
    ],
    # The last one is too long for an id.
    ids=["word", "empty", "tls", "proxy", "version", "method", "lf", "cr", "nul", "tab", "size"],
)  # fmt: skip
def test_bad_request_is_answered(served: Served, data: bytes, status: int) -> None:
    assert served.ask(data).startswith(f"HTTP/1.1 {status} ".encode())
    assert served.get("/metrics")[0] == 200


@pytest.mark.parametrize(
    ("request_line", "headers", "status"),
    [
        ("POST /metrics", "Content-Length: 8388608", 405),
        ("PUT /metrics", "Transfer-Encoding: chunked", 405),
        ("GET /metrics", "Content-Length: 8388608", 413),
        ("GET /metrics", f"Content-Length: {'9' * 6000}", 413),
        ("GET /metrics", "Content-Length: 8193", 413),
        ("HEAD /nonsense", "content-length:8388608", 413),
        ("GET /metrics", "Transfer-Encoding: chunked", 411),
        ("GET /metrics", "Transfer-Encoding: chunked\r\nContent-Length: 8388608", 400),
        ("GET /metrics", "Content-Length: 8388608\r\nContent-Length: 0", 400),
        ("GET /metrics", "Content-Length: -8388608", 400),
        ("GET /metrics", "Content-Length: 0x10", 400),
        ("GET /metrics", "Content-Length:", 400),
        ("GET /healthz", "Content-Length: 00008192", 200),
        ("GET /healthz", "Content-Length: 5, 5", 200),
        ("GET /healthz", "Content-Length: 0", 200),
    ],
    ids=lambda value: value[-40:] if isinstance(value, str) else None,
)
def test_large_body_is_answered(served: Served, request_line: str, headers: str, status: int) -> None:
    answer = served.ask(f"{request_line} HTTP/1.1\r\n{headers}\r\n\r\n".encode() + b"x" * (8 << 20))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ".encode())
    assert bool(body) is not request_line.startswith("HEAD")


def test_client_sees_answer_to_its_body(served: Served) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=SECONDS)
    with contextlib.closing(connection):
        connection.request("POST", "/metrics", body=b"x" * (32 << 20))
        assert connection.getresponse().status == 405


@pytest.mark.parametrize("count", [2, 30_000])
def test_only_first_request_is_answered(served: Served, count: int) -> None:
    answer = served.ask(b"GET /healthz HTTP/1.1\r\n\r\n" * count)
    assert (answer.count(b"HTTP/1.1 "), answer[-7:]) == (1, b"\r\n\r\nok\n")
    assert b"\r\nConnection: close\r\n" in answer


def test_later_request_is_not_reset(served: Served) -> None:
    with served.connect() as client:
        for _request in range(3):
            client.sendall(b"GET /healthz HTTP/1.1\r\n\r\n")
            time.sleep(0.1)
        assert b"".join(iter(lambda: client.recv(4096), b"")).count(b"HTTP/1.1 200 OK") == 1


def test_idle_clients_do_not_block_others(served: Served) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with contextlib.ExitStack() as stack:
        for number in range(1000):
            client = stack.enter_context(served.connect())
            client.sendall(b"GET /metrics HTTP/1.1\r\n"[: number % 24])
        for _scrape in range(5):
            assert served.get("/metrics")[0] == 200
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Talk:
    """An exporter in this process, and clients of it."""

    def __init__(self, directory: Path, tls: ssl.SSLContext | None = None) -> None:
        listening = socket.create_server(("127.0.0.1", 0))
        self.address = listening.getsockname()
        self.exporter = http_server.Exporter(Sources(Places(*[str(directory)] * 3)).read)
        self.exporter.serve([listening], tls)

    async def connect(self, data: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(*self.address)
        writer.write(data)
        return reader, writer


async def rest_of(reader: asyncio.StreamReader) -> bytes:
    """Return what the server still sends until it ends the connection, in which way ever."""
    with contextlib.suppress(ConnectionError):
        return await asyncio.wait_for(reader.read(), SECONDS)
    return b""


def test_slow_client_is_disconnected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(http_server, "CLIENT_SECONDS", 0.1)

    async def connect_and_wait() -> None:
        talk = Talk(tmp_path)
        reader, writer = await talk.connect(b"GET /")
        assert await rest_of(reader) == b""
        writer.close()
        await talk.exporter.drain()

    asyncio.run(connect_and_wait())
    gc.collect()
    assert not caplog.records  # an exception that no one caught would be logged


def test_endless_body_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "CLIENT_SECONDS", 0.5)

    async def send_for_ever(writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(b"x" * (1 << 16))
                await writer.drain()

    async def connect_and_send() -> None:
        talk = Talk(tmp_path)
        reader, writer = await talk.connect(b"GET / HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n")
        sending = asyncio.ensure_future(send_for_ever(writer))
        assert b" 413 " in await asyncio.wait_for(reader.readline(), SECONDS)
        other, _writer = await talk.connect(b"GET /healthz HTTP/1.1\r\n\r\n")
        assert b" 200 " in await asyncio.wait_for(other.readline(), SECONDS)
        await asyncio.wait_for(sending, SECONDS)

    asyncio.run(connect_and_send())


def test_answered_client_makes_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "MAX_CLIENTS", 2)
    monkeypatch.setattr(http_server, "LINGER_SECONDS", SECONDS)
    monkeypatch.setattr(http_server, "CLIENT_SECONDS", SECONDS)
    ask = b"GET /healthz HTTP/1.1\r\n\r\n"

    async def connect_all() -> None:
        talk = Talk(tmp_path)
        oldest, oldest_writer = await talk.connect(b"")
        answered, _writer = await talk.connect(ask)
        assert b"ok" in await rest_of(answered)
        newest, _writer = await talk.connect(ask)
        assert b"ok" in await rest_of(newest)
        oldest_writer.write(ask)
        assert b"ok" in await rest_of(oldest)
        # Clients that have not asked hold all places, so the oldest one goes.
        waiting = [await talk.connect(b"") for _place in range(3)]
        assert await rest_of(waiting[0][0]) == b""
        waiting[1][1].write(ask)
        assert b"ok" in await rest_of(waiting[1][0])

    asyncio.run(connect_all())


def test_reload_keeps_a_named_address(served: Served) -> None:
    served.config.write_text("[exporter]\nlisten = '127.0.0.1:1'\n")
    served.process.send_signal(signal.SIGHUP)
    assert served.says() == f"sdeictl-agent: listening on 127.0.0.1:{served.port}\n"
    assert served.get("/healthz")[0] == 200
    served.config.write_text(f"[exporter]\ntextfile_seconds = {'9' * 5000}\n")
    served.process.send_signal(signal.SIGHUP)
    assert "not reloaded: " in served.says()
    assert served.get("/healthz")[0] == 200


def test_sigterm_answers_pending_requests(served: Served) -> None:
    with served.connect() as client:
        client.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        assert served.end() == 0
        assert client.recv(15) == b"HTTP/1.1 200 OK"


def test_sighup_ignores_a_wrong_configuration(served: Served) -> None:
    served.config.write_text("[exporter]\nlitsen = 'x'\n")
    served.process.send_signal(signal.SIGHUP)
    assert "line 2: unknown key exporter.litsen." in served.says()
    assert served.get("/healthz")[0] == 200
    served.config.write_text("")
    for _turn in range(3):
        served.process.send_signal(signal.SIGHUP)
        assert served.get("/healthz")[0] == 200
    assert served.end() == 0


def certificate(directory: Path, name: str, *more: str) -> tuple[Path, Path]:
    key, crt = directory / f"{name}.key", directory / f"{name}.crt"
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    words += ["-days", "2", "-subj", f"/CN={name}", "-keyout", str(key), "-out", str(crt), *more]
    subprocess.run(words, check=True, capture_output=True)
    return key, crt


needs_openssl = pytest.mark.skipif(
    not os.environ.get("CI") and not Path("/usr/bin/openssl").exists(), reason="openssl is not installed"
)


@needs_openssl
def test_large_body_with_tls(tmp_path: Path) -> None:
    key, crt = certificate(tmp_path, "server", "-addext", "subjectAltName=IP:127.0.0.1")
    server = Served(Agent(tmp_path), tmp_path, f"[tls]\ncertificate = '{crt}'\nkey = '{key}'\n")
    context = ssl.create_default_context(cafile=crt)
    try:
        with context.wrap_socket(server.connect(), server_hostname="127.0.0.1") as client:
            client.sendall(b"GET / HTTP/1.1\r\nContent-Length: 8388608\r\n\r\n" + b"x" * (8 << 20))
            answer = b"".join(iter(lambda: client.recv(1 << 16), b""))
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert answer.endswith(b"\r\n\r\nRequest Entity Too Large\n") or b"Content Too Large" in answer
    finally:
        server.process.kill()
        server.process.wait()


@needs_openssl
@pytest.mark.parametrize("hello", [b"", b"\x16\x03\x01\x02\x00", b"\x16\x03\x01\x00\x05hello"])
def test_slow_handshake_ends(hello: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "CLIENT_SECONDS", 0.2)
    key, crt = certificate(tmp_path, "server")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(crt, key)

    async def connect_and_wait() -> None:
        talk = Talk(tmp_path, tls)
        clients = [await talk.connect(hello) for _client in range(5)]
        for reader, _writer in clients:
            assert not (await rest_of(reader)).startswith(b"HTTP")

    asyncio.run(connect_and_wait())


@needs_openssl
def test_unknown_client_certificate_is_rejected(tmp_path: Path) -> None:
    key, crt = certificate(tmp_path, "server", "-addext", "subjectAltName=IP:127.0.0.1")
    ours, theirs = certificate(tmp_path, "ours"), certificate(tmp_path, "theirs")
    config = f"[tls]\ncertificate = '{crt}'\nkey = '{key}'\nclient_ca = '{ours[1]}'\n"
    server = Served(Agent(tmp_path), tmp_path, config)

    def scrape(with_key: tuple[Path, Path] | None) -> int:
        context = ssl.create_default_context(cafile=crt)
        if with_key:
            context.load_cert_chain(with_key[1], with_key[0])
        connection = http.client.HTTPSConnection("127.0.0.1", server.port, timeout=SECONDS, context=context)
        with contextlib.closing(connection):
            connection.request("GET", "/metrics")
            return connection.getresponse().status

    try:
        assert scrape(ours) == 200
        for stranger in (None, theirs):
            with pytest.raises((ssl.SSLError, ConnectionError, http.client.RemoteDisconnected)):
                scrape(stranger)
        assert server.say(b"GET /metrics HTTP/1.1\r\n\r\n")[:4] != b"HTTP"
        assert scrape(ours) == 200
        with contextlib.ExitStack() as stack:
            for _stranger in range(900):
                stack.enter_context(server.connect())
            assert scrape(ours) == 200
            assert psutil.Process(server.process.pid).memory_info().rss < MEMORY_MAX
    finally:
        server.process.kill()
        server.process.wait()


@pytest.mark.parametrize(
    ("tls", "problem"),
    [
        (
            "certificate = '{0}/none'\nkey = '{0}/key'",
            "tls.certificate: {0}/none: No such file or directory.",
        ),
        ("certificate = '{0}/key'\nkey = '{0}/none'", "tls.key: {0}/none: No such file or directory."),
        ("certificate = '{0}/key'\nkey = '{0}/key'", "tls.certificate: {0}/key, or tls.key: {0}/key: "),
    ],
)
def test_tls_error_names_the_file(tls: str, problem: str, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("no key")
    (tmp_path / "config.toml").write_text(f"[tls]\n{tls.format(tmp_path)}\n")
    done = CliRunner().invoke(main, ["--config", f"{tmp_path}/config.toml", "--listen", "127.0.0.1:0"])
    assert done.exit_code == 2
    assert f"sdeictl-agent: {problem.format(tmp_path)}" in done.output


@pytest.mark.parametrize("host", ["a..b", "x" * 70, "no-such-host.invalid"])
def test_wrong_address_is_named(host: str) -> None:
    done = CliRunner().invoke(main, ["--listen", f"{host}:1"])
    assert done.exit_code == 2
    assert done.output.startswith(f"sdeictl-agent: cannot listen on {host}:1: ")


def test_taken_address_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        done = CliRunner().invoke(main, ["--listen", where])
    assert (done.exit_code, done.output) == (
        2, f"sdeictl-agent: cannot listen on {where}: Address already in use.\n",
    )  # fmt: skip


@settings(max_examples=EXAMPLES)
@given(st.binary(max_size=200))
def test_any_bytes_parse_as_request(data: bytes) -> None:
    with contextlib.suppress(BadRequestError):
        assert parse_request(data).method in ("GET", "HEAD")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[exporter]\n\nlisten = 5\n", "line 3: exporter.listen must be text."),
        (
            "[exporter]\ntextfile_seconds = true\n",
            "line 2: exporter.textfile_seconds must be a whole number.",
        ),
        ("listen = 'x:1'\n", "line 1: unknown key listen."),
        ("# a\n[exproter]\nlisten = 'x:1'\n", "unknown key exproter.listen."),
        ("[tls]\ncertificate = 'a'\n", "tls needs both a certificate and a key."),
        ("[exporter]\nlisten = 'x'\n", "'x' is not HOST:PORT."),
        ("[exporter]\ntextfile_seconds = 0\n", "textfile_seconds must be between 1 and 300."),
        ("[exporter]\ntextfile_seconds = 301\n", "must be between 1 and 300."),
        ("[exporter]\ntextfile = ''\n", "exporter.textfile is empty or contains a NUL."),
        ('[tls]\ncertificate = "a\\u0000"\nkey = "b"\n', "tls.certificate is empty or contains a NUL."),
        pytest.param("a = " + "[" * 3000, "c.toml: ", id="nested lists"),
        # Python 3.9 reads it; a later one refuses so many digits.
        pytest.param(f"a = {'9' * 5000}\n", "c.toml", id="long number"),
        ("[exporter\n", "c.toml: "),
        ("exporter = 1\n", "line 1: unknown key exporter."),
        ("[exporter.listen]\na = 1\n", "exporter.listen must be text."),
    ],
)
def test_configuration_error_names_the_line(text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse_config(text.encode(), "c.toml")
    assert problem in str(error.value)


def test_every_key_is_read() -> None:
    text = """
        [exporter]
        listen = "[::1]:9000"
        textfile = "/d"
        textfile_seconds = 30
        [tls]
        certificate = "c"
        key = "k"
        client_ca = "a"
    """
    assert parse_config(text.encode(), "x") == Config(Address("::1", 9000), "/d", 30, Tls("c", "k", "a"))
    assert all(f"{name.split('.')[1]} =" in text for name in KEYS)
    assert parse_config(b"", "x") == Config(Address("127.0.0.1", DEFAULT_PORT), None, 60, None)


@settings(max_examples=EXAMPLES)
@given(st.binary(max_size=200))
def test_any_bytes_parse_as_configuration(data: bytes) -> None:
    with contextlib.suppress(ConfigError):
        parse_config(data, "x")


@pytest.mark.parametrize("text", ["", "x", ":1", "x:99999", "x:y", "a:b:1", "[::1]", "[::1]:"])
def test_malformed_address_is_rejected(text: str) -> None:
    with pytest.raises(ValueError, match="is not HOST:PORT"):
        parse_listen(text)
