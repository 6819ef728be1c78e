"""The HTTP API of Prometheus, and of what speaks it: Thanos, Mimir, VictoriaMetrics.

https://prometheus.io/docs/prometheus/latest/querying/api/. Only instant queries.
"""

from __future__ import annotations

import http.client
import math
import socket
import ssl
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from functools import partial

from sdeictl.errors import SdeictlError, Status, error_text
from sdeictl.host.json_text import as_object, parse_json
from sdeictl.text import NamedTuple

MAX_ANSWER_BYTES = 40 << 20
"""Limit for one answer. The list of 100,000 hosts takes less."""
MAX_SERIES = 2_000_000
"""Limit for all answers of a command together; a plan asks for 20 series of each host."""
_MAX_CONTAINERS, _MAX_COMMAS = 500_000, 2_000_000
"""Limits for the objects and arrays in it, and for its values."""
_MAX_ERROR_BYTES = 64 << 10
_PIECE_BYTES = 1 << 18
_LATE = (TimeoutError, socket.timeout)
"""Before Python 3.10 these are two exceptions."""
_MAX_SHOWN = 300
"""How much of the server's own words a message shows."""


class Series(NamedTuple):
    """One series of an instant vector."""

    labels: Mapping[str, str]
    value: float


class Server(NamedTuple):
    """How to reach a server. Neither the headers nor the token may be printed."""

    url: str
    """Its base, to which `/api/v1/query` is added."""
    headers: tuple[tuple[str, str], ...] = ()
    seconds: float = 30.0
    """The time limit for one query, from its request to the last byte of its answer."""
    ca_file: str | None = None
    certificate: str | None = None
    key: str | None = None


class _UnusableError(Exception):
    """Why an answer cannot be used: a clause after the name of the server."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: it would send the token to another place."""

    def redirect_request(self, *words: object) -> None:
        """Raise _UnusableError. The last of the words is the new address."""
        raise _UnusableError(f"redirects to {_place(str(words[-1]))}; name that server if you trust it")


class _Deadline:
    """Ends a connection at a time. The timeout of a socket starts again at each byte that it receives."""

    def __init__(self, seconds: float) -> None:
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True
        self._socket: socket.socket | None = None
        self.is_over = False

    def __enter__(self) -> _Deadline:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        if self._socket:
            self._socket.close()

    def watch(self, connected: socket.socket) -> None:
        """End this connection too. TLS will take the socket over, so a copy of it is kept."""
        self._socket = connected.dup()
        if self.is_over:
            self._end()

    def _end(self) -> None:
        self.is_over = True
        if self._socket:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)


class _Connection(http.client.HTTPConnection):
    deadline: _Deadline

    def connect(self) -> None:
        super().connect()
        self.deadline.watch(self.sock)


class _TlsConnection(http.client.HTTPSConnection, _Connection):
    """Its connect() connects as _Connection does, and then begins TLS."""


class _Opener(urllib.request.HTTPSHandler, urllib.request.HTTPHandler):
    """Opens connections that a deadline ends."""

    def __init__(self, context: ssl.SSLContext, deadline: _Deadline) -> None:
        super().__init__()
        self._tls = context
        self._deadline = deadline

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(partial(_connection, _Connection, self._deadline), req)

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(partial(_connection, _TlsConnection, self._deadline), req, context=self._tls)


def _connection(
    kind: type[_Connection], deadline: _Deadline, host: str, **options: object
) -> http.client.HTTPConnection:
    made = kind(host, **options)  # type: ignore[arg-type] # they are urllib's own
    made.deadline = deadline
    return made


class Client:
    """Asks a server, until it gives no usable answer. It may be used by several threads."""

    def __init__(self, server: Server, at: float | None = None) -> None:
        """`at` is the time of all queries, in seconds since 1970; None means now."""
        self._server = server
        self._at = at
        self.warnings: dict[str, None] = {}
        """What the server says against its own answers, without repetitions."""
        self._tls = _tls(server)
        self._parsing = threading.Lock()
        self._series = 0
        """How many all answers had together."""
        self._refused = ""
        """Why nothing more is asked: other threads need not wait for the same server once more."""

    @property
    def place(self) -> str:
        """The server, without what may be secret in its address."""
        return _place(self._server.url)

    def query(self, expression: str) -> list[Series]:
        """Return the series of an instant query.

        Raises SdeictlError with Status.UNKNOWN if the server gives no usable answer, or gave none before.
        """
        if not self._refused:
            try:
                return self._counted(self._fetch(expression))
            except _UnusableError as error:
                self._refused = self._without_secrets(f"{self.place} {error}")
        raise SdeictlError(self._refused, Status.UNKNOWN)

    def _counted(self, data: bytes) -> list[Series]:
        """Return the series of an answer, one answer at a time: its objects take ten times as much memory."""
        with self._parsing:
            found = self._parse(data)
            self._series += len(found)
        if self._series > MAX_SERIES:
            raise _UnusableError(f"answers with more than {MAX_SERIES:,} series altogether")
        return found

    def value(self, expression: str) -> float | None:
        """Return the value of the first series of an instant query; None without one."""
        found = self.query(expression)
        return found[0].value if found else None

    def _without_secrets(self, text: str) -> str:
        """Return a text without the values of our headers, which a server may repeat in an error."""
        for _name, value in self._server.headers:
            for secret in (value, value.rpartition(" ")[2]):
                text = text.replace(secret, "***") if secret else text
        return text

    def _fetch(self, expression: str) -> bytes:
        fields = {"query": expression, "timeout": f"{self._server.seconds:g}s"}
        if self._at is not None:
            fields["time"] = f"{self._at:.3f}"
        request = urllib.request.Request(  # noqa: S310 - Server's maker has checked the scheme
            f"{self._server.url.rstrip('/')}/api/v1/query", urllib.parse.urlencode(fields).encode(),
            {"Accept": "application/json", "User-Agent": "sdeictl", **dict(self._server.headers)},
        )  # fmt: skip
        late = _UnusableError(f"did not answer within {self._server.seconds:g} s (--timeout)")
        with _Deadline(self._server.seconds) as deadline:
            try:
                return self._answer(request, deadline)
            except _LATE:
                raise late from None
            except (_UnusableError, OSError, http.client.HTTPException, ValueError) as error:
                raise late if deadline.is_over else _unusable(error) from None

    def _answer(self, request: urllib.request.Request, deadline: _Deadline) -> bytes:
        opener = urllib.request.build_opener(_NoRedirect, _Opener(self._tls, deadline))
        try:
            with opener.open(request, timeout=self._server.seconds) as answer:
                data = _read(answer)
            if deadline.is_over:
                raise TimeoutError
            return data
        except urllib.error.HTTPError as error:
            with error:
                raise _UnusableError(_refusal(error)) from None

    def _parse(self, data: bytes) -> list[Series]:
        document = _decode(data)
        for words in (document.get("warnings"), document.get("infos")):
            for text in words if isinstance(words, list) else ():
                self.warnings[self._without_secrets(_shown(str(text)))] = None
        if document.get("isPartial"):  # VictoriaMetrics
            self.warnings["the server says that its answer is partial"] = None
        if document.get("status") != "success":
            raise _UnusableError(f"refuses a query: {_shown(str(document.get('error')))}")
        try:
            return _series(document["data"])
        except (KeyError, TypeError, ValueError, AttributeError, IndexError):
            raise _UnusableError("answered with JSON that is not the answer to a query") from None


def check_url(url: str) -> str:
    """Return the URL of a server; raise ValueError if it is none, or if it holds a password."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("it must begin with http:// or https://")
    if parts.username or parts.password:
        raise ValueError("every user of this machine could see the password in it: use --token-file")
    if parts.query or parts.fragment:
        raise ValueError("it must be the address of the server alone, without a query")
    return url


def _tls(server: Server) -> ssl.SSLContext:
    """Return how the server proves who it is, and how we do; raise SdeictlError for unusable files."""
    try:
        context = ssl.create_default_context(cafile=server.ca_file)
        if server.certificate:
            context.load_cert_chain(server.certificate, server.key)
    except (OSError, ValueError) as error:
        files = " and ".join(filter(None, (server.ca_file, server.certificate, server.key)))
        raise SdeictlError(
            f"the certificates in {files} cannot be used: {_reason(error)}", Status.USAGE
        ) from None
    return context


def _unusable(error: Exception) -> _UnusableError:
    """Return what ended a query, as a clause."""
    if isinstance(error, _UnusableError):
        return error
    if isinstance(error, urllib.error.URLError):
        return _UnusableError(f"cannot be reached: {_reason(error.reason)}")
    return _UnusableError(f"broke off its answer: {_reason(error)}")


def _read(answer: http.client.HTTPResponse) -> bytes:
    kind = answer.headers.get_content_type()
    if kind != "application/json":
        raise _UnusableError(
            f"answered with {_shown(kind)} instead of JSON: is it the address of a Prometheus?"
        )
    data = bytearray()
    while piece := answer.read1(_PIECE_BYTES):
        data += piece
        if len(data) > MAX_ANSWER_BYTES:
            raise _UnusableError(
                f"answered with more than {MAX_ANSWER_BYTES >> 20} MiB: select fewer hosts with --match"
            )
    if answer.length:
        raise _UnusableError(f"broke off its answer after {len(data)} bytes")
    return bytes(data)


def _decode(data: bytes) -> dict[str, object]:
    try:
        document = parse_json(data, MAX_ANSWER_BYTES, _MAX_COMMAS, _MAX_CONTAINERS)
    except ValueError as error:
        raise _UnusableError(f"answered with JSON that cannot be used: {error}") from None
    if not isinstance(document, dict):
        raise _UnusableError("answered with JSON that is not the answer to a query")
    return document


def _refusal(error: urllib.error.HTTPError) -> str:
    """Return what an HTTP error says, a clause."""
    if error.code in (401, 403):
        return f"refuses us (HTTP {error.code}): it wants other credentials (--token-file, --header)"
    try:
        text = str(as_object(parse_json(error.read(_MAX_ERROR_BYTES)))["error"])
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
        text = http.client.responses.get(error.code, "no reason given")
    if "many-to-many" in text or "duplicate series" in text:
        return "holds several series of one host, perhaps of two replicas: select one of them with --match"
    return f"answers with an error (HTTP {error.code}): {_shown(text)}"


def _reason(error: object) -> str:
    if isinstance(error, _LATE):
        return "no answer in time"
    if isinstance(error, OSError):
        return error_text(error)
    return _shown(str(error) or type(error).__name__)


def _place(url: str) -> str:
    """Return the server that a URL names, without what may be secret in it."""
    parts = urllib.parse.urlsplit(url)
    return f"{parts.scheme}://{_shown(parts.netloc.rpartition('@')[2])}"


def _shown(text: str) -> str:
    """Return words of the server as a message may show them: one line, printable, short."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= _MAX_SHOWN else f"{line[:_MAX_SHOWN]}..."


def _series(data: object) -> list[Series]:
    """Return the series in the data of an answer. Raises what dict, list and float raise for other data."""
    if not isinstance(data, dict):
        raise TypeError
    if data["resultType"] == "scalar":
        return [Series({}, float(data["result"][1]))]
    found = []
    for each in data["result"]:
        labels = each["metric"]
        if not all(isinstance(text, str) for pair in labels.items() for text in pair):
            raise ValueError
        value = float(each["value"][1])
        if not math.isfinite(value):  # no count is
            raise ValueError
        found.append(Series(labels, value))
    return found
