"""The probe where the log has rotated, and what it does to a host: nothing."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from sdeictl.host.paths import ACPI_TABLES, DEBUGFS, KCORE, KMSG, RAMOOPS_CONSOLE
from sdeictl.klog.analysis import analyze
from sdeictl.klog.episodes import Stop
from sdeictl.klog.log import parse_log
from sdeictl.probe.deep import JOURNAL
from tests.lab.build import EXTRA, Lab
from tests.lab.machines import MACHINES_WITH_PEERS
from tests.lab.stories import refuse_reset, rotate_log, trace_probe

VICTIM = 1
STATUS = {"sdei": "0", "pseudo-nmi": "0", "none": "1", "unknown": "3"}
# Without the kernel log nothing proves that SDEI or pseudo-NMI serve; that neither does
# is still seen in the hotplug states or kallsyms, and on the command line.
NMI_PATH_FOR_NOBODY = {"sdei": "unknown", "pseudo-nmi": "unknown", "none": "none"}
DENIED_TO_NOBODY = {KMSG, DEBUGFS, RAMOOPS_CONSOLE}
DENIED_TABLES = {f"{ACPI_TABLES}/{name}" for name in ("SDEI", "FACP", "APIC", "HEST", "AGDI")}


# What only looks; everything else of strace's %file, %process and %network is counted as a deed.
LOOKS = {
    "openat", "newfstatat", "statx", "statfs", "readlinkat", "faccessat", "faccessat2", "getcwd",
    "exit_group",
}  # fmt: skip
CALL = re.compile(r"\d+ +(?:<\.\.\. )?(\w+)(.*)")
FOR_WRITING = re.compile(r"O_(?:WRONLY|RDWR|CREAT|TRUNC|APPEND)")


def deeds(trace: Path) -> list[str]:
    """Return the calls that write, start a process or talk to another, after the program's own start."""
    calls = [match for line in trace.read_text().splitlines() if (match := CALL.match(line))]
    assert calls[0][1] == "execve"
    return [call[0] for call in calls[1:] if call[1] not in LOOKS or FOR_WRITING.search(call[2])]


# On dt-none the hotplug states, and on dt-pnmi nothing but the log, tell what serves.
@pytest.mark.parametrize(
    ("name", "rotated", "kcore"),
    [
        ("dt-sdei", "unknown", "sdei"),
        ("dt-pnmi", "unknown", "unknown"),
        ("dt-none", "none", "none"),
        ("lockdown", "unknown", "unknown"),
    ],
)
def test_deep_where_the_log_has_rotated(
    name: str, rotated: str, kcore: str, lab: Lab, tmp_path: Path
) -> None:
    machine = MACHINES_WITH_PEERS[name]
    share = rotate_log(machine, lab=lab, directory=tmp_path / "vm").share
    reports = {
        word: json.loads((share / f"{word}.json").read_text()) for word in ("rotated", "journal", "kcore")
    }
    paths = {word: report["verdict"]["nmi_path"] for word, report in reports.items()}
    assert paths == {"rotated": rotated, "journal": machine.nmi_path, "kcore": kcore}
    gaps = {(gap["source"], gap["kind"]) for gap in reports["kcore"]["gaps"]}
    denied = {(KCORE, "denied")} if name == "lockdown" else set()
    assert gaps == {(KMSG, "broken"), (JOURNAL, "broken"), *denied}
    done = deeds(share / "deep.trace")
    assert {program for call in done for program in re.findall(r'execve\("([^"]+)"', call)} == {
        "/usr/bin/journalctl"
    }
    assert not [call for call in done if FOR_WRITING.search(call) and '"/dev/null"' not in call]


def test_probe_only_reads(lab: Lab, tmp_path: Path) -> None:
    machine = MACHINES_WITH_PEERS["acpi-sdei"]
    share = trace_probe(machine, lab=lab, directory=tmp_path / "vm").share
    assert json.loads((share / "probe.json").read_text())["verdict"]["nmi_path"] == machine.nmi_path
    assert deeds(share / "probe.trace") == []
    # The trace does show what is written: a capture is.
    assert any("capture.tar.gz" in call for call in deeds(share / "capture.trace"))


@pytest.mark.parametrize("name", ["dt-both", *(["dt-sdei", "acpi-sdei"] if EXTRA else [])])
def test_sdei_disabled_after_registration(name: str, lab: Lab, tmp_path: Path) -> None:
    run = refuse_reset(MACHINES_WITH_PEERS[name], lab=lab, directory=tmp_path / "vm")
    before, probe, drill, cpus = (
        json.loads((run.share / f"{word}.json").read_text()) for word in ("before", "probe", "drill", "cpus")
    )
    assert before["verdict"]["nmi_path"] == "sdei"
    assert (probe["verdict"]["nmi_path"], probe["verdict"]["ready"]) == ("none", False)
    finding = next(each for each in probe["findings"] if each["id"] == "sdei-nmi-registered")
    assert finding["seen"] == "the boot log says: sdei: disabling SDEI firmware interface"
    # The kernel still asks by SDEI, and no CPU answers, masked or not.
    result = drill["result"]
    assert (drill["status"], result["outcome"], result["lost_cpus"]) == (1, "fail", [])
    assert sorted(cpu["state"] for cpu in result["cpus"]) == ["self", "silent", "silent", "silent"]
    assert all(cpus["runs"]), cpus
    episodes = analyze(parse_log(run.console.read_bytes())).episodes
    (stop,) = (episode for episode in episodes if isinstance(episode, Stop))
    # It climbs the rung of SDEI too, in vain: the ladder of the verdict has those that can stop a CPU.
    ladder = probe["verdict"]["consumers"]["stop"]["ladder"]
    assert [rung for rung in stop.rungs if rung != "sdei"] == ladder
    assert stop.failed == (() if "pseudo-nmi" in ladder else (VICTIM,))
