"""The collector: what the boot's log has shown stays known after the kernel has overwritten it."""

import json
import os
from pathlib import Path

import pytest
from sdeictl_agent.collector import boot_log, collect_report, join_logs

from sdeictl.host.root import DirectoryRoot
from sdeictl.probe.collect import collect
from sdeictl.probe.report import build_report
from tests.conftest import load_host
from tests.test_agent_counters import records_of, talk


class Host(DirectoryRoot):
    """A stored host whose kernel log is given."""

    live = True
    log: bytes | None = None

    def read(self, path: str) -> bytes:
        if path == "/dev/kmsg":
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
    path: str = json.loads((directory / "report.json").read_text())["verdict"]["nmi_path"]
    return path


def test_the_path_stays_known_when_the_log_has_wrapped(host: Host, tmp_path: Path) -> None:
    host.log = b"".join(BOOT)
    collect_report(host, str(tmp_path))
    assert path_in(tmp_path) == "sdei"
    host.log = b"".join(LATER[100:])
    assert build_report(collect(host, host.log))["verdict"]["nmi_path"] == "unknown"
    collect_report(host, str(tmp_path))
    assert path_in(tmp_path) == "sdei"
    assert (tmp_path / "boot.kmsg").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "report.json").stat().st_mode & 0o777 == 0o644


def test_without_a_saved_start_nothing_is_claimed(host: Host, tmp_path: Path) -> None:
    host.log = b"".join(LATER)
    collect_report(host, str(tmp_path))
    assert path_in(tmp_path) == "unknown"
    assert not (tmp_path / "boot.kmsg").exists()


def test_what_another_user_says_of_the_boot_is_nothing(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "boot.kmsg").write_bytes(b"".join(BOOT))
    host.log = b"".join(LATER[100:])
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    collect_report(host, str(tmp_path))
    assert path_in(tmp_path) == "unknown"


@pytest.mark.parametrize("kind", ["link", "hard link", "pipe", "directory"])
def test_what_others_may_put_there_is_no_saved_boot(kind: str, host: Host, tmp_path: Path) -> None:
    (tmp_path / "old.kmsg").write_bytes(b"".join(BOOT))
    match kind:
        case "link":
            (tmp_path / "boot.kmsg").symlink_to("old.kmsg")
        case "hard link":
            (tmp_path / "boot.kmsg").hardlink_to(tmp_path / "old.kmsg")
        case "pipe":
            os.mkfifo(tmp_path / "boot.kmsg")
        case "directory":
            (tmp_path / "boot.kmsg").mkdir()
    host.log = b"".join(LATER)
    collect_report(host, str(tmp_path))
    assert path_in(tmp_path) == "unknown"


def test_a_log_that_may_not_be_read_is_a_gap(host: Host, tmp_path: Path) -> None:
    assert boot_log(host, str(tmp_path / "boot.kmsg")) is None


@pytest.mark.parametrize("cut", [0, 1, 50, len(BOOT), len(BOOT) + 50])
def test_each_record_stands_once(cut: int) -> None:
    every = BOOT + LATER
    assert join_logs(b"".join(every[:200]), b"".join(every[cut:])) == b"".join(
        every[: min(cut, 200)] + every[cut:]
    )
    assert join_logs(b"".join(every[:200]), b"") == b"".join(every[:200])
