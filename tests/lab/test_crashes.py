"""Boots of a Debian with kdump-tools end in each way; `sdeictl postmortem` tells what happened to each."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests.conftest import validate
from tests.lab.build import EXTRA, Lab
from tests.lab.machines import MACHINES
from tests.lab.prometheus import running_prometheus, wait_until
from tests.lab.stories import crash_boots

Json = dict[str, Any]
# The reset is the last one: each boot replaces the console of the one before it in /var/lib/systemd/pstore.
# The cut is between the crashes: kdump-tools replaces the dump of another crash in the same minute.
ENDS = ("lockup", "cut", "panic", "clean", "reset") if EXTRA else ("lockup",)
HOSTS = ("dt-sdei", "dt-none") if EXTRA else ("dt-sdei",)
WORDS = {"lockup": "hard-lockup", "panic": "panic", "reset": "reset", "cut": "reset", "clean": "clean"}
DUMPED = ("lockup", "panic")
BOOTS = 3
"""So many earlier boots the collector reads in the journal."""
LAYOUTS = {
    "ubuntu": ("{stamp}", "dump.{stamp}", "dmesg.{stamp}"),
    "rhel": ("127.0.0.1-{date}-{time}:00", "vmcore", "vmcore-dmesg.txt"),
    "suse": ("{date}-{time}", "vmcore", "dmesg.txt"),
}
"""The directory of a crash, its dump and its log; kdump-tools writes stamps as 202611271430."""


@pytest.mark.parametrize("host", HOSTS)
def test_each_end(lab: Lab, tmp_path: Path, host: str) -> None:
    share = crash_boots(MACHINES[host], ENDS, lab=lab, directory=tmp_path).share
    told: Any = json.loads((share / "crashes.json").read_text())
    found: Json = json.loads((share / "postmortem.json").read_text())
    text = (share / "postmortem.txt").read_text()
    validate("postmortem-1", found)
    reached = host == "dt-sdei"
    assert [boot["boot_id"] for boot in found["boots"][:-1]] == [each["boot_id"] for each in told], text
    assert found["boots"][-1]["end"] == "running"
    for each, boot in zip(told, found["boots"]):
        check_boot(each, boot, text, reached=reached)
    assert found["verdict"]["evidence_lost"] is (None if reached and EXTRA else not reached)
    check_metrics(lab, tmp_path / "prometheus", (share / "sdeictl.prom").read_bytes(), told, reached=reached)
    check_layouts(tmp_path, {boot["boot_id"]: boot for boot in found["boots"][:-1]})


def check_boot(told: Json, boot: Json, text: str, *, reached: bool) -> None:
    """Compare an account with what the guest did."""
    assert boot["end"] == WORDS[told["end"]], text
    assert boot["dump"]["state"] == ("complete" if told["end"] in DUMPED else "none"), text
    assert boot["drill"] is None
    culprits = [cpu for cpu in boot["stuck"] if cpu["cpu"] == told["wedged"]]
    assert bool(culprits) == (told["wedged"] is not None), text
    for cpu in culprits:
        assert (cpu["answered"], cpu["path"]) == (reached, "sdei" if reached else "none"), text
        if told["end"] == "lockup":
            assert (cpu["stack"], cpu["registers_in_dump"]) == (reached, reached), text
            assert bool(boot["missing"]) != reached


def check_metrics(lab: Lab, directory: Path, metrics: bytes, told: list[Json], *, reached: bool) -> None:
    """Compare the answers of a Prometheus that scrapes these metrics with what the guest did."""
    # The journal is read for the last boots only; a dump tells of an earlier one too.
    examined = [each for each in told[:-BOOTS] if each["end"] in DUMPED] + told[-BOOTS:]
    last = [each for each in examined if each["end"] != "clean"][-1]
    with serving_text(metrics) as port, running_prometheus(lab, directory, port) as server:
        wait_until("a scrape", lambda: server.value("up") == 1)
        counts = {labels["end"]: count for labels, count in server.query("sdeictl_earlier_boots")}
        for end in set(WORDS.values()):
            assert counts[end] == sum(WORDS[each["end"]] == end for each in examined), counts
        assert 0 < (server.value("sdeictl_last_crash_timestamp_seconds") or 0) < time.time() + 3600
        expected = float(reached) if last["wedged"] is not None else None
        assert server.value("sdeictl_last_crash_culprit_reached") == expected
        dumped = expected if last["end"] in DUMPED else None
        assert server.value("sdeictl_last_crash_culprit_in_dump") == dumped
        assert server.value("sdeictl_incomplete_dumps") == 0


@contextmanager
def serving_text(text: bytes) -> Iterator[int]:
    """Serve a text on a port of the loopback, as an exporter does."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def check_layouts(directory: Path, seen: Mapping[str, Json]) -> None:
    """Lay out what the guest's disk has as other distributions do: the accounts stay the same."""
    disk = directory / "disk"
    for name in ("var/log/journal", "var/crash"):
        (disk / name).parent.mkdir(parents=True, exist_ok=True)
        copy = f"rdump /{name} {(disk / name).parent}"
        subprocess.run(["debugfs", "-R", copy, directory / "root.ext4"], check=True, capture_output=True)
    crashes = disk / "var/crash"
    stamps = sorted(path.name for path in crashes.iterdir() if path.is_dir())
    assert len(stamps) == sum(boot["dump"]["state"] == "complete" for boot in seen.values())
    before: tuple[Path, ...] = ()
    for names in LAYOUTS.values():
        before = tuple(lay_out(crashes, stamps, names, before))
        command = [sys.executable, "-m", "sdeictl", "postmortem", "--root", str(disk), "--boots", "10"]
        done = subprocess.run(
            [*command, "--format", "json"], capture_output=True, text=True, timeout=300, check=False
        )
        found = {boot["boot_id"]: boot for boot in json.loads(done.stdout)["boots"]}
        for boot_id, boot in seen.items():
            # What only pstore had is not here.
            same = ("end", "panic", "missing", *(("stuck", "stop") if boot["dump"]["path"] else ()))
            assert {name: found[boot_id][name] for name in same} == {name: boot[name] for name in same}


def lay_out(
    crashes: Path, stamps: list[str], names: tuple[str, str, str], before: tuple[Path, ...]
) -> Iterator[Path]:
    """Move the dumps to where a distribution leaves them; yield where they are now."""
    for place, stamp in enumerate(stamps):
        parts = {"stamp": stamp, "date": f"{stamp[:4]}-{stamp[4:6]}-{stamp[6:8]}"}
        parts["time"] = f"{stamp[8:10]}:{stamp[10:12]}"
        directory, dump, _log = (name.format(**parts) for name in names)
        old = before[place] if before else next((crashes / stamp).glob("vmcore.*"))
        (crashes / directory).mkdir(exist_ok=True)
        yield old.rename(crashes / directory / dump)
