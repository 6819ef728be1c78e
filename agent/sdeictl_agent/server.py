"""The exporter's HTTP: GET of three pages, one request a connection, and nobody can keep the others out.

By asyncio's streams: a thread for each of a thousand idle connections would cost more than all the rest.
"""

import asyncio
import contextlib
import html
import socket
import ssl
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import NamedTuple, cast

from prometheus_client.exposition import choose_encoder

from sdeictl_agent.families import families_of, registry_of
from sdeictl_agent.sources import SOURCES, Snapshot

MAX_HEADER_BYTES = 8192
REQUEST_SECONDS = 10.0
"""How long a client may take to say what it wants, and to take the answer."""
SAID_SECONDS = 0.2
"""Who has sent a request before it ends is read within this."""
MAX_CLIENTS = 256
TEXT = "text/plain; charset=utf-8"
HTML = "text/html; charset=utf-8"
METHODS = ("GET", "HEAD")


class Request(NamedTuple):
    """What a client wants."""

    method: str
    path: str
    accept: str


class Response(NamedTuple):
    """What it gets."""

    status: HTTPStatus
    content_type: str
    body: bytes


class BadRequestError(Exception):
    """It is no HTTP, or too much of it; the status says which."""

    def __init__(self, status: HTTPStatus) -> None:
        super().__init__(status.phrase)
        self.status = status


def parse_request(head: bytes) -> Request:
    """Return the request in the bytes up to the empty line (RFC 9112); raise BadRequestError."""
    lines = head.split(b"\r\n")
    words = lines[0].split(b" ")
    if len(words) != 3 or not words[2].startswith(b"HTTP/1.") or not words[1].startswith(b"/"):
        raise BadRequestError(HTTPStatus.BAD_REQUEST)
    if words[0].decode("latin-1") not in METHODS:
        raise BadRequestError(HTTPStatus.METHOD_NOT_ALLOWED)
    accept = [
        value.strip().decode("latin-1")
        for name, colon, value in (line.partition(b":") for line in lines[1:])
        if colon and name.strip().lower() == b"accept"
    ]
    path = words[1].split(b"?")[0].decode("latin-1")
    return Request(words[0].decode("latin-1"), path, ", ".join(accept))


def respond(request: Request, read: Callable[[], Snapshot]) -> Response:
    """Return a page. A source that is down is a metric, and no error of the exporter."""
    if request.path == "/metrics":
        try:
            encoder, content_type = choose_encoder(request.accept)
        except (ValueError, TypeError):  # versions and qualities that are none
            encoder, content_type = choose_encoder("")
        return Response(HTTPStatus.OK, content_type, encoder(registry_of(read())))
    if request.path == "/healthz":
        return Response(HTTPStatus.OK, TEXT, b"ok\n")
    if request.path == "/":
        return Response(HTTPStatus.OK, HTML, _landing(read()))
    return Response(HTTPStatus.NOT_FOUND, TEXT, b"there is /metrics, /healthz and /\n")


def _landing(snapshot: Snapshot) -> bytes:
    problems = "".join(
        f"<li>{name} ({SOURCES[name]}): {html.escape(problem)}</li>"
        for name, problem in families_of(snapshot)[1].items()
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
    """Return a response as it goes over the wire."""
    head = (
        f"HTTP/1.1 {response.status.value} {response.status.phrase}\r\n"
        f"Content-Type: {response.content_type}\r\nContent-Length: {len(response.body)}\r\n"
        f"Allow: {', '.join(METHODS)}\r\nConnection: close\r\n\r\n"
    ).encode()
    return head if method == "HEAD" else head + response.body


class Exporter:
    """Serves what `read` returns at each request.

    At most MAX_CLIENTS at a time, from their accept on: who comes then takes the place of the oldest one.
    asyncio's own servers count a client of TLS only after its handshake, and each costs 0.3 MB from before.
    """

    def __init__(self, read: Callable[[], Snapshot]) -> None:
        self._read = read
        self._listening: list[socket.socket] = []
        self._clients: dict[asyncio.Task[None], bool] = {}
        """Each one's task, the oldest first, and whether it has said what it wants."""

    def serve(self, sockets: Iterable[socket.socket], tls: ssl.SSLContext | None) -> None:
        """Begin to accept from these sockets, which are closed in the end."""
        loop = asyncio.get_running_loop()
        for listening in sockets:
            listening.setblocking(False)
            loop.add_reader(listening, self._accept, listening, tls)
            self._listening.append(listening)

    async def drain(self) -> None:
        """Listen no more, and let those who have said what they want have their answer."""
        loop = asyncio.get_running_loop()
        for listening in self._listening:
            loop.remove_reader(listening)
            listening.close()
        if self._clients:
            await asyncio.wait(self._clients, timeout=SAID_SECONDS)
        if asked := [task for task, has_asked in self._clients.items() if has_asked]:
            await asyncio.wait(asked, timeout=REQUEST_SECONDS)

    def _accept(self, listening: socket.socket, tls: ssl.SSLContext | None) -> None:
        try:
            client, _address = listening.accept()
        except BlockingIOError:  # another process, or who listens after a reload, was quicker
            return
        except OSError:  # it is gone again, or no descriptor is left
            self._end_oldest()
            return
        if len(self._clients) >= MAX_CLIENTS:
            self._end_oldest()
        task = asyncio.get_running_loop().create_task(self._serve(client, tls))
        self._clients[task] = False
        task.add_done_callback(lambda ended: self._clients.pop(ended, None))

    def _end_oldest(self) -> None:
        for task in self._clients:
            task.cancel()
            del self._clients[task]
            return

    async def _serve(self, client: socket.socket, tls: ssl.SSLContext | None) -> None:
        transport: asyncio.WriteTransport | None = None
        try:
            # A client that goes away, is too slow or talks nonsense is its own trouble.
            with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
                async with asyncio.timeout(REQUEST_SECONDS):
                    reader = asyncio.StreamReader(MAX_HEADER_BYTES)
                    protocol = asyncio.StreamReaderProtocol(reader)
                    loop = asyncio.get_running_loop()
                    made, _ = await loop.connect_accepted_socket(lambda: protocol, client, ssl=tls)
                    transport = cast(asyncio.WriteTransport, made)
                    writer = asyncio.StreamWriter(transport, protocol, reader, loop)
                    await self._answer(reader, writer)
                    writer.close()
                    await writer.wait_closed()
        finally:
            if transport:
                transport.abort()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        method = "GET"
        try:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except asyncio.LimitOverrunError as error:
                raise BadRequestError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE) from error
            task = asyncio.current_task()
            if task in self._clients:
                self._clients[task] = True
            request = parse_request(head)
            method = request.method
            response = respond(request, self._read)
        except BadRequestError as error:
            response = Response(error.status, TEXT, f"{error.status.phrase}\n".encode())
        writer.write(encode_response(response, method))
        await writer.drain()
