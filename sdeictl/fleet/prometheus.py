"""The HTTP API of Prometheus, and of what speaks it: Thanos, Mimir, VictoriaMetrics.

https://prometheus.io/docs/prometheus/latest/querying/api/. Only instant queries.
"""

from __future__ import annotations

import http.client
import json
import math
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping

from sdeictl.errors import SdeictlError, Status, error_text
from sdeictl.text import NamedTuple

MAX_ANSWER_BYTES = 40 << 20
"""Limit for one answer. The list of 100,000 hosts takes less."""
_MAX_ERROR_BYTES = 64 << 10
_PIECE_BYTES = 1 << 18
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


class Client:
    """Asks a server. It may be used by several threads."""

    def __init__(self, server: Server, at: float | None = None) -> None:
        """`at` is the time of all queries, in seconds since 1970; None means now."""
        self._server = server
        self._at = at
        self.warnings: dict[str, None] = {}
        """What the server says against its own answers, without repetitions."""
        self._opener = urllib.request.build_opener(
            _NoRedirect, urllib.request.HTTPSHandler(context=_tls(server))
        )

    @property
    def place(self) -> str:
        """The server, without what may be secret in its address."""
        return _place(self._server.url)

    def query(self, expression: str) -> list[Series]:
        """Return the series of an instant query.

        Raises SdeictlError with Status.UNKNOWN if there is no usable answer.
        """
        try:
            return self._parse(self._fetch(expression))
        except _UnusableError as error:
            text = self._without_secrets(f"{_place(self._server.url)} {error}")
            raise SdeictlError(text, Status.UNKNOWN) from None

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
        deadline = time.monotonic() + self._server.seconds
        try:
            with self._opener.open(request, timeout=self._server.seconds) as answer:
                return _read(answer, deadline)
        except urllib.error.HTTPError as error:
            with error:
                raise _UnusableError(_refusal(error)) from None
        except urllib.error.URLError as error:
            raise _UnusableError(f"cannot be reached: {_reason(error.reason)}") from None
        except TimeoutError:
            raise _UnusableError(f"did not answer within {self._server.seconds:g} s (--timeout)") from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise _UnusableError(f"broke off its answer: {_reason(error)}") from None

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


def _read(answer: http.client.HTTPResponse, deadline: float) -> bytes:
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
        # The timeout of the socket starts again at each byte; a slow server must not hold us for hours.
        if time.monotonic() > deadline:
            raise TimeoutError
    if answer.length:
        raise _UnusableError(f"broke off its answer after {len(data)} bytes")
    return bytes(data)


def _decode(data: bytes) -> dict[str, object]:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        raise _UnusableError("answered with JSON that is damaged or cut short") from None
    if not isinstance(document, dict):
        raise _UnusableError("answered with JSON that is not the answer to a query")
    return document


def _refusal(error: urllib.error.HTTPError) -> str:
    """Return what an HTTP error says, a clause."""
    if error.code in (401, 403):
        return f"refuses us (HTTP {error.code}): it wants other credentials (--token-file, --header)"
    try:
        document = json.loads(error.read(_MAX_ERROR_BYTES))
        text = str(document["error"])
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError, RecursionError):
        text = http.client.responses.get(error.code, "no reason given")
    if "many-to-many" in text or "duplicate series" in text:
        return "holds several series of one host, perhaps of two replicas: select one of them with --match"
    return f"answers with an error (HTTP {error.code}): {_shown(text)}"


def _reason(error: object) -> str:
    if isinstance(error, TimeoutError):
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
