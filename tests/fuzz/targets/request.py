"""Requests of HTTP clients: BadRequestError, or a page whose length is right."""

from __future__ import annotations

from collections.abc import Iterator

from sdeictl_agent.server import METHODS, BadRequestError, encode_response, parse_request, respond
from sdeictl_agent.sources import Snapshot, Source

from tests.fuzz.harness import Target
from tests.fuzz.shapes import with_long_numbers

SNAPSHOT = Snapshot(1.0, None, None, (), None, None, None, {Source.REPORT: "It is <damaged>."})
WORDS = (
    "GET ", "HEAD ", "/metrics", "/healthz", " HTTP/1.1\r\n", "Accept: ", "Content-Length: ", "\r\n",
    "application/openmetrics-text; version=1.0.0", "text/plain;version=0.0.4;q=0.5", "Transfer-Encoding: ",
    ";escaping=allow-utf-8",
)  # fmt: skip


def seeds() -> Iterator[bytes]:
    yield from with_long_numbers(
        f"GET {path} HTTP/1.1\r\nAccept: {WORDS[8]};q=0.5,*/*\r\nContent-Length: 3\r\n\r\n".encode()
        for path in ("/metrics", "/", "/healthz?x=1", "/none")
    )
    yield b"HEAD / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"


def check(data: bytes) -> None:
    try:
        request = parse_request(data)
    except BadRequestError as error:
        assert 400 <= error.status < 500
        return
    assert request.method in METHODS
    assert request.path.startswith("/")
    response = respond(request, lambda: SNAPSHOT)
    assert response.status in (200, 404)
    assert b"<damaged>" not in response.body
    head, _, body = encode_response(response).partition(b"\r\n\r\n")
    assert f"Content-Length: {len(body)}\r\n".encode() in head + b"\r\n"
    assert b"\n" not in head.replace(b"\r\n", b"")
    assert encode_response(response, with_body=False) == head + b"\r\n\r\n"


TARGET = Target(check, seeds, (parse_request,), WORDS, 8192)
