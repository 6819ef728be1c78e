"""A probe of a host of which only the kernel log is known."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from sdeictl.errors import SdeictlError
from sdeictl.host.open import open_root
from sdeictl.klog import log
from sdeictl.probe.collect import collect
from sdeictl.probe.document import ReportDocument
from sdeictl.probe.report import build_report
from sdeictl.probe.stored_report import report_at
from tests.conftest import load_host
from tests.test_cli import sdeictl
from tests.test_wordings import registers

BOOT = (
    "Booting Linux on physical CPU 0x0000000000 [0x410fd0c1]", "Linux version 6.12.3 (a@b) #1",
    "DMI: ACME Server/X1, BIOS 2.1 02/03/2026", "CPU features: detected: GICv3 CPU interface",
)  # fmt: skip
CPUS = ("CPU1: Booted secondary processor 0x0000000001 [0x410fd0c1]", "smp: Brought up 1 node, 2 CPUs")
LEVEL = ("CPU: All CPU(s) started at EL2", "CPU features: detected: Virtualization Host Extensions")
SDEI = "sdei: SDEIv1.1 (0x0) detected in firmware."
NMI = "sdei_nmi: using SDEI cross-CPU NMI"
PSEUDO = "GICv3: Pseudo-NMIs enabled using relaxed ICC_PMR_EL1 synchronisation"
INIT = "Run /sbin/init as init process"
REQUEST = "Sending NMI from CPU 0 to CPUs 1:"
ANSWER = "NMI backtrace for cpu 1"


def report(tmp_path: Path, *texts: str) -> ReportDocument:
    lines = (f"[{at / 10 if at else 0:12.6f}] {text}\n" for at, text in enumerate(texts))
    (tmp_path / "dmesg.txt").write_text("".join(lines))
    return build_report(collect(open_root(str(tmp_path))))


def outcome(found: ReportDocument, check: str) -> str:
    return next(finding["outcome"] for finding in found["findings"] if finding["id"] == check)


def path_of(found: ReportDocument) -> tuple[str, bool | None]:
    return found["verdict"]["nmi_path"], found["verdict"]["ready"]


def test_host_of_a_log(tmp_path: Path) -> None:
    host = report(tmp_path, *BOOT, *CPUS, *LEVEL, SDEI, INIT, "x")["host"]
    known = ("architecture", "kernel", "model", "firmware", "cpus_online", "core", "exception_level", "vhe")
    assert [dict(host)[name] for name in known] == [
        "arm64", "6.12.3", "ACME Server/X1", "2.1 02/03/2026", 2, "Neoverse N1", 2, True
    ]  # fmt: skip
    assert host["cores"] == [{"core": "Neoverse N1", "cpus": 2}]


def test_service_that_says_nothing_is_not_built(tmp_path: Path) -> None:
    assert outcome(report(tmp_path, *BOOT, SDEI, INIT, "x"), "sdei-nmi-built") == "fail"
    # Absence counts only in a log that is complete.
    assert outcome(report(tmp_path, *BOOT, SDEI), "sdei-nmi-built") == "unknown"
    assert outcome(report(tmp_path, *BOOT, INIT, "x"), "sdei-nmi-built") == "unknown"


@pytest.mark.parametrize(
    ("mask", "pstate", "expected"),
    [
        (("pmr: 000000c0",), "61400009", ("pseudo-nmi", True)),
        (("pmr_save: 00000060",), "61400009", ("pseudo-nmi", True)),
        # A plain IPI also reaches a CPU with its interrupts unmasked.
        (("pmr: 000000e0",), "61400009", ("unknown", None)),
        # The entry of SDEI stores no priority mask.
        (("pmr: 00000000",), "61400009", ("sdei", True)),
        ((), "614000c9", ("sdei", True)),
        ((), "61400009", ("unknown", None)),
    ],
)  # fmt: skip
def test_answer_proves_the_path(
    tmp_path: Path, mask: tuple[str, ...], pstate: str, expected: tuple[str, bool | None]
) -> None:
    enabled = (PSEUDO,) if mask else ()
    answer = (REQUEST, ANSWER, *registers(1, "6.12.3", *mask, pstate=pstate))
    assert path_of(report(tmp_path, *BOOT, *enabled, *answer)) == expected


def test_cut_answer_proves_nothing(tmp_path: Path) -> None:
    whole = (REQUEST, ANSWER, *registers(1, "6.12.3", "pmr: 000000c0"))
    for end in range(len(whole)):
        assert path_of(report(tmp_path, *BOOT, PSEUDO, *whole[:end]))[0] in ("unknown", "pseudo-nmi"), end
        if end < 8:
            assert path_of(report(tmp_path, *BOOT, PSEUDO, *whole[:end])) == ("unknown", None), end


def test_either_path_serves(tmp_path: Path) -> None:
    """/proc/interrupts shows that pseudo-NMI asks for backtraces; whether SDEI is registered is unknown."""
    (tmp_path / "proc").mkdir()
    row = "IPI4:          0          0       CPU backtrace interrupts\n"
    (tmp_path / "proc/interrupts").write_text(f"           CPU0       CPU1\n{row}")
    found = report(tmp_path, *BOOT, PSEUDO, SDEI)
    assert path_of(found) == ("unknown", True)
    assert "otherwise" in found["verdict"]["summary"]


def test_switched_off_sdei_still_takes_requests(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    row = "IPI4:          0          0       CPU backtrace interrupts\n"
    (tmp_path / "proc/interrupts").write_text(f"           CPU0       CPU1\n{row}")
    broken = "sdei: disabling SDEI firmware interface"
    assert path_of(report(tmp_path, *BOOT, PSEUDO, SDEI, NMI, broken, INIT, "x")) == ("none", False)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("watchdog: NMI not fully supported", ("fail", "none")),
        ("NMI watchdog: Perf NMI watchdog permanently disabled", ("fail", "none")),
        ("watchdog: Enabled. Permanently consumes one hw-PMU counter.", ("pass", "perf")),
        ("SDEI NMI watchdog: SDEI Watchdog registered successfully", ("pass", "sdei-watchdog")),
        ("usb 1-1: new device", ("unknown", "unknown")),
    ],
)
def test_hard_lockup_detector(tmp_path: Path, line: str, expected: tuple[str, str]) -> None:
    found = report(tmp_path, *BOOT, line, INIT, "x")
    detector = found["verdict"]["consumers"]["lockup"]["detector"]
    assert (outcome(found, "hard-lockup-detector"), detector) == expected


def test_detector_that_starts_late_runs(tmp_path: Path) -> None:
    early = "watchdog: NMI not fully supported"
    late = "NMI watchdog: Enabled. Permanently consumes one hw-PMU counter."
    assert outcome(report(tmp_path, *BOOT, early, late, INIT, "x"), "hard-lockup-detector") == "pass"


@pytest.mark.parametrize(
    ("lines", "architecture"),
    [
        (("Linux version 6.1.0-18-amd64 (a@b) #1", "x86/fpu: Supporting XSAVE"), "x86"),
        (("Linux version 6.12.3 (a@b) #1", "riscv: base ISA extensions acdfim"), "riscv"),
    ],
)
def test_log_of_another_architecture(tmp_path: Path, lines: tuple[str, ...], architecture: str) -> None:
    found = report(tmp_path, *lines, INIT, "x")
    assert (*path_of(found), found["host"]["architecture"]) == ("not-applicable", None, architecture)


def test_log_that_shows_two_architectures(tmp_path: Path) -> None:
    found = report(tmp_path, "Linux version 6.1.0-18-amd64 (a@b) #1", "GICv3: 96 SPIs implemented", INIT, "x")
    assert (*path_of(found), found["host"]["architecture"]) == ("unknown", None, None)


@pytest.mark.parametrize("packed", [False, True])
def test_file_that_is_a_log(tmp_path: Path, *, packed: bool) -> None:
    console = load_host("dt-sdei").console
    log = tmp_path / "console.log"
    log.write_bytes(gzip.compress(console) if packed else console)
    done = sdeictl("probe", "--root", str(log), "--format", "json")
    assert (done.returncode, json.loads(done.stdout)["verdict"]["nmi_path"]) == (0, "sdei")


@pytest.mark.parametrize("form", ["text", "json", "prometheus", "nagios"])
def test_file_that_is_a_report(tmp_path: Path, form: str) -> None:
    host = load_host("dt-none")
    stored = tmp_path / "report.json"
    stored.write_bytes(sdeictl("probe", "--root", str(host.root), "--format", "json").stdout)
    now, then = (sdeictl("probe", "--root", str(path), "--format", form) for path in (host.root, stored))
    assert then.returncode == now.returncode != 0
    if form in ("text", "nagios"):
        assert then.stdout == now.stdout


@pytest.mark.parametrize("field", ["verdict", "host", "findings", "gaps"])
def test_report_without_a_field(tmp_path: Path, field: str) -> None:
    document = json.loads(
        sdeictl("probe", "--root", str(load_host("dt-none").root), "--format", "json").stdout
    )
    del document[field]
    (tmp_path / "report.json").write_text(json.dumps(document))
    done = sdeictl("probe", "--root", str(tmp_path / "report.json"))
    assert (done.returncode, done.stdout) == (3, b"")
    assert b"not a complete report" in done.stderr


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"hello\n", b"no kernel record"), (b"", b"no kernel record"),
        (b"\x1f\x8bgarbage", b"cannot be read"), (b"{}", b"is not a sdeictl.report/1"),
        (bytes(1000), b"it is not text"),
    ],
)  # fmt: skip
def test_file_of_something_else(tmp_path: Path, data: bytes, words: bytes) -> None:
    (tmp_path / "file").write_bytes(data)
    done = sdeictl("probe", "--root", str(tmp_path / "file"))
    assert (done.returncode, done.stdout) == (3, b"")
    assert words in done.stderr


@pytest.mark.parametrize(
    ("last", "complete"),
    [("_einittext", True), ("_end", True), ("_etext", False)],
)
def test_symbols_end_with_the_functions(tmp_path: Path, last: str, *, complete: bool) -> None:
    """Debian's kernels 5.10 and 6.1 list functions only (CONFIG_KALLSYMS_ALL=n)."""
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/kallsyms").write_text(f"0000000000000000 t sdei_probe\n0000000000000000 T {last}\n")
    facts = collect(open_root(str(tmp_path)))
    assert facts.symbols is not None
    assert (set(facts.symbols.names), facts.symbols.complete) == ({"sdei_probe"}, complete)
    assert complete is not any(gap.source == "/proc/kallsyms" for gap in facts.gaps)


def test_why_a_log_was_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "MAX_BOOT_BYTES", 1000)
    (tmp_path / "kmsg.txt").write_text("".join(f"6,{number},{number},-;usb\n" for number in range(100)))
    for path in (tmp_path, tmp_path / "kmsg.txt"):
        with pytest.raises(SdeictlError, match="its last boot needs more than"):
            report_at(str(path))
