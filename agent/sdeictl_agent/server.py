"""The HTTP server of the exporter: three pages, one request for each connection.

No client can keep the others out: the number of clients and the time of each are limited. The server uses
asyncio because a thread for each of a thousand idle connections would need more memory than all the rest.
"""

from __future__ import annotations

import asyncio
import contextlib
import html
import socket
import ssl
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import NamedTuple, cast

from prometheus_client.exposition import choose_encoder

from sdeictl_agent.families import registry_of
from sdeictl_agent.sources import SOURCES, Snapshot

MAX_HEADER_BYTES = 8192
CLIENT_SECONDS = 10.0
"""How long a client may take from its connection to the end of the response, the TLS handshake included."""
DRAIN_SECONDS = 0.2
"""How long drain() waits for requests that clients have sent and the exporter has not read yet."""
MAX_CLIENTS = 256
TEXT = "text/plain; charset=utf-8"
HTML = "text/html; charset=utf-8"
METHODS = ("GET", "HEAD")


class Request(NamedTuple):
    """The parts of an HTTP request that matter here."""

    method: str
    path: str
    """Without the query."""
    accept: str
    """All Accept headers, joined by commas; "" without one."""


class Response(NamedTuple):
    """An HTTP response."""

    status: HTTPStatus
    content_type: str
    body: bytes


class BadRequestError(Exception):
    """A request that is not HTTP, too large, or of another method than METHODS; `status` says which."""

    def __init__(self, status: HTTPStatus) -> None:
        super().__init__(status.phrase)
        self.status = status


def parse_request(head: bytes) -> Request:
    """Parse a request up to and including its empty line (RFC 9112); raise BadRequestError."""
    lines = head.split(b"\r\n")
    words = lines[0].split(b" ")
    if len(words) != 3 or not words[2].startswith(b"HTTP/1.") or not words[1].startswith(b"/"):
        raise BadRequestError(HTTPStatus.BAD_REQUEST)
    method = words[0].decode("latin-1")
    if method not in METHODS:
        raise BadRequestError(HTTPStatus.METHOD_NOT_ALLOWED)
    accept = [
        value.strip().decode("latin-1")
        for name, colon, value in (line.partition(b":") for line in lines[1:])
        if colon and name.strip().lower() == b"accept"
    ]
    path = words[1].split(b"?")[0].decode("latin-1")
    return Request(method, path, ", ".join(accept))


def respond(request: Request, read: Callable[[], Snapshot]) -> Response:
    """Return a page. A source that is down is a metric and not an error of the exporter."""
    if request.path == "/metrics":
        try:
            encoder, content_type = choose_encoder(request.accept)
        except (ValueError, TypeError):  # malformed versions or quality values
            encoder, content_type = choose_encoder("")
        return Response(HTTPStatus.OK, content_type, encoder(registry_of(read())))
    if request.path == "/healthz":
        return Response(HTTPStatus.OK, TEXT, b"ok\n")
    if request.path == "/":
        return Response(HTTPStatus.OK, HTML, landing_page(read()))
    return Response(HTTPStatus.NOT_FOUND, TEXT, b"Not found. The pages are /metrics, /healthz and /.\n")


def landing_page(snapshot: Snapshot) -> bytes:
    """Return the page `/`, which shows the sources that are down."""
    problems = "".join(
        f"<li>{source} ({SOURCES[source]}): {html.escape(problem)}</li>"
        for source, problem in snapshot.problems.items()
    )
    sources = (
        f"<p>Sources that are down:</p><ul>{problems}</ul>" if problems else "<p>All sources are up.</p>"
    )
    page = f"""<!DOCTYPE html>
<html lang="en"><head><title>sdeictl-agent</title></head><body>
<h1>sdeictl-agent</h1>
<p>Can this host reach a CPU that is stuck with its interrupts masked? <a href="/metrics">Metrics</a></p>
{sources}
</body></html>
"""
    return page.encode()


def encode_response(response: Response, method: str) -> bytes:
    """Return the bytes of a response; HEAD gets no body."""
    head = (
        f"HTTP/1.1 {response.status.value} {response.status.phrase}\r\n"
        f"Content-Type: {response.content_type}\r\nContent-Length: {len(response.body)}\r\n"
        f"Allow: {', '.join(METHODS)}\r\nConnection: close\r\n\r\n"
    ).encode()
    return head if method == "HEAD" else head + response.body


class _Client:
    """An accepted connection."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.has_asked = False
        """The head of its request has arrived."""


class Exporter:
    """Serves the snapshot that `read` returns at each request.

    It serves at most MAX_CLIENTS at a time and counts each one from accept(2) on. A further client takes the
    place of the oldest one. asyncio's own server counts a TLS client only after the handshake, but the client
    needs 0.3 MB already before.
    """

    def __init__(self, read: Callable[[], Snapshot]) -> None:
        self._read = read
        self._listening: list[socket.socket] = []
        self._clients: dict[asyncio.Task[None], _Client] = {}
        """The clients by the task that serves each, oldest first."""

    def serve(self, sockets: Iterable[socket.socket], tls: ssl.SSLContext | None) -> None:
        """Start to accept connections on these sockets; drain() closes them."""
        loop = asyncio.get_running_loop()
        for listening in sockets:
            listening.setblocking(False)
            loop.add_reader(listening, self._accept, listening, tls)
            self._listening.append(listening)

    async def drain(self) -> None:
        """Stop listening, and wait until the clients that have sent a request have their response."""
        loop = asyncio.get_running_loop()
        for listening in self._listening:
            loop.remove_reader(listening)
            listening.close()
        if self._clients:
            await asyncio.wait(self._clients, timeout=DRAIN_SECONDS)
        if asked := [task for task, client in self._clients.items() if client.has_asked]:
            await asyncio.wait(asked, timeout=CLIENT_SECONDS)

    def _accept(self, listening: socket.socket, tls: ssl.SSLContext | None) -> None:
        try:
            connection, _address = listening.accept()
        except BlockingIOError:  # another process, or the exporter of a reload, was faster
            return
        except OSError:  # the client has gone, or no descriptor is left
            self._end_oldest()
            return
        if len(self._clients) >= MAX_CLIENTS:
            self._end_oldest()
        client = _Client(connection)
        task = asyncio.get_running_loop().create_task(self._serve(client, tls))
        self._clients[task] = client
        task.add_done_callback(lambda ended: self._clients.pop(ended, None))

    def _end_oldest(self) -> None:
        for task in self._clients:
            task.cancel()
            del self._clients[task]
            return

    async def _serve(self, client: _Client, tls: ssl.SSLContext | None) -> None:
        # A client that goes away, is too slow or does not speak HTTP harms only itself. Before Python 3.11
        # the time-out of wait_for() is not an OSError.
        with contextlib.suppress(OSError, asyncio.TimeoutError, asyncio.IncompleteReadError):
            await asyncio.wait_for(self._talk(client, tls), CLIENT_SECONDS)

    async def _talk(self, client: _Client, tls: ssl.SSLContext | None) -> None:
        # AbstractEventLoop declares connect_accepted_socket() from Python 3.10 on.
        loop = cast("asyncio.BaseEventLoop", asyncio.get_running_loop())
        reader = asyncio.StreamReader(MAX_HEADER_BYTES)
        protocol = asyncio.StreamReaderProtocol(reader)
        made, _ = await loop.connect_accepted_socket(lambda: protocol, client.connection, ssl=tls)
        transport = cast("asyncio.WriteTransport", made)
        try:
            writer = asyncio.StreamWriter(transport, protocol, reader, loop)
            await self._answer(client, reader, writer)
            writer.close()
            await writer.wait_closed()
        finally:
            transport.abort()

    async def _answer(
        self, client: _Client, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        method = "GET"
        try:
            head = await _read_head(reader)
            client.has_asked = True
            request = parse_request(head)
            method = request.method
            response = respond(request, self._read)
        except BadRequestError as error:
            response = Response(error.status, TEXT, f"{error.status.phrase}\n".encode())
        writer.write(encode_response(response, method))
        await writer.drain()


async def _read_head(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError as error:
        raise BadRequestError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE) from error
