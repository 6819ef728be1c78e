"""On every machine: the probe in the guest, and of its capture here, names the path the machine has."""

import json
import re
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from sdeictl.collect import collect
from sdeictl.deep import JOURNAL
from sdeictl.facts import KMSG
from sdeictl.firmware import ACPI_TABLES
from sdeictl.kernel import KCORE
from sdeictl.livestate import DEBUGFS, RAMOOPS_CONSOLE
from sdeictl.report import Json, build_report
from sdeictl.root import open_root
from tests.conftest import PROJECT, TESTS
from tests.lab.build import Lab
from tests.lab.machines import MACHINES_WITH_PEERS, Boot, Machine
from tests.lab.stories import capture_host, rotate_log, trace_probe

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


@pytest.fixture(scope="module", params=MACHINES_WITH_PEERS)
def machine(request: pytest.FixtureRequest) -> Machine:
    return MACHINES_WITH_PEERS[request.param]


@pytest.fixture(scope="module")
def share(machine: Machine, lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("vm") / machine.name
    return capture_host(machine, lab=lab, directory=directory).share


def stable(report: Json) -> Json:
    return report | {"generated_at": None}


def test_in_the_guest(machine: Machine, share: Path) -> None:
    report = json.loads((share / "probe.json").read_text())
    schema = json.loads((PROJECT / "sdeictl/schemas/report-1.json").read_text())
    Draft202012Validator(schema).validate(report)
    assert report["verdict"]["nmi_path"] == machine.nmi_path
    assert report["gaps"] == []
    assert bool(report["verdict"]["hazards"]) is machine.idle_state
    assert (share / "probe.status").read_text().strip() == STATUS[machine.nmi_path]
    assert (share / "probe.err").read_text() == ""
    assert (share / "probe.txt").read_text().splitlines()[0].endswith(f"nmi path: {machine.nmi_path}")


def test_of_its_capture_here(share: Path) -> None:
    report = build_report(collect(open_root(str(share / "capture.tar.gz"))))
    assert stable(report) == stable(json.loads((share / "probe.json").read_text()))


def test_the_stored_host_is_like_this_one(machine: Machine, share: Path) -> None:
    stored = json.loads((TESTS / "golden" / f"{machine.name}.report.json").read_text())
    report = json.loads((share / "probe.json").read_text())
    assert report["verdict"] == stored["verdict"]
    assert report["findings"] == stored["findings"]


def test_for_a_user_without_privileges(machine: Machine, share: Path) -> None:
    report = json.loads((share / "nobody.json").read_text())
    path = NMI_PATH_FOR_NOBODY[machine.nmi_path]
    assert report["verdict"]["nmi_path"] == path
    denied = DENIED_TO_NOBODY | (DENIED_TABLES if machine.boot is Boot.UEFI else set())
    sources = {gap["source"] for gap in report["gaps"]}
    assert KMSG in sources
    assert sources <= denied
    assert all(gap["kind"] == "denied" and "run as root" in gap["detail"] for gap in report["gaps"])
    assert (share / "nobody.status").read_text().strip() == STATUS[path]
    assert (share / "nobody.err").read_text() == ""


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


def test_the_probe_opens_nothing_for_writing_and_starts_nothing(lab: Lab, tmp_path: Path) -> None:
    machine = MACHINES_WITH_PEERS["acpi-sdei"]
    share = trace_probe(machine, lab=lab, directory=tmp_path / "vm").share
    assert json.loads((share / "probe.json").read_text())["verdict"]["nmi_path"] == machine.nmi_path
    assert deeds(share / "probe.trace") == []
    # The trace does show what is written: a capture is.
    assert any("capture.tar.gz" in call for call in deeds(share / "capture.trace"))
