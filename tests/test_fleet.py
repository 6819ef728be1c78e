"""Reports on fleets: from files, from a server that misbehaves, as text, CSV and JSON, and what changed."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from sdeictl.errors import SdeictlError
from sdeictl.fleet import prometheus
from sdeictl.host.open import open_root
from sdeictl.probe.collect import collect
from sdeictl.probe.report import build_report
from tests.conftest import load_host, validate
from tests.support.planted_fleet import expect, make_fleet, report_document, write_reports
from tests.support.tools import tool

SECRET = "tok3n-that-nobody-may-see"
HOSTS = make_fleet(300)
NOT_READY = sum(host.up and host.reported and host.ready is False for host in HOSTS)
FOUND = sum(host.up for host in HOSTS)
"""Hosts that have a file; those that are down have none."""


def fleet(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sdeictl", "fleet", *map(str, arguments)], capture_output=True, text=True,
        timeout=60, env=os.environ | {"no_proxy": "*"}, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with the reports of a planted fleet."""
    directory = tmp_path_factory.mktemp("reports")
    model = build_report(collect(open_root(str(load_host("acpi-sdei").root))))
    write_reports(HOSTS, directory, model)
    return directory


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    names = [host.name.partition(":")[0] for host in HOSTS if not host.up]
    path = tmp_path / "inventory"
    path.write_text("# the fleet\n" + "".join(f"{name}  # rack 1\n" for name in names))
    return path


def test_report_of_files(reports: Path, inventory: Path) -> None:
    done = fleet("report", "--reports", reports, "--inventory", inventory, "--format", "json")
    assert done.returncode == 1, done.stderr
    document = json.loads(done.stdout)
    validate("fleet-1", document)
    expect(document, HOSTS, with_server=False)
    assert sum("cut short" in gap for gap in document["gaps"]) == document["hosts"]["no_report"]


def test_files_may_be_named_one_by_one(reports: Path) -> None:
    files = sorted(reports.iterdir())[:3]
    done = fleet("report", "--reports", *files, "--format", "json")
    assert json.loads(done.stdout)["hosts"]["total"] == 3
    done = fleet("report", *files)
    assert (done.returncode, done.stdout) == (2, "")
    assert "--reports" in done.stderr


def test_a_captured_tree_is_one_host(tmp_path: Path) -> None:
    done = fleet("report", "--reports", load_host("dt-none").root, "--format", "json")
    document = json.loads(done.stdout)
    assert (done.returncode, document["hosts"]["not_ready"], document["hosts"]["total"]) == (1, 1, 1)
    (tmp_path / "empty").mkdir()
    done = fleet("report", "--reports", tmp_path / "empty", "--format", "json")
    assert (done.returncode, json.loads(done.stdout)["hosts"]["total"]) == (3, 0)
    assert fleet("report", "--reports", tmp_path / "nothing").returncode == 2


@pytest.mark.parametrize(
    "document", [{}, {"verdict": 3}, {"verdict": {"summary": "", "ready": "yes"}, "host": {}}]
)
def test_incomplete_report_is_a_gap(document: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"schema": "sdeictl.report/1", **document}))
    done = fleet("report", "--reports", tmp_path, "--format", "json")
    assert done.returncode == 3, done.stderr
    found = json.loads(done.stdout)
    assert found["hosts"]["no_report"] == found["hosts"]["total"] == 1
    assert "is not a complete report" in found["gaps"][0]


def test_first_lines_say_what_is_wrong(reports: Path) -> None:
    """How many hosts are not ready, the most frequent reason, and whose it is."""
    done = fleet("report", "--reports", reports)
    head = " ".join(done.stdout.splitlines()[:6])
    assert f"{NOT_READY} hosts of {FOUND} are not ready: they cannot reach a CPU" in head
    assert f"Most frequent reason: pseudo-nmi-requested fails ({NOT_READY} hosts). Owner: admin." in head
    assert max(map(len, done.stdout.splitlines())) <= 100


def test_only_a_ready_host_is_at_risk(reports: Path) -> None:
    """A host of which nothing else is known can have a hazard too."""
    text = fleet("report", "--reports", reports).stdout
    seen = [host for host in HOSTS if host.up and host.reported and host.cohort.hazard]
    at_risk = sum(host.ready is True for host in seen)
    assert 0 < at_risk < len(seen)
    assert f"{at_risk} of them AT RISK" in text
    assert f"{len(seen)} hosts with a hazard" in text


def test_text_of_hosts_is_harmless(tmp_path: Path) -> None:
    model = build_report(collect(open_root(str(load_host("acpi-sdei").root))))
    (host,) = [host for host in make_fleet(100) if host.cohort.path == "sdei"][:1]
    report = report_document(host, int(time.time()), model)
    report["host"]["firmware"] = "=cmd|' /C calc'!A0\x1b[2J[red]"
    (tmp_path / "a.json").write_text(json.dumps(report))
    text = fleet("report", "--reports", tmp_path / "a.json").stdout
    assert "\x1b" not in text
    assert "[red]" in text
    rows = list(csv.reader(io.StringIO(fleet("report", "--reports", tmp_path, "--format", "csv").stdout)))
    assert rows[1][1].startswith("'=cmd")


def test_table_of_hosts_is_harmless(tmp_path: Path) -> None:
    report = build_report(collect(open_root(str(load_host("acpi-sdei").root))))
    report["host"]["firmware"] = " =x\x1b]0;x\x07\u202e"
    for name in (b"a\xff.json", b"b\x1b[31m.json"):
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_text(json.dumps(report))
    done = fleet("report", "--reports", tmp_path, "--by", "firmware", "--hosts", "--format", "csv")
    assert (done.returncode, done.stderr) == (0, "")
    assert all(line.isprintable() for line in done.stdout.splitlines())
    assert [row[3][:2] for row in csv.reader(io.StringIO(done.stdout))][1:] == ["' ", "' "]


def test_list_of_hosts_names_unusable_files(reports: Path, tmp_path: Path) -> None:
    shutil.copy(sorted(reports.iterdir())[0], tmp_path / "a.json")
    (tmp_path / "b.json").write_text('{"schema": "x"}')
    for form in ("text", "json", "csv"):
        done = fleet("report", "--reports", tmp_path, "--hosts", "--format", form)
        assert done.returncode == 3
        assert "b.json is not a sdeictl.report/1" in done.stderr
        assert "\na" in done.stdout or '"a"' in done.stdout
    assert "b.json" in fleet("report", "--reports", tmp_path, "--format", "csv").stderr


def test_series_of_all_answers_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prometheus, "MAX_SERIES", 10)
    with server(reply(vector(*[{"metric": {}, "value": [0, "1"]}] * 8))) as (url, seen):
        client = prometheus.Client(prometheus.Server(url))
        assert len(client.query("up")) == 8
        for _ in range(2):
            with pytest.raises(SdeictlError, match="answers with more than 10 series altogether"):
                client.query("up")
    assert len(seen) == 2


@pytest.mark.parametrize("change", ["ready", "label", "findings"])
def test_report_that_sdeictl_did_not_write(change: str, tmp_path: Path) -> None:
    report: Any = build_report(collect(open_root(str(load_host("acpi-sdei").root))))
    if change == "ready":
        report["verdict"]["ready"] = 0
    elif change == "label":
        report["host"]["firmware"] = "x" * 2000
    else:
        report["findings"] *= 100
    (tmp_path / "a.json").write_text(json.dumps(report))
    done = fleet("report", "--reports", tmp_path, "--by", "firmware", "--format", "json")
    assert (done.returncode, json.loads(done.stdout)["hosts"]["no_report"]) == (3, 1)


def test_csv_of_cohorts_and_hosts(reports: Path) -> None:
    done = fleet("report", "--reports", reports, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert sum(int(row["not_ready"]) for row in rows) == NOT_READY
    assert {row["product"] for row in rows} >= {"Grün é\u4e2d", "GB200 NVL"}
    done = fleet("report", "--reports", reports, "--hosts", "--format", "csv")
    assert len(done.stdout.splitlines()) == sum(host.up and host.reported for host in HOSTS) + 1
    done = fleet("report", "--reports", reports, "--hosts", "hard-lockup-detector", "--format", "json")
    document = json.loads(done.stdout)
    validate("fleet-hosts-1", document)
    assert {host["product"] for host in document["hosts"]} == {"Mt. Collins"}


def test_what_changed(reports: Path, tmp_path: Path) -> None:
    before, after = tmp_path / "before.json", tmp_path / "after.json"
    before.write_text(fleet("report", "--reports", reports, "--format", "json").stdout)
    fewer = sorted(reports.iterdir())[10:]
    after.write_text(fleet("report", "--reports", *fewer, "--format", "json").stdout)
    done = fleet("diff", before, after, "--format", "json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    validate("fleet-diff-1", document)
    (cohort,) = document["cohorts"]
    assert (
        cohort["before"]["ready"] - cohort["after"]["ready"]
        == cohort["before"]["hosts"] - cohort["after"]["hosts"]
        > 0
    )
    assert "Nothing changed." in fleet("diff", before, before).stdout
    for bad in (reports / "nothing.json", before.with_name("cut.json")):
        if bad.name == "cut.json":
            bad.write_text(before.read_text()[:100])
        assert fleet("diff", before, bad).returncode in (2, 3)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["report"], "--prometheus"),
        (["report", "--prometheus", "localhost:9090"], "http://"),
        (["report", "--prometheus", f"http://me:{SECRET}@localhost:9090"], "--token-file"),
        (["report", "--prometheus", "http://localhost:9", "--by", "kernel,,hosts"], "different labels"),
        (["report", "--prometheus", "http://localhost:9", "--by", "a-b"], "label"),
        (["report", "--prometheus", "http://localhost:9", "--time", "yesterday"], "RFC 3339"),
        (["report", "--prometheus", "http://localhost:9", "--time", "2026-11-27T08:00:00"], "time zone"),
        (["report", "--prometheus", "http://localhost:9", "--timeout", "5"], "duration"),
        (["report", "--prometheus", "http://localhost:9", "--header", f"Cookie {SECRET}"], "NAME: VALUE"),
        (["report", "--prometheus", "http://localhost:9", "--token-file", "/nonexistent"], "does not exist"),
        (["report", "--reports", "x", "--time", "1d"], "--prometheus"),
        (["diff", "one"], "two stored reports"),
        (["diff", "--prometheus", "http://localhost:9", "--at", "1d"], "two stored reports"),
    ],
)
def test_usage_errors(arguments: list[str], words: str) -> None:
    done = fleet(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
    assert SECRET not in done.stderr


NONE: dict[str, str] = {}
Answer = Callable[[BaseHTTPRequestHandler], None]


@contextmanager
def server(answer: Answer, tls: ssl.SSLContext | None = None) -> Iterator[tuple[str, list[Any]]]:
    """Run a server on the loopback; yield its address, and the headers and fields that it gets."""
    seen: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            seen.append((dict(self.headers), parse_qs(self.rfile.read(length).decode())))
            answer(self)

        def log_message(self, *_: object) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.daemon_threads = True
    if tls:
        httpd.socket = tls.wrap_socket(httpd.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http{'s' if tls else ''}://127.0.0.1:{httpd.server_address[1]}", seen
    finally:
        httpd.shutdown()
        thread.join()
        httpd.server_close()


def reply(
    body: bytes, status: int = 200, kind: str = "application/json", headers: dict[str, str] = NONE
) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def vector(*series: dict[str, Any], **more: Any) -> bytes:
    return json.dumps(
        {"status": "success", "data": {"resultType": "vector", "result": series}, **more}
    ).encode()


def slow(begin: bytes, more: bytes) -> Answer:
    """Send more now and then: each byte would renew the timeout of a socket."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        with contextlib.suppress(OSError):
            handler.wfile.write(begin)
            for _ in range(100):
                time.sleep(0.2)
                handler.wfile.write(more)
                handler.wfile.flush()

    return answer


def echo(handler: BaseHTTPRequestHandler) -> None:
    """Repeat the token in an error."""
    text = f"bad token {handler.headers['Authorization']}\x1b[31m"
    reply(json.dumps({"status": "error", "error": text}).encode(), 400)(handler)


HEAD = b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\n"
BAD = {
    "not found": (reply(b"<html>", 404, "text/html"), "HTTP 404"),
    "no credentials": (reply(b"", 401), "--token-file"),
    "broken": (reply(b'{"status":"error","error":"out of \\u001b[31m memory"}', 500), "out of [31m memory"),
    "redirect": (reply(b"", 302, headers={"Location": "http://192.0.2.1/steal"}), "redirects to http://192.0.2.1;"),
    "web page": (reply(b"<html>", kind="text/html"), "instead of JSON"),
    "cut JSON": (reply(vector()[:-5]), "not JSON, or is cut short"),
    "deep JSON": (reply(b"[" * 100_000), "not JSON, or is cut short"),
    "other JSON": (reply(vector({"metric": 3})), "not the answer"),
    "no number": (reply(vector({"metric": {}, "value": [0, "NaN"]})), "not the answer"),
    "a list": (reply(b"[]"), "not the answer"),
    "short body": (reply(vector(), headers={"Content-Length": "99999"}), "broke off"),
    "refused query": (reply(b'{"status":"error","error":"parse error"}'), "parse error"),
    "replicas": (reply(b'{"error":"found duplicate series for the match group"}', 422), "--match"),
    "too much": (reply(vector() + b" " * (41 << 20)), "more than 40 MiB"),
    "slow": (slow(HEAD % 200 + b"Content-Length: 1000\r\n\r\n", b" "), "within 1 s"),
    "slow without a length": (slow(HEAD % 200 + b"\r\n", b" "), "within 1 s"),
    "slow header": (slow(HEAD % 200 + b"X: ", b"x"), "within 1 s"),
    "slow error": (slow(HEAD % 500 + b"Content-Length: 1000\r\n\r\n", b" "), "within 1 s"),
    "no answer but a promise": (slow(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), "within 1 s"),
    "many lists": (reply(b'{"data": [' + b"[]," * 600_000 + b"[]]}"), "objects and arrays"),
    "half a surrogate": (reply(vector({"metric": {"instance": "\ud800"}, "value": [0, "1"]})), "not Unicode"),
    "echo": (echo, "bad token ***"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_servers(name: str, tmp_path: Path) -> None:
    """sdeictl says one sentence, ends with status 3, asks no more, and keeps the token secret."""
    answer, words = BAD[name]
    (tmp_path / "token").write_text(f"{SECRET}\n")
    with server(answer) as (url, seen):
        limit = "1s" if "within 1 s" in words else "60s"
        done = fleet("report", "--prometheus", url, "--token-file", tmp_path / "token", "--timeout", limit)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.count("\n") == 1
    assert words in done.stderr
    assert SECRET not in done.stderr
    assert "\x1b" not in done.stderr
    assert all(headers["Authorization"] == f"Bearer {SECRET}" for headers, _fields in seen)
    assert 1 <= len(seen) <= 5  # four threads, and who waits for them


def test_special_files_of_a_fleet(tmp_path: Path) -> None:
    """Who may add a file to a directory may add a device, and to open one already does something."""
    for name in ("a.json", "b.json", "c.json"):
        os.mkfifo(tmp_path / name)
    (tmp_path / "d.json").symlink_to("/dev/null")
    (tmp_path / "e.json").symlink_to("nowhere")
    done = fleet("report", "--reports", tmp_path, "--format", "json")
    assert done.returncode == 3
    assert (
        sum("neither a regular file nor a directory" in gap for gap in json.loads(done.stdout)["gaps"]) == 5
    )


def test_server_that_is_down() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        done = fleet("report", "--prometheus", f"http://127.0.0.1:{taken.getsockname()[1]}")
    assert done.returncode == 3
    assert "cannot be reached: Connection refused" in done.stderr


def test_empty_server_knows_no_host() -> None:
    with server(reply(vector())) as (url, seen):
        done = fleet("report", "--prometheus", url, "--time", "2026-11-27T08:00:00Z", "--match", '{job="x"}')
    assert done.returncode == 3
    assert done.stdout.startswith("No host found.")
    assert {fields["time"][0] for _headers, fields in seen} == {"1795766400.000"}
    assert all('job="x"' in fields["query"][0] for _headers, fields in seen)


def test_warnings_are_gaps() -> None:
    body = vector({"metric": {}, "value": [0, "0"]}, warnings=["store 3 is gone"], isPartial=True)
    with server(reply(body)) as (url, _seen):
        done = fleet("report", "--prometheus", url, "--format", "json")
    assert {"store 3 is gone", "the server says that its answer is partial"} <= set(
        json.loads(done.stdout)["gaps"]
    )
    assert done.returncode == 3


def test_checks_are_never_fetched_raw() -> None:
    """Each query counts; only names of hosts are asked for one by one."""
    with server(reply(vector())) as (url, seen):
        fleet("report", "--prometheus", url)
    for _headers, fields in seen:
        assert fields["query"][0].startswith(("count", "min", "job_check:"))


def test_plan_of_an_empty_server() -> None:
    with server(reply(vector())) as (url, _seen):
        for form in ("text", "ansible"):
            done = fleet("plan", "--prometheus", url, "--format", form)
            # A selector that matches nothing is no finished fleet.
            assert (done.returncode, done.stdout) == (3, "")
            assert "no host found: no target matches" in done.stderr


def test_no_plan_from_a_part_of_the_data() -> None:
    with server(reply(vector(isPartial=True))) as (url, _seen):
        done = fleet("plan", "--prometheus", url)
    assert (done.returncode, done.stdout) == (3, "")
    assert "no plan is made from a part of the data" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "name a server with --prometheus URL"),
        (("--prometheus", "http://x", "--drill", "stop"), "add --allow reset"),
        (("--prometheus", "http://x", "--max-unavailable", "0"), "neither a number of hosts"),
        (("--prometheus", "http://x", "--domain", "a b"), "'a b' is not the name of a label"),
    ],
)
def test_plans_that_are_refused(arguments: tuple[str, ...], said: str) -> None:
    done = fleet("plan", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr


INFO = {"instance": "h1:9", "job": "sdeictl", "kernel": "7.3.4", "rack": "r1"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("report", "--by", "kernel,rak"), "no report has the label rak; did you mean rack?"),
        (("report", "--by", "site", "--hosts"), "no report has the label site; the labels are kernel, rack"),
        (("plan", "--by", "rak"), "no report has the label rak; did you mean rack?"),
        (("plan", "--domain", "rak"), "no host has the label rak; did you mean rack?"),
    ],
)
def test_label_that_nobody_has(arguments: tuple[str, ...], said: str) -> None:
    """A misspelt label would put the whole fleet into one cohort, or into one failure domain."""
    with server(reply(vector({"metric": INFO, "value": [0, "1"]}))) as (url, _seen):
        done = fleet(*arguments, "--prometheus", url)
        good = fleet("report", "--by", "rack", "--prometheus", url)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert "has the label" not in good.stderr


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with a certificate, `cert`, and its `key`; both sides use it."""
    directory = tmp_path_factory.mktemp("tls")
    subprocess.run(
        [
            tool("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", directory / "key",
            "-out", directory / "cert", "-days", "2", "-subj", "/CN=lab",
            "-addext", "subjectAltName=IP:127.0.0.1",
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    return directory


def test_certificates_of_both_sides(certificate: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert", certificate / "key")
    context.load_verify_locations(certificate / "cert")
    context.verify_mode = ssl.CERT_REQUIRED
    trust = ("--ca-file", certificate / "cert")
    ours = ("--client-cert", certificate / "cert", "--client-key", certificate / "key")
    with server(reply(vector()), context) as (url, _seen):
        good = fleet("report", "--prometheus", url, *trust, *ours)
        distrusted = fleet("report", "--prometheus", url, *ours)
        unknown = fleet("report", "--prometheus", url, *trust)
    assert good.stdout.startswith("No host found."), good.stderr
    assert "certificate verify failed" in distrusted.stderr
    assert (distrusted.returncode, unknown.returncode, unknown.stdout) == (3, 3, "")
    done = fleet("report", "--prometheus", url, "--ca-file", certificate / "key")
    assert (done.returncode, "cannot be used" in done.stderr) == (2, True)
