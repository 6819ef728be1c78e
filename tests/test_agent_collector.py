"""The collector: the NMI path stays known after the kernel has overwritten the start of its log."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from sdeictl_agent.collector import (
    SAVED_LOG,
    join_logs,
    log_from_boot,
    write_postmortem,
    write_report,
)
from sdeictl_agent.documents import parse_postmortem

from sdeictl.host.directory import DirectoryRoot
from sdeictl.host.paths import KMSG, POSTMORTEM_FILE, REPORT_FILE
from sdeictl.probe.collect import collect
from sdeictl.probe.report import build_report
from tests.conftest import TESTS, load_host
from tests.test_agent_counters import records_of, talk
from tests.test_postmortem import FakeJournal


class Host(DirectoryRoot):
    """A stored host with a kernel log that the test sets; None may not be read."""

    live = True
    log: bytes | None = None

    def read(self, path: str) -> bytes:
        if path == KMSG:
            if self.log is None:
                raise PermissionError(1, "not permitted", path)
            return self.log
        return super().read(path)


@pytest.fixture
def host() -> Host:
    return Host(str(load_host("dt-sdei").root))


BOOT = records_of("dt-sdei")
LATER = talk(len(BOOT), 500.0, 300)


def path_in(directory: Path) -> str:
    path: str = json.loads((directory / REPORT_FILE).read_text())["verdict"]["nmi_path"]
    return path


def test_path_survives_a_wrapped_log(host: Host, tmp_path: Path) -> None:
    host.log = b"".join(BOOT)
    write_report(host, str(tmp_path))
    assert path_in(tmp_path) == "sdei"
    host.log = b"".join(LATER[100:])
    assert build_report(collect(host, host.log))["verdict"]["nmi_path"] == "unknown"
    write_report(host, str(tmp_path))
    assert path_in(tmp_path) == "sdei"
    assert (tmp_path / SAVED_LOG).stat().st_mode & 0o777 == 0o600
    assert (tmp_path / REPORT_FILE).stat().st_mode & 0o777 == 0o644


def test_path_unknown_without_saved_start(host: Host, tmp_path: Path) -> None:
    host.log = b"".join(LATER)
    write_report(host, str(tmp_path))
    assert path_in(tmp_path) == "unknown"
    assert not (tmp_path / SAVED_LOG).exists()


def test_file_of_another_user_ignored(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / SAVED_LOG).write_bytes(b"".join(BOOT))
    host.log = b"".join(LATER[100:])
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    write_report(host, str(tmp_path))
    assert path_in(tmp_path) == "unknown"


@pytest.mark.parametrize("kind", ["link", "hard link", "FIFO", "directory"])
def test_other_kinds_of_file_ignored(kind: str, host: Host, tmp_path: Path) -> None:
    old, saved = tmp_path / "old.kmsg", tmp_path / SAVED_LOG
    old.write_bytes(b"".join(BOOT))
    if kind == "link":
        saved.symlink_to(old)
    elif kind == "hard link":
        os.link(old, saved)
    elif kind == "FIFO":
        os.mkfifo(saved)
    else:
        saved.mkdir()
    host.log = b"".join(LATER)
    write_report(host, str(tmp_path))
    assert path_in(tmp_path) == "unknown"


def test_unreadable_log_left_to_probe(host: Host, tmp_path: Path) -> None:
    assert log_from_boot(host, str(tmp_path / SAVED_LOG)) is None


@pytest.mark.parametrize("cut", [0, 1, 50, len(BOOT), len(BOOT) + 50])
def test_joined_log_repeats_no_record(cut: int) -> None:
    every = BOOT + LATER
    assert join_logs(b"".join(every[:200]), b"".join(every[cut:])) == b"".join(
        every[: min(cut, 200)] + every[cut:]
    )
    assert join_logs(b"".join(every[:200]), b"") == b"".join(every[:200])


def test_crash_of_an_earlier_boot(tmp_path: Path) -> None:
    """The culprit of the crash was not reached; what everybody may read names no file and no boot."""
    console = tmp_path / "tree/sys/fs/pstore/console-ramoops-0"
    console.parent.mkdir(parents=True)
    console.write_bytes((TESTS / "hosts/dt-none/console.log").read_bytes())
    write_postmortem(Host(str(tmp_path / "tree")), FakeJournal(), str(tmp_path))
    path = tmp_path / POSTMORTEM_FILE
    found = parse_postmortem(path.read_bytes())
    assert (found.reached, found.in_dump, found.ends["panic"]) == (False, None, 1)
    assert "console-ramoops" not in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o644
