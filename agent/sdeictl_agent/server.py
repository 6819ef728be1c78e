"""The exporter's HTTP: GET of three pages, one request a connection, and nobody can keep the others out.

By asyncio's streams: a thread for each of a thousand idle connections would cost more than all the rest.
"""

import asyncio
import contextlib
import html
import ssl
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import NamedTuple

from prometheus_client.exposition import choose_encoder

from sdeictl_agent.families import registry_of
from sdeictl_agent.sources import SOURCES, Snapshot, down

MAX_HEADER_BYTES = 8192
REQUEST_SECONDS = 10.0
"""How long a client may take to say what it wants, and to take the answer."""
MAX_CONNECTIONS = 4096
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


def respond(request: Request, snapshot: Snapshot) -> Response:
    """Return a page. A source that is down is a metric, and no error of the exporter."""
    if request.path == "/metrics":
        encoder, content_type = choose_encoder(request.accept)
        return Response(HTTPStatus.OK, content_type, encoder(registry_of(snapshot)))
    if request.path == "/healthz":
        return Response(HTTPStatus.OK, TEXT, b"ok\n")
    if request.path == "/":
        return Response(HTTPStatus.OK, HTML, _landing(snapshot))
    return Response(HTTPStatus.NOT_FOUND, TEXT, b"there is /metrics, /healthz and /\n")


def _landing(snapshot: Snapshot) -> bytes:
    problems = "".join(
        f"<li>{name} ({SOURCES[name]}): {html.escape(problem)}</li>" for name, problem in down(snapshot)
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
        "Connection: close\r\n\r\n"
    ).encode()
    return head if method == "HEAD" else head + response.body


class Exporter:
    """Serves what `read` returns at each request."""

    def __init__(self, read: Callable[[], Snapshot]) -> None:
        self._read = read
        self._connections = 0
        self._servers: list[asyncio.Server] = []
        self._busy: set[asyncio.Task[None]] = set()

    async def serve(self, sockets: Iterable[object], tls: ssl.SSLContext | None) -> None:
        """Begin to listen on these sockets."""
        for listening in sockets:
            self._servers.append(
                await asyncio.start_server(
                    self._accept,
                    sock=listening,
                    ssl=tls,
                    limit=MAX_HEADER_BYTES,
                    ssl_handshake_timeout=REQUEST_SECONDS if tls else None,
                )
            )

    async def drain(self) -> None:
        """Let those who are being served have their answer, and listen no more."""
        loop = asyncio.get_running_loop()
        for server in self._servers:
            for listening in server.sockets:
                loop.remove_reader(listening.fileno())
        # asyncio loses a connection whose server is closed between its accept and its first step.
        await asyncio.sleep(0)
        for server in self._servers:
            server.close()
        if self._busy:
            await asyncio.wait(self._busy, timeout=REQUEST_SECONDS)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        try:
            if self._connections <= MAX_CONNECTIONS:
                # A client that goes away, is too slow or talks nonsense is its own trouble.
                with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
                    async with asyncio.timeout(REQUEST_SECONDS):
                        await self._answer(reader, writer)
        finally:
            self._connections -= 1
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        method = "GET"
        try:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except asyncio.LimitOverrunError as error:
                raise BadRequestError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE) from error
            task = asyncio.current_task()
            assert task is not None  # noqa: S101 - it runs in one
            self._busy.add(task)
            task.add_done_callback(self._busy.discard)
            request = parse_request(head)
            method = request.method
            response = respond(request, self._read())
        except BadRequestError as error:
            response = Response(error.status, TEXT, f"{error.status.phrase}\n".encode())
        writer.write(encode_response(response, method))
        await writer.drain()
