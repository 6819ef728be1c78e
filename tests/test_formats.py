"""The report as metrics, as the line of a monitoring plugin and in a comparison; and `explain`."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from sdeictl.klog.words import NmiPath
from sdeictl.probe.checks.table import CHECKS
from sdeictl.probe.document import ReportDocument
from sdeictl.probe.metrics import exposition
from sdeictl.probe.nagios import plugin_line, plugin_status
from sdeictl.probe.words import OUTCOMES, Outcome
from tests.conftest import NMI_PATHS as PATH_OF
from tests.conftest import TESTS, CapturedHost, load_host, validate
from tests.test_cli import sdeictl
from tests.test_probe import READY, report_of
from tests.test_terminal import SIZES

Samples = dict[str, list[tuple[dict[str, str], float]]]


def samples_of(text: str) -> Samples:
    """Return the samples by name, as Prometheus would read them."""
    samples: Samples = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation, family.name
        for sample in family.samples:
            samples.setdefault(sample.name, []).append((dict(sample.labels), sample.value))
    return samples


def test_prometheus_reads_the_exposition(host: CapturedHost) -> None:
    report = report_of(host.root)
    samples = samples_of(exposition(report).decode())
    assert all(name.startswith("sdeictl_") for name in samples)
    paths = {labels["sdeictl_nmi_path"]: value for labels, value in samples["sdeictl_nmi_path"]}
    assert set(paths) == set(NmiPath)
    assert [path for path, value in paths.items() if value] == [PATH_OF[host.name]]
    assert samples["sdeictl_ready"] == [({}, float(READY[PATH_OF[host.name]] or 0))]
    outcomes = {labels["check"]: value for labels, value in samples["sdeictl_check_outcome"]}
    assert outcomes == {
        finding["id"]: OUTCOMES[Outcome(finding["outcome"])].metric for finding in report["findings"]
    }
    assert {labels["kind"]: value for labels, value in samples["sdeictl_gaps"]} == {
        "absent": 0.0, "denied": 0.0, "broken": 0.0,
    }  # fmt: skip
    ((labels, _),) = samples["sdeictl_host_info"]
    assert labels["kernel"] == report["host"]["kernel"]
    ((_, at),) = samples["sdeictl_report_timestamp_seconds"]
    assert math.isfinite(at)


def test_unknown_value_has_no_sample(tmp_path: Path) -> None:
    samples = samples_of(exposition(report_of(tmp_path)).decode())
    assert "sdeictl_ready" not in samples
    assert "sdeictl_kdump_loaded" not in samples
    assert "sdeictl_cpus_online" not in samples
    assert ({"sdeictl_nmi_path": "unknown"}, 1.0) in samples["sdeictl_nmi_path"]


def test_host_text_is_escaped(host: CapturedHost) -> None:
    report = report_of(host.root)
    report["host"]["firmware"] = 'a "vendor"}\n\\ 1'
    ((labels, _),) = samples_of(exposition(report).decode())["sdeictl_host_info"]
    assert labels["firmware"] == report["host"]["firmware"]


def report_with(ready: bool | None, hazards: list[str]) -> ReportDocument:
    report = report_of(load_host("dt-sdei").root)
    verdict = report["verdict"]
    verdict["ready"], verdict["hazards"], verdict["summary"] = ready, hazards, "So it is."
    return report


@pytest.mark.parametrize(
    ("ready", "hazards", "status", "word"),
    [
        (True, [], 0, "OK"),
        (True, ["it may | hurt"], 1, "WARNING"),
        (False, [], 2, "CRITICAL"),
        (False, ["it may | hurt"], 2, "CRITICAL"),
        (None, [], 3, "UNKNOWN"),
        (None, ["it may | hurt"], 3, "UNKNOWN"),
    ],
)
def test_monitoring_plugin_line(ready: bool | None, hazards: list[str], status: int, word: str) -> None:
    report = report_with(ready, hazards)
    assert plugin_status(report) == status
    line = plugin_line(report)
    assert line.startswith(f"SDEICTL {word} - NMI path sdei: So it is.")
    assert line.count("|") == line.count("\n") == 1
    assert line.endswith(f" | missing=0 hazards={len(hazards)} gaps=0\n")


@pytest.mark.parametrize(
    ("name", "form", "status"),
    [
        ("dt-sdei", "nagios", 0), ("dt-idle", "nagios", 1), ("dt-none", "nagios", 2), ("", "nagios", 3),
        ("dt-sdei", "prometheus", 0), ("dt-idle", "prometheus", 0), ("dt-none", "prometheus", 1),
        ("", "prometheus", 3),
    ],
)  # fmt: skip
def test_exit_status_of_each_format(name: str, form: str, status: int, tmp_path: Path) -> None:
    root = load_host(name).root if name else tmp_path
    done = sdeictl("probe", "--root", str(root), "--format", form)
    assert (done.returncode, done.stderr) == (status, b"")
    assert done.stdout.endswith(b"\n")


def root(name: str) -> str:
    return str(load_host(name).root)


def test_two_hosts_are_compared(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(sdeictl("probe", "--root", root("dt-sdei"), "--format", "json").stdout)
    for first in (root("dt-sdei"), str(tmp_path / "a.json")):
        done = sdeictl("probe", "--compare", first, root("dt-none"), "--format", "json")
        document = json.loads(done.stdout)
        validate("comparison-1", document)
        assert done.returncode == 0
        said = {entry["what"]: (entry["first"], entry["second"]) for entry in document["differences"]}
        assert said["verdict.nmi_path"] == ("sdei", "none")
        assert said["verdict.ready"] == ("true", "false")
        assert said["check sdei-advertised"][1].startswith("fail: ")
        assert not any("generated_at" in what or "tool" in what for what in said)
    text = sdeictl("probe", "--compare", first, root("dt-none")).stdout.decode()
    assert "\nverdict.nmi_path\n  - sdei\n  + none\n" in text


def test_report_equals_its_own_host(host: CapturedHost, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    report.write_text(json.dumps(report_of(host.root)))
    done = sdeictl("probe", "--compare", str(report), str(host.root))
    assert (done.returncode, done.stdout) == (0, b"No difference.\n")


@pytest.mark.parametrize(
    ("content", "status", "sentence"),
    [
        (b"{}", 3, "is not a sdeictl.report/1"),
        (
            b'{"schema": "sdeictl.report/1"}',
            3,
            "is not a complete report: 'verdict'",
        ),
        (
            b'{"schema": "sdeictl.report/1", "verdict": 3}',
            3,
            "is not a complete report: ",
        ),
        (b'{"schema": "sdeictl.report/1", ', 3, "is not JSON, or is cut short"),
        pytest.param(b"[" * 100_000, 3, "cannot be read as a capture", id="nested lists"),
        pytest.param(b'{"a": ' * 100_000, 3, "is not JSON, or is cut short", id="nested objects"),
        (b"", 3, "cannot be read as a capture"),
    ],
)
def test_damaged_report_is_not_compared(content: bytes, status: int, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "b").write_bytes(content)
    done = sdeictl("probe", "--compare", root("dt-sdei"), str(tmp_path / "b"))
    assert (done.returncode, done.stdout) == (status, b"")
    assert sentence in done.stderr.decode()
    assert "Traceback" not in done.stderr.decode()


def test_empty_tree_is_not_compared(tmp_path: Path) -> None:
    done = sdeictl("probe", "--compare", root("dt-sdei"), str(tmp_path))
    assert (done.returncode, done.stdout) == (3, b"")
    assert f"sdeictl: {tmp_path} holds none of a host's files" in done.stderr.decode()


@pytest.mark.parametrize(
    "arguments",
    [("--root", "/"), ("--kernel-log", "-"), ("--deep",), ("--format", "nagios"), ("--format", "prometheus")],
)
def test_compare_refuses_other_options(arguments: tuple[str, ...]) -> None:
    done = sdeictl("probe", "--compare", root("dt-sdei"), root("dt-none"), *arguments)
    assert done.returncode == 2
    assert b"--compare goes with" in done.stderr


def test_every_check_is_explained() -> None:
    everything = sdeictl("explain").stdout.decode()
    assert [check["id"] for check in json.loads(sdeictl("explain", "--format", "json").stdout)["checks"]] == [
        check.id for check in CHECKS
    ]
    for check in CHECKS:
        assert check.id in everything
    check = CHECKS[0]
    told = sdeictl("explain", check.id).stdout.decode()
    for text in (check.id, check.title, check.why, check.remedy):
        assert " ".join(text.split()[:4]) in " ".join(told.split())
    assert json.loads(sdeictl("explain", check.id, "--format", "json").stdout)["id"] == check.id
    unknown = sdeictl("explain", "no-such-check")
    assert (unknown.returncode, unknown.stdout) == (2, b"")
    assert b"there is no check 'no-such-check'; `sdeictl explain` lists all checks" in unknown.stderr
    assert b"did you mean sdei-answered or " in sdeictl("explain", "sdei").stderr


def test_goldens_belong_to_hosts() -> None:
    """No other test would find a golden of a host that was removed."""
    known = {path.name for path in (TESTS / "hosts").iterdir()}
    known |= {"elf", "kdump", "bundled"}  # the dumps of test_vmcore
    known |= {f"session-{columns}x{rows}" for columns, rows in SIZES}
    assert {path.name.rsplit(".", 2)[0] for path in (TESTS / "golden").iterdir()} == known
