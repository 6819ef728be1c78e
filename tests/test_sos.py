"""A report of sos gives the verdict of the host, or an unknown one with the gaps named; never another."""

from __future__ import annotations

import re
import shutil
import tarfile
from pathlib import Path

import pytest

from sdeictl.host.open import open_root
from sdeictl.probe.collect import collect
from sdeictl.probe.document import ReportDocument
from sdeictl.probe.report import build_report
from tests.conftest import HOST_NAMES, TESTS, load_host
from tests.test_cli import sdeictl

COPIED = (
    "proc/cmdline",
    "proc/cpuinfo",
    "proc/interrupts",
    "proc/kallsyms",
    "sys/firmware/acpi",
    "sys/module",
)
"""The files that the probe reads and that sos 4.9 copies (plugins kernel, hardware, processor, boot)."""
HOSTS = TESTS / "hosts"
COPIED_OF_HOST = ("architecture", "kernel", "cpus_online", "core", "exception_level", "vhe", "gic")
"""What of a host the fixed list of plugins copies."""
RECORD = re.compile(r"(\d+),\d+,(\d+),[^;]*;(.*)")


def as_dmesg(kmsg: str) -> str:
    lines = (RECORD.match(line) for line in kmsg.splitlines())
    return "".join(
        f"[{int(match[2]) / 1e6:12.6f}] {match[3]}\n" for match in lines if match and int(match[1]) < 8
    )


def write_report(directory: Path, name: str) -> Path:
    """Write a report of sos about a captured host, and return its directory."""
    host = load_host(name).root
    report = directory / "sosreport-node7-2026-11-26-abcdefg"
    for path in COPIED:
        if (host / path).is_dir():
            shutil.copytree(host / path, report / path, symlinks=True)
        elif (host / path).exists():
            (report / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(host / path, report / path)
    kernel = report / "sos_commands/kernel"
    kernel.mkdir(parents=True)
    (kernel / "dmesg").write_text(as_dmesg((host / "kmsg.txt").read_text()))
    release = (host / "proc/version").read_text().split()[2]
    (kernel / "uname_-a").write_text(f"Linux node 7.1 a {release} #1 SMP Thu Jan 1 2026 aarch64 GNU/Linux\n")
    settings = report / "proc/sys/kernel"
    settings.mkdir(parents=True, exist_ok=True)
    (settings / "panic").write_text("0\n")
    (report / "var/log").mkdir(parents=True)
    (report / "var/log/messages").write_text("x" * 100_000)
    return report


def judge(path: Path) -> ReportDocument:
    return build_report(collect(open_root(str(path))))


@pytest.mark.parametrize("name", HOST_NAMES)
def test_same_verdict_or_unknown(tmp_path: Path, name: str) -> None:
    host, found = judge(load_host(name).root), judge(write_report(tmp_path, name))
    path = found["verdict"]["nmi_path"]
    assert path in (host["verdict"]["nmi_path"], "unknown")
    assert path != "unknown" or found["gaps"]
    assert found["host"]["kernel"] == host["host"]["kernel"]
    outcomes = {finding["id"]: finding["outcome"] for finding in host["findings"]}
    for finding in found["findings"]:
        known, now = outcomes[finding["id"]], finding["outcome"]
        # Without the device tree it is unknown which questions do not apply.
        assert now in (known, "unknown", "not-applicable") or (known, now) == ("not-applicable", "pass"), (
            finding
        )


REPORTED = [name for name in HOST_NAMES if (HOSTS / name / "sos").is_dir()]


@pytest.mark.parametrize("name", REPORTED)
def test_report_that_sos_made(name: str) -> None:
    """sos of Debian 13 ran on these hosts: what it copied gives their verdict."""
    host, found = judge(load_host(name).root), judge(HOSTS / name / "sos")
    for part in ("nmi_path", "ready", "summary", "hazards", "missing"):
        assert dict(found["verdict"])[part] == dict(host["verdict"])[part]
    assert {key: dict(found["host"])[key] for key in COPIED_OF_HOST} == {
        key: dict(host["host"])[key] for key in COPIED_OF_HOST
    }
    outcomes = {finding["id"]: finding["outcome"] for finding in host["findings"]}
    for finding in found["findings"]:
        # Without the device tree it is unknown which questions do not apply.
        assert outcomes[finding["id"]] == "not-applicable" or finding["outcome"] in (
            outcomes[finding["id"]],
            "unknown",
            "not-applicable",
        ), finding


def test_sos_ran_on_both_kinds_of_host() -> None:
    assert REPORTED == ["acpi-sdei", "dt-sdei"]


def test_missing_file_is_a_gap(tmp_path: Path) -> None:
    """sos copies single sysctls: one that is missing does not show that the kernel lacks it."""
    found = judge(write_report(tmp_path, "acpi-sdei"))
    outcomes = {finding["id"]: finding["outcome"] for finding in found["findings"]}
    assert outcomes["hard-lockup-detector"] == "unknown"
    assert "/proc/sys/kernel" in {gap["source"] for gap in found["gaps"]}
    assert {gap["detail"] for gap in found["gaps"]} >= {"sos did not copy it"}


SETTINGS = """\
fs.file-max = 1000
kernel.hung_task_timeout_secs = 120
kernel.nmi_watchdog = 1
kernel.random.boot_id = 0
net.core.bpf_jit_enable = 0
vm.swappiness = 60
"""


def test_settings_as_sysctl_lists_them(tmp_path: Path) -> None:
    """A list that ends early does not show that the kernel lacks a setting."""
    report = write_report(tmp_path, "dt-sdei")
    listing = report / "sos_commands/kernel/sysctl_-a"
    cut = SETTINGS.replace("vm.", "kernel.")
    for text, hard, soft in ((SETTINGS, "pass", "fail"), (cut, "unknown", "unknown")):
        listing.write_text(text)
        outcomes = {finding["id"]: finding["outcome"] for finding in judge(report)["findings"]}
        assert outcomes["hard-lockup-detector"] == hard
        assert outcomes["soft-lockup-detector"] == soft


def test_table_that_could_not_be_copied(tmp_path: Path) -> None:
    report = write_report(tmp_path, "acpi-sdei")
    (report / "sys/firmware/acpi/tables/SDEI").unlink()
    listing = report / "sos_commands/boot/ls_-alZR_.sys.firmware"
    listing.parent.mkdir()
    listing.write_text(
        "/sys/firmware:\ntotal 0\ndrwxr-xr-x. 4 root root ? 0 Jan  1 2026 acpi\n\n"
        "/sys/firmware/acpi/tables:\ntotal 0\ndr-xr-xr-x. 2 root root ? 0 Jan  1 2026 data\n"
        "-r--------. 1 root root ? 36 Jan  1 2026 SDEI\n\n/sys/firmware/efi:\n"
    )
    found = judge(report)
    assert found["verdict"]["nmi_path"] == judge(load_host("acpi-sdei").root)["verdict"]["nmi_path"]
    outcomes = {finding["id"]: finding["outcome"] for finding in found["findings"]}
    assert outcomes["sdei-advertised"] == "pass"


@pytest.mark.parametrize("mode", ["w:gz", "w:xz", "w"])
def test_archive_of_a_report(tmp_path: Path, mode: str) -> None:
    report = write_report(tmp_path, "acpi-sdei")
    archive = tmp_path / "sosreport.tar"
    with tarfile.open(archive, mode) as tar:  # type: ignore[call-overload] # mypy knows no variable mode
        tar.add(report, report.name)
    from_archive, from_directory = judge(archive), judge(report)
    for part in ("host", "verdict", "findings"):
        assert dict(from_archive)[part] == dict(from_directory)[part]
    done = sdeictl("analyze", str(archive))
    assert (done.returncode, done.stderr) == (0, b"")


def test_analyze_reads_the_log_of_a_directory(tmp_path: Path) -> None:
    report = write_report(tmp_path, "dt-sdei")
    log = report / "sos_commands/kernel/dmesg"
    with log.open("a") as file:
        file.write("[99999.000000] Kernel panic - not syncing: at the end\n")
    done = sdeictl("analyze", str(report))
    assert done.returncode == 0
    assert b"at the end" in done.stdout
    log.unlink()
    done = sdeictl("analyze", str(report))
    assert (done.returncode, done.stdout) == (3, b"")
    assert b"a directory without kmsg.txt" in done.stderr


def test_report_without_a_log(tmp_path: Path) -> None:
    report = write_report(tmp_path, "dt-sdei")
    (report / "sos_commands/kernel/dmesg").write_text("")
    found = judge(report)
    assert found["verdict"]["ready"] is None
    assert "/dev/kmsg" in {gap["source"] for gap in found["gaps"]}
