"""On every machine: the probe in the guest, and of its capture here, names the path the machine has."""

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from sdeictl.collect import collect
from sdeictl.report import Json, build_report
from sdeictl.root import open_root
from tests.conftest import PROJECT, TESTS
from tests.lab.build import Lab
from tests.lab.machines import MACHINES_WITH_PEERS, Machine
from tests.lab.stories import capture_host

STATUS = {"sdei": "0", "pseudo-nmi": "0", "none": "1", "unknown": "3"}
# Without the kernel log nothing proves that SDEI or pseudo-NMI serve; that neither does
# is still seen in the hotplug states or kallsyms, and on the command line.
NMI_PATH_FOR_NOBODY = {"sdei": "unknown", "pseudo-nmi": "unknown", "none": "none"}


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
    assert [(gap["source"], gap["kind"]) for gap in report["gaps"]] == [("/dev/kmsg", "denied")]
    assert "run as root" in report["gaps"][0]["detail"]
    assert (share / "nobody.status").read_text().strip() == STATUS[path]
    assert (share / "nobody.err").read_text() == ""
