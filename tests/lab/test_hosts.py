"""On every machine: the probe there, and of its capture here, names the path that a drill then sees."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sdeictl.host.open import open_root
from sdeictl.host.paths import ACPI_TABLES, DEBUGFS, KMSG, RAMOOPS_CONSOLE
from sdeictl.probe.collect import collect
from sdeictl.probe.document import ReportDocument
from sdeictl.probe.report import build_report
from tests.conftest import TESTS, validate
from tests.lab.build import Lab
from tests.lab.machines import MACHINES_WITH_PEERS, Boot, Machine
from tests.lab.stories import observe_host
from tests.lab.test_drill import assert_alive, read
from tests.lab.test_prometheus import Promtool
from tests.support.drill_story import check_drill
from tests.test_agent_families import Agent

STATUS = {"sdei": "0", "pseudo-nmi": "0", "none": "1", "unknown": "3"}
# Without the kernel log nothing proves that SDEI or pseudo-NMI serve; that neither does
# is still seen in the hotplug states or kallsyms, and on the command line.
NMI_PATH_FOR_NOBODY = {"sdei": "unknown", "pseudo-nmi": "unknown", "none": "none"}
DENIED_TO_NOBODY = {KMSG, DEBUGFS, RAMOOPS_CONSOLE}
DENIED_TABLES = {f"{ACPI_TABLES}/{name}" for name in ("SDEI", "FACP", "APIC", "HEST", "AGDI", "DSDT", "SSDT")}


@pytest.fixture(scope="module", params=MACHINES_WITH_PEERS)
def machine(request: pytest.FixtureRequest) -> Machine:
    return MACHINES_WITH_PEERS[request.param]


@pytest.fixture(scope="module")
def share(machine: Machine, lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("vm") / machine.name
    return observe_host(machine, lab=lab, directory=directory).share


def stable(report: ReportDocument) -> dict[str, object]:
    return {**report, "generated_at": None}


def test_in_the_guest(machine: Machine, share: Path) -> None:
    report = json.loads((share / "probe.json").read_text())
    validate("report-1", report)
    assert report["verdict"]["nmi_path"] == machine.nmi_path
    assert report["gaps"] == []
    assert bool(report["verdict"]["hazards"]) is machine.idle_masks_sdei
    assert (share / "probe.status").read_text().strip() == STATUS[machine.nmi_path]
    assert (share / "probe.err").read_text() == ""
    assert (share / "probe.txt").read_text().splitlines()[0].endswith(f"NMI path: {machine.nmi_path}")


def test_of_its_capture_here(share: Path) -> None:
    report = build_report(collect(open_root(str(share / "capture.tar.gz"))))
    assert stable(report) == stable(json.loads((share / "probe.json").read_text()))


def test_stored_host_matches(machine: Machine, share: Path) -> None:
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


def test_what_is_exported_of_it(machine: Machine, share: Path, lab: Lab, tmp_path: Path) -> None:
    exported = []
    for name, drills in (("stored", None), ("seen", share / "drills")):
        (tmp_path / name).mkdir()
        exported.append(Agent(tmp_path / name, machine.name))
        exported[-1].add_drills(drills)
    stored, seen = exported
    report = json.loads((share / "probe.json").read_text())
    seen.write_report(report | {"generated_at": stored.report["generated_at"]})
    assert seen.samples().keys() == stored.samples().keys()
    Promtool(lab).run("check", "metrics", data=seen.text().encode())


def test_observed_is_predicted(machine: Machine, share: Path) -> None:
    for drill in read(share, "drills"):
        validate("drill-1", drill["result"])
        check_drill(machine.name, drill["status"], drill["result"])
    assert_alive(read(share, "cpus"), machine)
    for result in (drill["result"] for drill in read(share, "drills")):
        if result["outcome"] != "refused":
            assert json.loads((share / "drills" / f"{result['id']}.json").read_text()) == result
            assert (share / "drills" / f"{result['id']}.log").stat().st_size
    status = read(share, "status")
    validate("drill-status-1", status["result"])
    assert (status["status"], status["result"]["pending"], status["result"]["unreadable"]) == (0, None, [])
