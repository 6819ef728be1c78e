"""The commands as a user runs them: output, exit status, usage errors, internal errors."""

from __future__ import annotations

import gzip
import json
import os
import platform
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from sdeictl.klog.conclusion import NOTHING
from tests.conftest import NMI_PATHS, TESTS, load_host, validate

STATUS = {"sdei": 0, "pseudo-nmi": 0, "none": 1}
DT_SDEI = str(TESTS / "hosts/dt-sdei/root")
FAILING_VERSION = """
from sdeictl.cli import main
from sdeictl.commands import version
def fail(*_):
    raise {error}
version.print_result = fail
main()
"""


def sdeictl(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "sdeictl", *arguments],
        input=stdin,
        capture_output=True,
        check=False,
        timeout=60,
    )


def run_failing_version(
    *arguments: str, debug: str | None = None, error: str = 'ValueError("a bug")'
) -> subprocess.CompletedProcess[str]:
    """Run `sdeictl version`, which fails with an error; `debug` is the value of SDEICTL_DEBUG."""
    environment = {name: value for name, value in os.environ.items() if name != "SDEICTL_DEBUG"}
    if debug is not None:
        environment["SDEICTL_DEBUG"] = debug
    return subprocess.run(
        [sys.executable, "-c", FAILING_VERSION.format(error=error), *arguments],
        env=environment, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("name", ["dt-sdei", "dt-pnmi", "dt-none"])
def test_probe_of_each_path(name: str, form: str) -> None:
    path = NMI_PATHS[name]
    done = sdeictl("probe", "--root", str(load_host(name).root), "--format", form)
    assert (done.returncode, done.stderr) == (STATUS[path], b"")
    if form == "json":
        assert json.loads(done.stdout)["verdict"]["nmi_path"] == path
    else:
        first = done.stdout.splitlines()[0].decode()
        assert first.startswith(("READY", "AT RISK", "NOT READY"))
        assert first.endswith(path)


@pytest.mark.skipif(platform.machine() == "aarch64", reason="needs another architecture than arm64")
def test_live_probe_off_arm64() -> None:
    done = sdeictl("probe")
    assert done.returncode == 3
    assert done.stdout.startswith(b"NOT APPLICABLE  NMI path: not-applicable\n")


@pytest.mark.skipif(platform.machine() == "aarch64", reason="needs another architecture than arm64")
@pytest.mark.parametrize("arguments", [(), ("--masked",), ("--masked", "--cpu", "99", "--seconds", "500")])
def test_drill_off_arm64_is_refused(arguments: tuple[str, ...]) -> None:
    done = sdeictl("drill", "backtrace", "--format", "json", *arguments)
    result = json.loads(done.stdout)
    validate("drill-1", result)
    assert (done.returncode, done.stderr, result["outcome"]) == (3, b"", "refused")
    assert "This host is not arm64" in result["reasons"][0]
    dry = sdeictl("drill", "backtrace", "--dry-run", *arguments)
    assert (dry.returncode, dry.stdout[:8]) == (3, b"refused:")
    assert sdeictl("drill", "backtrace", *arguments).stdout == dry.stdout
    plan = json.loads(sdeictl("drill", "backtrace", "--dry-run", "--format", "json", *arguments).stdout)
    validate("plan-1", plan)
    assert (plan["plan"], [reason["text"] for reason in plan["reasons"]]) == (None, result["reasons"])


def test_drill_list_and_status() -> None:
    names = [
        drill["name"] for drill in json.loads(sdeictl("drill", "list", "--format", "json").stdout)["drills"]
    ]
    assert names == [
        "backtrace", "backtrace --masked", "lockup", "lockup --permanent", "stop", "crash",
    ]  # fmt: skip
    assert sdeictl("drill", "list").stdout.startswith(b"sdeictl drill backtrace\n  proves")
    status = json.loads(sdeictl("drill", "status", "--format", "json").stdout)
    validate("drill-status-1", status)


@pytest.mark.parametrize("name", ["dt-sdei", "acpi-idle", "debian-12"])
def test_analyze_file_and_standard_input(name: str) -> None:
    console = TESTS / "hosts" / name / "console.log"
    by_name, by_stdin = sdeictl("analyze", str(console)), sdeictl("analyze", "-", stdin=console.read_bytes())
    assert (by_name.returncode, by_name.stderr) == (0, b"")
    assert by_name.stdout == by_stdin.stdout
    assert (
        json.loads(sdeictl("analyze", str(console), "--format", "json").stdout)["schema"]
        == "sdeictl.analysis/1"
    )


def test_capture_of_this_machine(tmp_path: Path) -> None:
    out = tmp_path / "out.tar.gz"
    done = sdeictl("capture", str(out))
    assert (done.returncode, done.stdout) == (0, b"")
    assert b"left out of /proc/version" in done.stderr
    again = sdeictl("capture", str(out))
    assert (again.returncode, again.stderr) == (
        2,
        f"sdeictl: {out} exists already; choose another name\n".encode(),
    )
    assert sdeictl("probe", "--root", str(out)).returncode == sdeictl("probe").returncode


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        ((), 2, "Usage:"),
        (("nonsense",), 2, "there is no command"),
        (("probe", "--nonsense"), 2, "there is no option"),
        (("probe", "extra"), 2, "unexpected extra argument"),
        (("probe", "--format", "xml"), 2, "is not one of"),
        (("probe", "--root", "/no/such/path"), 2, "/no/such/path does not exist"),
        (("probe", "--root", "/etc/passwd"), 3, "cannot be read as a capture"),
        (("probe", "--root", DT_SDEI, "--kernel-log", "/no/such"), 2, "/no/such does not exist"),
        (("probe", "--root", DT_SDEI, "--kernel-log", "/"), 3, "cannot be read"),
        (("analyze",), 2, "Missing argument"),
        (("analyze", "/no/such"), 2, "/no/such does not exist"),
        (("analyze", "/"), 3, "cannot be read"),
        (("analyze", "/etc/passwd"), 3, "no kernel record"),
        (("analyze", "-"), 3, "no kernel record in the input"),
        (("capture",), 2, "Missing argument"),
        (("drill",), 2, "Usage:"),
        (("drill", "nonsense"), 2, "there is no command"),
        (("drill", "backtrace", "--cpu", "3"), 2, "--cpu, --seconds and --provider go with --masked"),
        (("drill", "backtrace", "--provider", "bpf"), 2, "--provider go with --masked"),
        (("drill", "backtrace", "--seconds", "1"), 2, "--provider go with --masked"),
        (("drill", "arm"), 2, "one of --for and --off is needed"),
        (("drill", "arm", "--for", "10m", "--off"), 2, "one of --for and --off is needed"),
        (("drill", "arm", "--for", "2h"), 2, "an hour at most"),
        (("drill", "resume", "--evidence", "/nonexistent"), 2, "/nonexistent does not exist"),
        (("bench", "run", "--workload", "nonexistent"), 2, "the program nonexistent does not exist"),
        (("drill", "backtrace", "--masked", "--cpu", "-1"), 2, "--cpu"),
        (("drill", "backtrace", "--masked", "--cpu", "x"), 2, "is not a valid integer"),
        (("drill", "backtrace", "--masked", "--provider", "lkdtm"), 2, "is not one of"),
        (("drill", "backtrace", "--masked", "--seconds", "nan"), 2, "must be a number of seconds"),
        (("drill", "backtrace", "--masked", "--seconds", "inf"), 2, "must be a number of seconds"),
        (("drill", "backtrace", "extra"), 2, "unexpected extra argument"),
        (("capture", "/no/such/dir/out.tar.gz"), 2, "cannot be written"),
    ],
)
def test_usage_error_has_sentence_and_status(arguments: tuple[str, ...], status: int, sentence: str) -> None:
    done = sdeictl(*arguments)
    assert done.returncode == status
    assert sentence in done.stderr.decode()
    assert "Traceback" not in done.stderr.decode()


def test_version_and_help() -> None:
    assert sdeictl("--version").stdout == sdeictl("version").stdout
    assert json.loads(sdeictl("version", "--format", "json").stdout)["name"] == "sdeictl"
    for command in (
        (), ("probe",), ("capture",), ("analyze",), ("drill",),
        ("drill", "backtrace"), ("drill", "status"), ("drill", "resume"), ("drill", "list"),
    ):  # fmt: skip
        done = sdeictl(*command, "--help")
        assert (done.returncode, done.stdout[:6]) == (0, b"Usage:")


@pytest.mark.parametrize("form", ["text", "json"])
def test_closed_pipe_keeps_status(form: str) -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    for name, status in (("dt-sdei", 0), ("dt-none", 1)):
        command = [
            sys.executable,
            "-m",
            "sdeictl",
            "probe",
            "--root",
            f"{TESTS}/hosts/{name}/root",
            "--format",
            form,
        ]
        done = subprocess.run(command, stdout=theirs, stderr=subprocess.PIPE, check=False, timeout=60)
        assert (done.returncode, done.stderr) == (status, b"")
    os.close(theirs)


def test_unwritable_output_is_reported() -> None:
    command = f"{sys.executable} -m sdeictl probe --root {DT_SDEI}"
    for redirection, sentence in (
        (">/dev/full", b"the result cannot be written: No space left on device"),
        (">&-", b"standard output is closed"),
    ):
        done = subprocess.run(
            ["sh", "-c", command + redirection], stderr=subprocess.PIPE, check=False, timeout=60
        )
        assert done.returncode == 3
        assert done.stderr == b"sdeictl: %b\n" % sentence


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (f"probe --root {DT_SDEI}", 3),
        ("--help", 3),
        ("drill --help", 3),
        ("analyze /nonexistent", 2),
        ("x", 2),
    ],
)
def test_status_without_any_output(arguments: str, status: int) -> None:
    command = f"{sys.executable} -m sdeictl {arguments} >/dev/full 2>&1"
    assert subprocess.run(["sh", "-c", command], check=False, timeout=60).returncode == status


def test_huge_log_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "huge").open("wb") as huge:
        huge.truncate(1 << 40)
    done = sdeictl("analyze", str(tmp_path / "huge"))
    assert (done.returncode, b"it has more than 4 GiB" in done.stderr) == (3, True)


def test_capture_to_standard_output(tmp_path: Path) -> None:
    done = sdeictl("capture", "-")
    (tmp_path / "c.tar.gz").write_bytes(done.stdout)
    assert sdeictl("probe", "--root", str(tmp_path / "c.tar.gz")).returncode == sdeictl("probe").returncode


def test_packed_log_on_standard_input() -> None:
    done = sdeictl("analyze", "-", stdin=gzip.compress(b"[    1.000000] SMP: Total\n"))
    assert (done.returncode, done.stdout) == (0, f"{NOTHING}\n1 kernel record, no episode\n".encode())


def terminal_output(environment: dict[str, str], *arguments: str) -> bytes:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "sdeictl", *arguments]
    with subprocess.Popen(command, stdout=theirs, env=os.environ | environment):
        os.close(theirs)
        output = b""
        while True:
            try:
                chunk = os.read(ours, 65536)
            except OSError:
                break
            output += chunk
    os.close(ours)
    return output.replace(b"\r\n", b"\n")


def test_colour_only_on_a_terminal() -> None:
    arguments = ("analyze", f"{TESTS}/hosts/dt-sdei/console.log")
    plain = sdeictl(*arguments).stdout
    assert b"\x1b[" in terminal_output({"TERM": "xterm", "NO_COLOR": "", "COLUMNS": "200"}, *arguments)
    for environment in ({"TERM": "xterm", "NO_COLOR": "1"}, {"TERM": "dumb"}):
        assert b"\x1b[3" not in terminal_output(environment, *arguments)
    assert terminal_output({"TERM": "dumb"}, *arguments).split() == plain.split()


def test_kernel_text_is_never_markup(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"[    1.000000] Kernel panic - not syncing: [/foo] [none] \x1b]0;title\x07\n")
    for output in (
        sdeictl("analyze", str(log)).stdout,
        terminal_output({"TERM": "xterm"}, "analyze", str(log)),
    ):
        assert b"[/foo] [none] \\x1b]0;title\\x07" in output


def test_rich_only_on_a_terminal() -> None:
    check = """
import sys
from sdeictl.cli import cli
try:
    cli(["probe", "--root", sys.argv[1]], standalone_mode=False)
except SystemExit as end:
    assert end.code == 0
assert "rich" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", check, DT_SDEI], check=True, capture_output=True, timeout=60)


@pytest.mark.parametrize("debug", [None, "", "0"])
def test_internal_error_is_one_sentence(debug: str | None) -> None:
    done = run_failing_version("version", debug=debug)
    sentence = "internal error: ValueError: a bug; run again with --debug to see the traceback"
    assert (done.returncode, done.stdout, done.stderr) == (70, "", f"sdeictl: {sentence}\n")


@pytest.mark.parametrize(("arguments", "debug"), [(("--debug", "version"), None), (("version",), "1")])
def test_debug_shows_the_traceback(arguments: tuple[str, ...], debug: str | None) -> None:
    done = run_failing_version(*arguments, debug=debug)
    assert (done.returncode, done.stdout) == (70, "")
    assert done.stderr.startswith("Traceback (most recent call last):\n")
    assert ", in fail\n" in done.stderr
    assert done.stderr.endswith("\nValueError: a bug\nsdeictl: internal error: ValueError: a bug\n")


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        ('OSError(5, "Input/output error", "/a")', "a system call failed: /a: Input/output error"),
        ('ImportError("no such module")', "a part of sdeictl cannot be loaded: no such module"),
    ],
)
def test_debug_keeps_the_status(error: str, sentence: str) -> None:
    done = run_failing_version("version", error=error)
    assert (done.returncode, done.stdout, done.stderr) == (3, "", f"sdeictl: {sentence}\n")
    traced = run_failing_version("--debug", "version", error=error)
    assert (traced.returncode, traced.stdout) == (3, "")
    assert traced.stderr.startswith("Traceback (most recent call last):\n")
    assert traced.stderr.endswith(f"\nsdeictl: {sentence}\n")


def test_debug_without_a_bug() -> None:
    assert sdeictl("--debug", "version").stdout == sdeictl("version").stdout
    done = sdeictl("--debug", "analyze", "/no/such")
    assert (done.returncode, done.stderr) == (2, b"sdeictl: /no/such does not exist\n")
