"""The HTTP server of the exporter: three pages, one request for each connection.

No client can keep the others out: the number of clients and the time of each are limited. Only the first
request of a connection is answered, and no page takes a body. The server uses the streams of asyncio because
a thread for each of a thousand idle connections would need more memory than all the rest.
"""

from __future__ import annotations

import asyncio
import contextlib
import html
import re
import socket
import ssl
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import NamedTuple, cast

from prometheus_client.exposition import choose_encoder

from sdeictl_agent.families import registry_of
from sdeictl_agent.sources import SOURCES, Snapshot

MAX_HEADER_BYTES = 8192
MAX_BODY_BYTES = 8192
"""No page takes a body. A small one is ignored, because RFC 9110 allows a GET to have one."""
CLIENT_SECONDS = 10.0
"""How long a client may take from its connection to the end of the response, the TLS handshake included."""
LINGER_SECONDS = 1.0
"""How long a client that has its response may send nothing before the exporter closes the connection."""
_LINGER_BYTES = 1 << 18
DRAIN_SECONDS = 0.2
"""How long drain() waits for requests that clients have sent and the exporter has not read yet."""
MAX_CLIENTS = 256
TEXT = "text/plain; charset=utf-8"
HTML = "text/html; charset=utf-8"
METHODS = ("GET", "HEAD")
_VERSION = re.compile(rb"HTTP/1\.[0-9]")
# The version in an Accept header comes back in Content-Type: a bare line feed would begin another header.
_CONTROL = re.compile(rb"[\0-\x08\n-\x1f\x7f]")


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
    """A request that is not HTTP/1, too large, or of another method than METHODS; `status` says which."""

    def __init__(self, status: HTTPStatus) -> None:
        super().__init__(status.phrase)
        self.status = status


def parse_request(head: bytes) -> Request:
    """Parse a request up to and including its empty line (RFC 9112); raise BadRequestError."""
    lines = head.split(b"\r\n")
    words = lines[0].split(b" ")
    if len(words) != 3 or not _VERSION.fullmatch(words[2]) or not words[1].startswith(b"/"):
        raise BadRequestError(HTTPStatus.BAD_REQUEST)
    if _CONTROL.search(b"".join(lines)):
        raise BadRequestError(HTTPStatus.BAD_REQUEST)
    method = words[0].decode("latin-1")
    if method not in METHODS:
        raise BadRequestError(HTTPStatus.METHOD_NOT_ALLOWED)
    _check_body(_values(lines, b"content-length"), _values(lines, b"transfer-encoding"))
    path = words[1].split(b"?")[0].decode("latin-1")
    return Request(method, path, b", ".join(_values(lines, b"accept")).decode("latin-1"))


def _values(lines: Iterable[bytes], wanted: bytes) -> list[bytes]:
    """Return the values of all headers of a name, given in small letters."""
    headers = (line.partition(b":") for line in lines)
    return [value.strip() for name, colon, value in headers if colon and name.strip().lower() == wanted]


def _check_body(lengths: list[bytes], encodings: list[bytes]) -> None:
    """Raise BadRequestError if a body is too large, or if its length is missing or contradicts itself."""
    if encodings:
        raise BadRequestError(HTTPStatus.BAD_REQUEST if lengths else HTTPStatus.LENGTH_REQUIRED)
    sizes = {size.strip() for length in lengths for size in length.split(b",")}
    if len(sizes) > 1 or not all(size.isdigit() for size in sizes):
        raise BadRequestError(HTTPStatus.BAD_REQUEST)
    # int() refuses thousands of digits, and the first nine are enough.
    if any(int(size.lstrip(b"0")[:9] or b"0") > MAX_BODY_BYTES for size in sizes):
        raise BadRequestError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)


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


def encode_response(response: Response, *, with_body: bool = True) -> bytes:
    """Return the bytes of a response; the one to a HEAD has no body."""
    head = (
        f"HTTP/1.1 {response.status.value} {response.status.phrase}\r\n"
        f"Content-Type: {response.content_type}\r\nContent-Length: {len(response.body)}\r\n"
        f"Allow: {', '.join(METHODS)}\r\nConnection: close\r\n\r\n"
    ).encode()
    return head + response.body if with_body else head


class _Client:
    """An accepted connection."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.has_asked = False
        """The head of its request has arrived."""
        self.has_answer = False
        """Its response is sent. What it still sends is dropped."""


class Exporter:
    """Serves the snapshot that `read` returns at each request.

    It serves at most MAX_CLIENTS at a time and counts each one from accept(2) on. A further client takes the
    place of one that has its response, else of the oldest one. asyncio's own server counts a TLS client only
    after the handshake, but the client needs 0.3 MB already before.
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
        waiting = self._clients.items()
        if owed := [task for task, client in waiting if client.has_asked and not client.has_answer]:
            await asyncio.wait(owed, timeout=CLIENT_SECONDS)

    def _accept(self, listening: socket.socket, tls: ssl.SSLContext | None) -> None:
        try:
            connection, _address = listening.accept()
        except BlockingIOError:  # another process, or the exporter of a reload, was faster
            return
        except OSError:  # the client has gone, or no descriptor is left
            self._end_one()
            return
        if len(self._clients) >= MAX_CLIENTS:
            self._end_one()
        client = _Client(connection)
        task = asyncio.get_running_loop().create_task(self._serve(client, tls))
        self._clients[task] = client
        task.add_done_callback(lambda ended: self._clients.pop(ended, None))

    def _end_one(self) -> None:
        answered = (task for task, client in self._clients.items() if client.has_answer)
        task = next(answered, next(iter(self._clients), None))
        if task:
            task.cancel()
            del self._clients[task]

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
            client.has_answer = True
            await _linger(reader, writer)
            writer.close()
            await writer.wait_closed()
        finally:
            transport.abort()

    async def _answer(
        self, client: _Client, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        head = b""
        try:
            head = await _read_head(reader)
            client.has_asked = True
            response = respond(parse_request(head), self._read)
        except BadRequestError as error:
            response = Response(error.status, TEXT, f"{error.status.phrase}\n".encode())
        writer.write(encode_response(response, with_body=not head.startswith(b"HEAD ")))
        await writer.drain()


async def _read_head(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError as error:
        raise BadRequestError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE) from error


async def _linger(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Drop what a client still sends: the rest of a body, or further requests.

    If a connection with unread input is closed, the kernel resets it, and the client may lose the response
    (RFC 9112, section 9.6). So only this side is closed first, where the transport can do that.
    """
    if writer.can_write_eof():
        writer.write_eof()
    loop = asyncio.get_running_loop()
    data = b"?"
    while data:
        # Not wait_for(): before Python 3.12 it can lose the cancellation by which CLIENT_SECONDS ends.
        timer = loop.call_later(LINGER_SECONDS, writer.close)
        try:
            data = await reader.read(_LINGER_BYTES)
        finally:
            timer.cancel()
