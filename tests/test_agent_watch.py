"""The watcher writes at the right time, and a restart, a kill or a damaged file changes no count."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import example, given
from hypothesis import strategies as st
from sdeictl_agent import watcher as watcher_module
from sdeictl_agent.notify import notify, watchdog_seconds
from sdeictl_agent.watch_file import (
    Counters,
    Events,
    Progress,
    State,
    WatchDocument,
    decode_state,
    encode_state,
)
from sdeictl_agent.watcher import FRESH_SECONDS, REQUEST_SECONDS, WRITE_SECONDS, Watcher, read_records

from tests.test_agent_counters import LONG, TOTAL, lockup

BOOT = "boot"


def fail(*_: object) -> None:
    raise OSError(24, "Too many open files")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def watch_file(directory: Path) -> WatchDocument:
    document: WatchDocument = json.loads((directory / "watch.json").read_text())
    return document


def test_counts_continue_after_a_restart(tmp_path: Path) -> None:
    first = Watcher(str(tmp_path), BOOT)
    first.take_records(LONG[:700])
    first.write()
    # The first one is killed with 100 records not on disk. The second one reads the log from its start.
    first.take_records(LONG[:800])
    second = Watcher(str(tmp_path), BOOT)
    second.take_records(LONG)
    second.write()
    assert second.state.progress.counters == TOTAL
    assert watch_file(tmp_path)["counters"] == TOTAL._asdict()


def test_another_boot_begins_at_zero(tmp_path: Path) -> None:
    first = Watcher(str(tmp_path), BOOT)
    first.take_records(LONG)
    first.take_event("cpu", "offline")
    first.write()
    second = Watcher(str(tmp_path), "the next boot")
    assert second.state == State("the next boot", Progress(), Events())


def test_writes_soon_but_not_often(tmp_path: Path) -> None:
    clock = Clock()
    watcher = Watcher(str(tmp_path), BOOT, clock)
    watcher.write_due()
    written = os.stat(tmp_path / "watch.json").st_ino
    watcher.take_records(lockup(0, 10.0))
    clock.now += 1
    assert watcher.write_due() <= WRITE_SECONDS
    assert os.stat(tmp_path / "watch.json").st_ino == written
    clock.now += WRITE_SECONDS
    watcher.write_due()
    assert watch_file(tmp_path)["counters"] == watcher.state.progress.counters._asdict()
    written = os.stat(tmp_path / "watch.json").st_ino
    for _second in range(int(FRESH_SECONDS) - 1):
        clock.now += 1
        watcher.write_due()
        assert os.stat(tmp_path / "watch.json").st_ino == written
    clock.now += 1
    watcher.write_due()
    assert os.stat(tmp_path / "watch.json").st_ino != written


def test_flapping_cpu_limits_probe_requests(tmp_path: Path) -> None:
    clock = Clock()
    watcher = Watcher(str(tmp_path), BOOT, clock)
    watcher.take_event("cpu", "offline")
    watcher.write_due()
    assert (tmp_path / "probe.request").exists()
    for _second in range(100):
        clock.now += 1
        watcher.take_event("cpu", "online")
        watcher.write_due()
    assert watcher.state.events == Events(100, 1, 1 + 100 // int(REQUEST_SECONDS))
    clock.now += REQUEST_SECONDS
    watcher.write_due()  # for the last event
    assert watcher.state.events.requests == 2 + 100 // int(REQUEST_SECONDS)


@pytest.mark.parametrize(
    ("subsystem", "action", "requested"),
    [
        ("platform", "bind", True),
        ("platform", "change", False),
        ("cpu", "change", False),
        (None, None, False),
    ],
)
def test_which_events_request_a_probe(
    subsystem: str | None, action: str | None, requested: bool, tmp_path: Path
) -> None:
    watcher = Watcher(str(tmp_path), BOOT, Clock())
    watcher.take_event(subsystem, action)
    watcher.write_due()
    assert (tmp_path / "probe.request").exists() is requested


STATE = State(BOOT, Progress(7, Counters(1, 2), 9, Counters(3, 4)), Events(3, 4, 5))


def test_written_state_is_read_back() -> None:
    assert decode_state(encode_state(STATE, 1.0), BOOT) == STATE


JSON_BLANKS = b" \t\r\n"
"""bytes.strip() takes more for blanks."""


@example(700, b"\x0b")
@given(st.integers(0, 700), st.binary(max_size=3))
def test_damaged_file_is_a_beginning(cut: int, junk: bytes) -> None:
    data = encode_state(STATE, 1.0)
    found = decode_state(data[:cut] + junk, BOOT)
    assert found == (
        STATE if cut >= len(data) - 1 and not junk.strip(JSON_BLANKS) else State(BOOT, Progress(), Events())
    )


@pytest.mark.parametrize("value", [-1, True, 1.5, 1 << 64, "7", None, []])
def test_wrong_count_is_damage(value: object) -> None:
    document = json.loads(encode_state(STATE, 1.0))
    document["open_from"]["sequence"] = value
    assert decode_state(json.dumps(document).encode(), BOOT).progress == Progress()


def test_records_are_read_to_end() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        ours.setblocking(False)
        for record in LONG[:5]:
            theirs.send(record)
        assert read_records(ours.fileno(), most=3) == LONG[:3]
        assert read_records(ours.fileno()) == LONG[3:5]
        assert read_records(ours.fileno()) == []


def test_systemd_is_notified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as service_manager:
        service_manager.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        notify("READY=1", "STATUS=watching")
        assert service_manager.recv(100) == b"READY=1\nSTATUS=watching"
    notify("WATCHDOG=1")  # systemd does not listen any more
    monkeypatch.setattr(socket, "socket", fail)
    notify("WATCHDOG=1")  # no descriptor is left
    monkeypatch.setenv("NOTIFY_SOCKET", "")
    notify("READY=1")


@pytest.mark.parametrize(
    ("limit", "pid", "seconds"),
    [("20000000", "", 10.0), ("0", "", None), ("20000000", "other", None), ("", "", None), ("x", "", None)],
)
def test_watchdog_gets_half_the_limit(
    limit: str, pid: str, seconds: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", limit)
    monkeypatch.setenv("WATCHDOG_PID", pid)
    assert watchdog_seconds() == seconds
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    assert watchdog_seconds() == (10.0 if limit == "20000000" else None)


def test_end_requests_the_probe_that_waits(tmp_path: Path) -> None:
    clock = Clock()
    watcher = Watcher(str(tmp_path), BOOT, clock)
    watcher.take_event("cpu", "online")
    watcher.write_due()
    (tmp_path / "probe.request").unlink()
    watcher.take_event("cpu", "online")
    watcher.write_due()
    assert not (tmp_path / "probe.request").exists()  # too early
    watcher.finish()
    assert (tmp_path / "probe.request").exists()
    assert watch_file(tmp_path)["events"] == {"cpu_online": 2, "cpu_offline": 0, "requests": 2}


@pytest.mark.parametrize("error", [OSError(28, "No space left", "/a"), ImportError("No library named udev")])
def test_failed_start_is_one_sentence(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fails() -> None:
        raise error

    monkeypatch.setattr(watcher_module, "_watch", fails)
    done = CliRunner().invoke(watcher_module.main, [])
    assert done.exit_code == 3
    assert done.output.startswith("sdeictl-agent-watch: ")
    assert done.output.count("\n") == 1
