"""The verdict on real captured hosts, and on the same hosts without some of their sources."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from sdeictl.host.directory import DirectoryRoot
from sdeictl.host.open import open_root
from sdeictl.probe.collect import collect
from sdeictl.probe.document import ReportDocument
from sdeictl.probe.facts import HostFacts
from sdeictl.probe.report import build_report
from sdeictl.probe.text import render_report
from sdeictl.probe.verdict import NOTHING_KNOWN, decide
from sdeictl.text import to_plain
from tests.conftest import NMI_PATHS, CapturedHost, Golden, load_host, validate
from tests.test_parsers import sdei_table

READY = {"sdei": True, "pseudo-nmi": True, "none": False}


def report_of(root: Path, log: bytes | None = None) -> ReportDocument:
    report = build_report(collect(open_root(str(root)), log))
    validate("report-1", report)
    return report


def outcomes(report: ReportDocument) -> dict[str, str]:
    return {finding["id"]: finding["outcome"] for finding in report["findings"]}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a copy of the tree of dt-sdei that a test may change."""
    shutil.copytree(load_host("dt-sdei").root, tmp_path / "tree", symlinks=True)
    (tmp_path / "tree" / "sdeictl-capture.json").unlink()
    (tmp_path / "tree/sys/bus/platform/drivers/sdei").mkdir(parents=True)
    (tmp_path / "tree/sys/firmware/devicetree/base/compatible").write_bytes(b"linux,dummy-virt\0")
    return tmp_path / "tree"


def test_captured_hosts(host: CapturedHost, golden: Golden) -> None:
    report = report_of(host.root)
    path = NMI_PATHS[host.name]
    assert (report["verdict"]["nmi_path"], report["verdict"]["ready"]) == (path, READY[path])
    assert bool(report["verdict"]["missing"]) is (path == "none")
    assert report["gaps"] == []
    golden.check(f"{host.name}.report.json", {**report, "generated_at": "", "tool": {}})
    golden.check(f"{host.name}.report.txt", to_plain(render_report(report)))


def test_console_log_replaces_kmsg(host: CapturedHost) -> None:
    verdict = report_of(host.root, host.console)["verdict"]
    assert verdict["nmi_path"] == NMI_PATHS[host.name]
    # An unanswered request is a hazard only if the host should have answered it.
    assert not any("did not answer" in hazard for hazard in verdict["hazards"])


def test_unanswered_request_is_a_hazard(tree: Path) -> None:
    log = (tree / "kmsg.txt").read_bytes()
    last = int(log.splitlines()[-1].split(b",")[1])
    log += b"6,%d,900000000,-;Sending NMI from CPU 0 to CPUs 2:\n" % (last + 1)
    log += b"4,%d,910000000,-;After 10 seconds, these CPUS still haven't responded to the NMI: 2\n" % (
        last + 2
    )
    verdict = report_of(tree, log)["verdict"]
    assert verdict["ready"] is True
    assert verdict["hazards"] == ["the log of this boot has a backtrace request that CPU 2 did not answer"]


def test_tree_without_manifest_is_enough(tree: Path) -> None:
    assert report_of(tree)["verdict"]["nmi_path"] == "sdei"


def test_without_a_log_sdei_is_unknown(tree: Path) -> None:
    (tree / "kmsg.txt").unlink()
    report = report_of(tree)
    assert (report["verdict"]["nmi_path"], report["verdict"]["ready"]) == ("unknown", None)
    assert [(gap["source"], gap["kind"]) for gap in report["gaps"]] == [("/dev/kmsg", "absent")]
    assert outcomes(report)["sdei-nmi-built"] == "pass"
    assert outcomes(report)["sdei-nmi-registered"] == "unknown"


@pytest.mark.parametrize("log", [b"", b"garbage\n", b"[  512.000000] usb 1-1: new device\n"])
def test_useless_log_is_a_gap(tree: Path, log: bytes) -> None:
    report = report_of(tree, log)
    assert report["verdict"]["nmi_path"] == "unknown"
    assert [(gap["source"], gap["kind"]) for gap in report["gaps"]] == [("/dev/kmsg", "broken")]


def test_log_with_hole_proves_no_absence() -> None:
    root = load_host("dt-none").root
    lines = (root / "kmsg.txt").read_bytes().splitlines(keepends=True)
    report = report_of(root, b"".join(lines[:60] + lines[62:]))
    # The hotplug states and the command line are witnesses too.
    assert report["verdict"]["nmi_path"] == "none"
    assert any("are missing" in gap["detail"] for gap in report["gaps"])


def test_other_witnesses_without_a_log() -> None:
    assert report_of(load_host("dt-none").root, b"")["verdict"]["nmi_path"] == "none"
    # The command line of dt-pnmi turns pseudo-NMI on; only the log proves that the kernel enabled it.
    assert report_of(load_host("dt-pnmi").root, b"")["verdict"]["nmi_path"] == "unknown"


def test_nothing_but_kallsyms(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    shutil.copy(load_host("stock-debian").root / "proc/kallsyms", tmp_path / "proc")
    report = report_of(tmp_path)
    assert report["verdict"]["nmi_path"] == "unknown"
    assert outcomes(report)["sdei-nmi-registered"] == "fail"
    assert outcomes(report)["sdei-interface-built"] == "pass"
    assert "pseudo-NMI is unknown" in report["verdict"]["summary"]


def test_names_in_kallsyms_never_prove_registration(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    shutil.copy(load_host("dt-sdei").root / "proc/kallsyms", tmp_path / "proc")
    assert outcomes(report_of(tmp_path))["sdei-nmi-registered"] == "unknown"


def test_cut_kallsyms_proves_no_absence(tree: Path) -> None:
    symbols = tree / "proc/kallsyms"
    lines = symbols.read_bytes().splitlines(keepends=True)
    symbols.write_bytes(
        b"".join(
            line for line in lines if not any(name in line for name in (b"sdei_nmi", b"_end", b"_einittext"))
        )
    )
    (tree / "kmsg.txt").unlink()
    report = report_of(tree)
    assert outcomes(report)["sdei-nmi-registered"] == "unknown"
    assert ("/proc/kallsyms", "broken") in [(gap["source"], gap["kind"]) for gap in report["gaps"]]


def test_config_is_found_in_three_places(tree: Path) -> None:
    (tree / "proc/config.gz").unlink()
    (tree / "proc/kallsyms").unlink()
    (tree / "kmsg.txt").unlink()
    assert ("/proc/config.gz", "absent") in [(g["source"], g["kind"]) for g in report_of(tree)["gaps"]]
    release = report_of(tree)["host"]["kernel"]
    for place in (f"boot/config-{release}", f"lib/modules/{release}/config"):
        (tree / place).parent.mkdir(parents=True, exist_ok=True)
        (tree / place).write_text("CONFIG_ARM_SDE_INTERFACE=y\n# CONFIG_ARM_SDEI_NMI is not set\n")
        report = report_of(tree)
        assert outcomes(report)["sdei-nmi-built"] == "fail"
        # A file named after the release proves nothing about the running kernel.
        assert outcomes(report)["sdei-nmi-registered"] == "unknown"
        assert outcomes(report)["pseudo-nmi-built"] == "unknown"
        (tree / place).unlink()


def test_damaged_config_gz_is_a_gap(tree: Path) -> None:
    config = tree / "proc/config.gz"
    config.write_bytes(config.read_bytes()[:-20])
    assert ("/proc/config.gz", "broken") in [(g["source"], g["kind"]) for g in report_of(tree)["gaps"]]


def acpi_host(tree: Path, *tables: str) -> Path:
    shutil.rmtree(tree / "sys/firmware/devicetree")
    directory = tree / "sys/firmware/acpi/tables"
    directory.mkdir(parents=True)
    for name in ("FACP", "APIC", *tables):
        (directory / name).write_bytes(sdei_table())
    return directory


def test_acpi_advertises_by_its_table(tree: Path) -> None:
    acpi_host(tree, "SDEI")
    report = report_of(tree)
    assert (report["host"]["tables"], outcomes(report)["sdei-advertised"]) == ("acpi", "pass")


def test_acpi_tables_without_sdei_are_evidence(tree: Path) -> None:
    acpi_host(tree)
    (tree / "kmsg.txt").unlink()
    assert outcomes(report_of(tree))["sdei-advertised"] == "fail"


def test_damaged_sdei_table_is_unknown(tree: Path) -> None:
    directory = acpi_host(tree, "SDEI")
    (directory / "SDEI").write_bytes(sdei_table(at9=0))
    assert outcomes(report_of(tree))["sdei-advertised"] == "pass"  # by the boot log
    (tree / "kmsg.txt").unlink()
    report = report_of(tree)
    assert outcomes(report)["sdei-advertised"] == "unknown"
    assert any("checksum" in gap["detail"] and "byte 9" in gap["detail"] for gap in report["gaps"])


def test_empty_acpi_directory_is_no_acpi(tree: Path) -> None:
    (tree / "sys/firmware/acpi/tables").mkdir(parents=True)
    assert report_of(tree)["host"]["tables"] == "devicetree"


def test_another_compatible_is_no_sdei_node(tree: Path) -> None:
    (tree / "sys/firmware/devicetree/base/firmware/sdei/compatible").write_bytes(b"vendor,sdei\0")
    (tree / "kmsg.txt").unlink()
    assert outcomes(report_of(tree))["sdei-advertised"] == "fail"


def test_driver_link_needs_kept_links(tree: Path) -> None:
    (tree / "sys/bus/platform/devices/firmware:sdei/driver").unlink()
    (tree / "kmsg.txt").unlink()
    (tree / "sys/devices/system/cpu/hotplug/states").unlink()
    assert outcomes(report_of(tree))["sdei-answered"] == "fail"
    shutil.rmtree(tree / "sys/bus/platform/drivers")
    assert outcomes(report_of(tree))["sdei-answered"] == "unknown"


def test_silent_firmware_is_owned_by_firmware() -> None:
    report = report_of(load_host("dt-advertised").root)
    (finding,) = (f for f in report["findings"] if f["id"] == "sdei-answered")
    assert (finding["outcome"], finding["owner"]) == ("fail", "firmware")
    assert "Failed to get SDEI version: -95" in finding["seen"]
    assert report["verdict"]["missing"][0] == "sdei-answered"


def test_every_finding_is_complete(host: CapturedHost) -> None:
    for finding in report_of(host.root)["findings"]:
        assert all(finding.values())


def test_another_architecture_is_not_applicable(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text("processor\t: 0\nvendor_id\t: GenuineIntel\ncpu family\t: 6\n")
    report = report_of(tmp_path)
    assert (report["verdict"]["nmi_path"], report["verdict"]["ready"]) == ("not-applicable", None)


def test_empty_tree_is_unknown(tmp_path: Path) -> None:
    report = report_of(tmp_path)
    assert report["verdict"]["nmi_path"] == "unknown"
    assert {gap["kind"] for gap in report["gaps"]} == {"absent"}
    assert set(outcomes(report).values()) == {"unknown"}
    assert report["verdict"]["summary"] == NOTHING_KNOWN


def test_every_file_unreadable(tree: Path) -> None:
    for directory, _, files in os.walk(tree):
        for name in files:
            path = Path(directory, name)
            path.unlink()
            path.mkdir()
    report = report_of(tree)
    assert report["verdict"]["nmi_path"] == "unknown"
    assert {gap["kind"] for gap in report["gaps"]} <= {"broken", "absent"}


def test_no_facts_at_all() -> None:
    verdict, findings = decide(HostFacts())
    assert (verdict.nmi_path, verdict.ready, verdict.stop_ladder) == ("unknown", None, ("ipi", "unknown"))
    assert {finding.outcome for finding in findings} == {"unknown"}


def test_links_stay_inside_the_tree(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/secret").write_text("outside")
    inside = tmp_path / "tree"
    (inside / "proc").mkdir(parents=True)
    for target in ("/etc/secret", "../../etc/secret", "../../../../../../etc/secret"):
        (inside / "proc/version").unlink(missing_ok=True)
        (inside / "proc/version").symlink_to(target)
        with pytest.raises(FileNotFoundError):
            DirectoryRoot(str(inside)).read("/proc/version")
    (inside / "proc/loop").symlink_to("loop")
    with pytest.raises(OSError, match="loop"):
        DirectoryRoot(str(inside)).read("/proc/loop")
    os.mkfifo(inside / "proc/fifo")
    with pytest.raises(OSError, match="regular"):
        DirectoryRoot(str(inside)).read("/proc/fifo")


@pytest.mark.parametrize(("host_name", "log_name"), [("dt-sdei", "dt-none"), ("dt-none", "dt-sdei")])
def test_log_of_another_boot(host_name: str, log_name: str) -> None:
    alone = report_of(load_host(host_name).root, b"")
    mixed = report_of(load_host(host_name).root, load_host(log_name).console)
    assert mixed["verdict"]["nmi_path"] == alone["verdict"]["nmi_path"]
    assert "is not of this host's boot" in mixed["gaps"][0]["detail"]


def test_log_of_another_kernel() -> None:
    report = report_of(load_host("dt-sdei").root, load_host("stock-debian").console)
    assert report["verdict"]["nmi_path"] == "unknown"
    assert "of Linux 7.3.4+deb13-arm64, but the host runs 7.3.4-sdeictl-lab" in report["gaps"][0]["detail"]


@pytest.mark.parametrize(
    ("host_name", "log_name", "path", "why"),
    [
        ("gicv2", "dt-pnmi", "none", "the log has a GICv3"),
        ("dt-none", "dt-pnmi", "none", "pseudo-NMI is enabled in the log"),
        ("dt-pnmi", "dt-none", "unknown", "the command lines of the log and of the host differ"),
    ],
)
def test_live_state_contradicts_the_log(host_name: str, log_name: str, path: str, why: str) -> None:
    report = report_of(load_host(host_name).root, load_host(log_name).console)
    assert report["verdict"]["nmi_path"] == path
    assert why in report["gaps"][0]["detail"]


def test_symbols_contradict_the_log(tree: Path) -> None:
    kallsyms = tree / "proc/kallsyms"
    names = [line for line in kallsyms.read_text().splitlines() if "sdei_nmi" not in line]
    kallsyms.write_text("\n".join([*names, ""]))
    report = report_of(tree)
    assert (report["verdict"]["nmi_path"], report["gaps"]) == ("unknown", [])
    (seen,) = (each["seen"] for each in report["findings"] if each["id"] == "sdei-nmi-registered")
    assert seen.endswith("but the kernel has sdei_probe() but no sdei_nmi_handler()")


def without_line(path: Path, word: str) -> None:
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if word not in line))


def test_own_log_is_not_foreign(tree: Path) -> None:
    """A hotplug state that is missing contradicts the log of the same host: nobody knows which is wrong."""
    without_line(tree / "sys/devices/system/cpu/hotplug/states", "SDEI")
    report = report_of(tree)
    assert (report["verdict"]["nmi_path"], report["verdict"]["ready"]) == ("unknown", None)
    assert report["gaps"] == []
    # A log that the user names may be of another boot.
    report = report_of(tree, (tree / "kmsg.txt").read_bytes())
    assert report["verdict"]["nmi_path"] == "none"
    assert "is not of this host's boot" in report["gaps"][0]["detail"]


def test_command_line_contradicts_its_own_log(tmp_path: Path) -> None:
    shutil.copytree(load_host("dt-pnmi").root, tmp_path / "tree", symlinks=True)
    (tmp_path / "tree/proc/cmdline").write_text("console=ttyAMA0\n")
    assert report_of(tmp_path / "tree")["verdict"]["nmi_path"] == "unknown"


def test_service_that_says_nothing_known(tree: Path) -> None:
    """The code is there and the driver's probe completed: a kernel may word its success differently."""
    without_line(tree / "kmsg.txt", "using SDEI cross-CPU NMI")
    lines = (tree / "kmsg.txt").read_text().splitlines()
    for number, line in enumerate(lines):  # no record is missing
        head, _, text = line.partition(";")
        lines[number] = ",".join([head.split(",")[0], str(number), *head.split(",")[2:]]) + ";" + text
    (tree / "kmsg.txt").write_text("\n".join([*lines, ""]))
    report = report_of(tree)
    assert report["gaps"] == []
    assert report["verdict"]["nmi_path"] == "unknown"
    without_line(tree / "proc/kallsyms", "sdei_nmi")
    assert report_of(tree)["verdict"]["nmi_path"] == "none"


def ladder_of(tree: Path, log: bytes | None = None) -> tuple[list[str], str]:
    consumers = report_of(tree, log)["verdict"]["consumers"]
    return consumers["stop"]["ladder"], consumers["crash"]["path"]


def test_ladder_needs_its_own_evidence(tree: Path) -> None:
    assert ladder_of(tree) == (["ipi", "sdei"], "sdei")
    without_line(tree / "proc/kallsyms", "sdei_nmi_stop_cpus")
    assert report_of(tree)["verdict"]["nmi_path"] == "sdei"
    assert ladder_of(tree) == (["ipi"], "none")
    (tree / "proc/kallsyms").unlink()
    assert ladder_of(tree) == (["ipi", "unknown"], "unknown")
    # The kernel's own line shows the rung.
    line = b"6,9999,99000000,-;SMP: retry stop with SDEI NMI for CPUs 1\n"
    (tree / "kmsg.txt").write_bytes((tree / "kmsg.txt").read_bytes() + line)
    assert ladder_of(tree) == (["ipi", "sdei"], "sdei")


def test_ladder_by_pseudo_nmi_has_a_row(tmp_path: Path) -> None:
    shutil.copytree(load_host("dt-pnmi").root, tmp_path / "tree", symlinks=True)
    assert ladder_of(tmp_path / "tree") == (["ipi", "pseudo-nmi"], "pseudo-nmi")
    without_line(tmp_path / "tree/proc/interrupts", "CPU stop NMIs")
    assert ladder_of(tmp_path / "tree") == (["ipi"], "none")
    (tmp_path / "tree/proc/interrupts").unlink()
    assert ladder_of(tmp_path / "tree") == (["ipi", "unknown"], "unknown")


def test_missing_detector_is_said_at_the_top(tree: Path) -> None:
    def top() -> str:
        return "\n".join(to_plain(render_report(report_of(tree))).splitlines()[:10])

    assert "no hard-lockup detector" not in top()
    (tree / "proc/sys/kernel/nmi_watchdog").write_text("0\n")
    assert "no hard-lockup detector: kernel.nmi_watchdog reads 0." in top()
    assert "CONFIG_HARDLOCKUP_DETECTOR_PREFER_BUDDY=y" in top()


def test_compiler_suffix_of_a_symbol(tree: Path) -> None:
    kallsyms = tree / "proc/kallsyms"
    kallsyms.write_text(kallsyms.read_text().replace(" sdei_nmi_handler\n", " sdei_nmi_handler.llvm.1234\n"))
    assert report_of(tree)["verdict"]["nmi_path"] == "sdei"


def test_syslog_proves_no_absence(tmp_path: Path) -> None:
    console = load_host("dt-none").console
    lines = [line for line in console.splitlines() if line.startswith(b"[ ")]
    untimed = [line.partition(b"] ")[2] for line in lines]
    for prefix, records, path in (
        (b"", lines, "none"),
        (b"", untimed, "none"),
        (b"Nov 25 04:52:11 host kernel: ", lines, "unknown"),
        (b"Nov 25 04:52:11 host kernel: ", untimed, "unknown"),
    ):
        (tmp_path / "dmesg.txt").write_bytes(b"".join(b"%b%b\n" % (prefix, line) for line in records))
        report = report_of(tmp_path)
        assert report["verdict"]["nmi_path"] == path
        assert any("the log came through syslog" in gap["detail"] for gap in report["gaps"]) is bool(prefix)


def test_interrupt_controller_in_its_column(tree: Path) -> None:
    interrupts = tree / "proc/interrupts"
    text = interrupts.read_text()
    interrupts.write_text(text.replace("arch_timer", "GIC-0 helper"))
    assert report_of(tree)["host"]["gic"] == "GICv3"
    interrupts.write_text(text + " 99:  0  0  0  0  GIC-0  34 Level  cascade\n")
    assert report_of(tree)["host"]["gic"] is None


def test_disabled_node_advertises_nothing(tree: Path) -> None:
    (tree / "kmsg.txt").unlink()
    status = tree / "sys/firmware/devicetree/base/firmware/sdei/status"
    for word, outcome in ((b"disabled\0", "fail"), (b"okay\0", "pass"), (b"okay", "unknown")):
        status.write_bytes(word)
        assert outcomes(report_of(tree))["sdei-advertised"] == outcome


def test_nvhe_kernel_is_named() -> None:
    host = load_host("dt-advertised")
    log = host.console.replace(b"started at EL1", b"started at EL2")
    (finding,) = (f for f in report_of(host.root, log)["findings"] if f["id"] == "sdei-answered")
    assert "started at EL2 without VHE" in finding["seen"]


@pytest.mark.parametrize("change", ["nothing", "unused", "no cpuidle", "another driver", "no sdei"])
def test_idle_state_hazard_needs_evidence(tmp_path: Path, change: str) -> None:
    root = tmp_path / "root"
    shutil.copytree(load_host("dt-idle").root, root, symlinks=True)
    idle = root / "sys/devices/system/cpu/cpuidle"
    log = None
    if change == "unused":
        for usage in root.glob("sys/devices/system/cpu/cpu*/cpuidle/state*/usage"):
            usage.write_text("0\n")
    elif change == "no cpuidle":
        shutil.rmtree(idle)
    elif change == "another driver":
        (idle / "current_driver").write_text("acpi_idle\n")
    elif change == "no sdei":
        log = (root / "kmsg.txt").read_bytes().replace(b"using SDEI cross-CPU NMI", b"")
    hazards = report_of(root, log)["verdict"]["hazards"]
    assert bool(hazards) is (change == "nothing")
    assert all("standby (psci_idle)" in hazard and "cpuidle.off=1" in hazard for hazard in hazards)
