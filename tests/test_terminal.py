"""What a person sees at a terminal: the verdict first, nothing cut in mid-word, mistakes explained."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from sdeictl.host.open import open_root
from sdeictl.klog.analysis import Source, analyze_files
from sdeictl.klog.render import render_analysis
from sdeictl.probe.collect import collect
from sdeictl.probe.document import ReportDocument
from sdeictl.probe.metrics import exposition
from sdeictl.probe.nagios import plugin_line
from sdeictl.probe.report import build_report
from sdeictl.probe.text import render_report, verdict_word
from sdeictl.probe.words import OWNERS, Owner
from sdeictl.text import fitted, to_plain, wrapped
from tests.conftest import HOST_NAMES, NMI_PATHS, CapturedHost, Golden, load_host
from tests.support.tmux import running_tmux

WIDTHS = (40, 60, 80, 100, 200)
LINK = re.compile(r"^  ([a-z-]+)(?: \([a-z ]+\):| follows from)", re.MULTILINE)


def report_of(name: str) -> ReportDocument:
    return build_report(collect(open_root(str(load_host(name).root))))


def sdeictl(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).parent / "sdeictl"), *map(str, arguments)]
    variables = {name: value for name, value in os.environ.items() if name != "COLUMNS"} | environment
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=variables)


def on_terminal(rows: int, columns: int, *arguments: str) -> str:
    """Return what a command prints on a terminal of a size, without colour."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    variables = {name: value for name, value in os.environ.items() if name != "COLUMNS"} | {"TERM": "dumb"}
    command = [sys.executable, "-m", "sdeictl", *arguments]
    output = b""
    with subprocess.Popen(command, stdout=theirs, env=variables):
        os.close(theirs)
        while True:
            try:
                output += os.read(ours, 65536)
            except OSError:
                break
    os.close(ours)
    return output.replace(b"\r\n", b"\n").decode()


def test_wrapping() -> None:
    lines = to_plain(wrapped("one two, three-four a-very-long-word\nx", 10, "  ", head=(("h: ", ""),)))
    assert lines == "h: one\n  two,\n  three-four\n  a-very-long-word\\nx\n"
    assert to_plain(wrapped("", 10)) == ""
    assert to_plain(wrapped("", 10, head=(("head", ""),))) == "head\n"
    assert to_plain(wrapped("\x1b[1mx", 10)) == "\\x1b[1mx\n"


def test_fitted_lines() -> None:
    lines = [(("  risks  ", "dim"), ("one two three", "")), (("short", ""),), (("  four five six", ""),)]
    assert to_plain(fitted(lines, 14)) == "  risks  one\n    two three\nshort\n  four five\n      six\n"


@pytest.mark.parametrize("words", ["drill list", "drill status", "bench list", "explain", "drill backtrace"])
def test_other_commands_fit_the_width(words: str) -> None:
    for columns in ("60", "80"):
        lines = sdeictl(*words.split(), COLUMNS=columns).stdout.splitlines()
        assert max(map(len, lines)) <= int(columns)


@pytest.mark.parametrize("verbose", [False, True])
@pytest.mark.parametrize("width", WIDTHS)
def test_report_fits_the_width(host: CapturedHost, width: int, verbose: bool) -> None:
    report = build_report(collect(open_root(str(host.root))))
    text = to_plain(render_report(report, width, verbose=verbose))
    for line in text.splitlines():
        # A longer line is one long word, or the identifier of a check with its owner or outcome.
        assert len(line) <= width or len(line.split()) <= 2, line
    assert text.split() == to_plain(render_report(report, 10_000, verbose=verbose)).split()


@pytest.mark.parametrize("name", ["acpi-advertised", "stock-debian", "dt-idle"])
def test_report_fits_a_screen(name: str) -> None:
    lines = to_plain(render_report(report_of(name), 80)).splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 80


def test_missing_links_are_counted_by_one_rule(host: CapturedHost) -> None:
    report = build_report(collect(open_root(str(host.root))))
    missing = report["verdict"]["missing"]
    text = to_plain(render_report(report))
    section = text.partition("all of its links.\n")[2].partition("\n\n")[0]
    assert sorted(LINK.findall(section)) == sorted(missing)
    count = f"{len(missing)} link{'s are' if len(missing) > 1 else ' is'} missing." if missing else ""
    assert ("missing." in text) is bool(missing)
    assert count in text
    assert f"| missing={len(missing)} " in plugin_line(report)
    assert f"\nsdeictl_missing_links {len(missing)}.0\n" in exposition(report).decode()


def test_each_missing_link_has_remedy_and_owner(host: CapturedHost) -> None:
    report = build_report(collect(open_root(str(host.root))))
    text = " ".join(to_plain(render_report(report)).split())
    for finding in report["findings"]:
        if finding["outcome"] != "fail":
            continue
        told = f"{finding['id']} ({OWNERS[Owner(finding['owner'])]}): {finding['seen']}" in text
        follows = f"{finding['id']} follows from" in text
        helped = finding["remedy"] in text or f"see: sdeictl explain {finding['id']}" in text
        at_top = any(f"{word}: {finding['seen']}" in text for word in ("no hard-lockup detector", "hazard"))
        assert follows or (told and (helped or at_top)), finding["id"]


def test_hazard_makes_a_ready_host_at_risk() -> None:
    assert verdict_word(report_of("dt-idle")) == ("AT RISK", "bold yellow")
    assert verdict_word(report_of("dt-sdei")) == ("READY", "bold green")
    lines = to_plain(render_report(report_of("dt-idle"))).splitlines()
    assert lines[0] == "AT RISK  NMI path: sdei"
    assert lines[3].startswith("hazard: CPUs use the idle state standby")
    assert sdeictl("probe", "--root", load_host("dt-idle").root).returncode == 0


def test_verbose_shows_the_chain_in_causal_order(golden: Golden) -> None:
    report = report_of("acpi-advertised")
    text = to_plain(render_report(report, verbose=True))
    golden.check("acpi-advertised.verbose.txt", text)
    for finding in report["findings"]:
        assert re.search(rf"^  (pass|fail|unknown|n/a) +{finding['id']} ", text, re.MULTILINE)
        assert all(source in text for source in finding["sources"])
    places = [text.index(f" {name} ") for name in (
        "sdei-answered", "sdei-advertised", "sdei-conduit", "sdei-interface-built", "sdei-nmi-registered",
        "pseudo-nmi-gic", "pseudo-nmi-built", "pseudo-nmi-requested", "pseudo-nmi-enabled",
    ) if (text := text.partition("The chain of sdei:")[2] or text)]  # fmt: skip
    assert places == sorted(places)


def test_plain_output_has_counts_and_no_sources() -> None:
    text = to_plain(render_report(report_of("acpi-advertised")))
    assert "32 checks: 20 pass, 6 fail, 6 do not apply." in text
    assert "/proc/kallsyms" not in text
    assert "pseudo-nmi-built" not in text


def test_checks_without_a_source_are_one_list(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(load_host("dt-sdei").console)
    text = sdeictl("probe", "--root", log).stdout
    assert text.count("no source was read for:") == 1
    assert "absent: /proc/cpuinfo, /proc/version, /proc/cmdline" in text
    assert len(text.splitlines()) < 40


@pytest.mark.parametrize(
    ("columns", "widest"), [("60", 60), ("120", 120), ("none", 80), ("0", 80), ("9", 40)]
)
def test_columns_is_respected(columns: str, widest: int) -> None:
    lines = sdeictl("probe", "--root", load_host("dt-idle").root, COLUMNS=columns).stdout.splitlines()
    assert widest - 20 < max(map(len, lines)) <= widest


def test_last_line_repeats_the_verdict() -> None:
    arguments = ("probe", "--root", str(load_host("acpi-advertised").root))
    verdict = "NOT READY  NMI path: none"
    short, tall = on_terminal(24, 80, *arguments), on_terminal(100, 80, *arguments)
    assert (short.splitlines()[0], short.splitlines()[-1]) == (verdict, verdict)
    assert tall.count(verdict) == 1
    assert tall == sdeictl(*arguments).stdout
    assert max(map(len, on_terminal(24, 60, *arguments).splitlines())) <= 60


def test_several_hosts(tmp_path: Path) -> None:
    good, bad = load_host("dt-sdei").root, load_host("dt-none").root
    risk = load_host("dt-idle").root
    (tmp_path / "empty").mkdir()
    done = sdeictl("probe", "--root", good, "--root", bad, "--root", risk, "--root", tmp_path / "empty")
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines[:4]] == ["READY", "NOT", "AT", "UNREADABLE"]
    assert [line.split()[-1] for line in lines[:4]] == [str(good), str(bad), str(risk), f"{tmp_path}/empty"]
    assert f"\n== {good}\n" not in done.stdout
    assert f"\n== {bad}\nNOT READY  NMI path: none\n" in done.stdout
    assert f"\n== {risk}\nAT RISK  NMI path: sdei\n" in done.stdout
    assert f"{tmp_path}/empty holds none of a host's files" in done.stderr
    assert sdeictl("probe", "--root", good, "--root", risk).returncode == 0
    assert sdeictl("probe", "--root", good, "--root", tmp_path / "empty").returncode == 3


def test_several_hosts_as_a_list(tmp_path: Path) -> None:
    good = load_host("dt-sdei").root
    (tmp_path / "bad.json").write_text(sdeictl("probe", "--root", good, "--format", "json").stdout)
    done = sdeictl("probe", "--root", good, "--root", tmp_path / "bad.json", "--format", "json")
    assert [report["verdict"]["nmi_path"] for report in json.loads(done.stdout)] == ["sdei", "sdei"]
    assert isinstance(json.loads(sdeictl("probe", "--root", good, "--format", "json").stdout), dict)


@pytest.mark.parametrize("more", [
    ("--format", "prometheus"), ("--format", "nagios"), ("--kernel-log", "-"), ("--deep",),
    ("--root", "/no/such"), ("--compare", "/", "/"),
])  # fmt: skip
def test_several_hosts_go_with_little(more: tuple[str, ...]) -> None:
    root = load_host("dt-sdei").root
    done = sdeictl("probe", "--root", root, "--root", root, *more)
    assert (done.returncode, done.stdout) == (2, "")


def test_directory_without_a_host(tmp_path: Path) -> None:
    (tmp_path / "hosts").mkdir()
    done = sdeictl("probe", "--root", tmp_path)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith(f"sdeictl: {tmp_path} holds none of a host's files")
    shutil.copytree(load_host("dt-sdei").root, tmp_path / "hosts/h1", symlinks=True)
    for command in (("probe", "--root"), ("probe", "--compare", tmp_path / "hosts/h1")):
        one_too_high = sdeictl(*command, tmp_path / "hosts")
        assert one_too_high.returncode == 3
        assert f"; {tmp_path}/hosts/h1 has some" in one_too_high.stderr


def test_denied_here_is_no_fault_of_the_capture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(load_host("dt-sdei").root, tmp_path / "tree", symlinks=True)
    manifest = tmp_path / "tree/sdeictl-capture.json"
    facts = json.loads(manifest.read_text())
    facts.setdefault("failures", {})["/proc/cmdline"] = "EACCES"
    manifest.write_text(json.dumps(facts))
    real = os.open

    def open_file(path: str, *rest: int, **more: int) -> int:
        if str(path).endswith("proc/kallsyms"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return real(path, *rest, **more)

    monkeypatch.setattr(os, "open", open_file)
    gaps = {gap.source: gap.detail for gap in collect(open_root(str(tmp_path / "tree"))).gaps}
    assert gaps["/proc/cmdline"].startswith("permission was denied during the capture")
    assert gaps["/proc/kallsyms"] == "permission denied: run as root"


def analysis_text(log: bytes, width: int = 80) -> list[str]:
    return to_plain(render_analysis(analyze_files([Source("log", [log], list)]), width)).splitlines()


def test_analysis_begins_with_its_conclusion() -> None:
    text = " ".join(analysis_text(load_host("dt-none").console)[:4])
    assert text.startswith("Stuck: CPU 1 (hard lockup")
    assert "CPU 1 did not answer; CPUs 2, 3 answered." in text
    assert "The kernel panicked." in text
    good = " ".join(analysis_text(load_host("dt-sdei").console)[:3])
    assert "path sdei: CPUs 1, 2, 3 answered." in good


@pytest.mark.parametrize(("answers", "word"), [
    (("NMI backtrace for cpu 1", None), "did not answer each time"),
    ((None, None), "did not answer"),
    (("NMI backtrace for cpu 1", "NMI backtrace for cpu 1"), "answered"),
])  # fmt: skip
def test_conclusion_tells_never_from_sometimes(answers: tuple[str | None, ...], word: str) -> None:
    lines = []
    for number, answer in enumerate(answers):
        at = 100 * (number + 1)
        lines.append(f"[  {at}.000000] Sending NMI from CPU 0 to CPUs 1:")
        if answer:
            lines.append(f"[  {at}.100000] {answer}")
        lines.append(f"[  {at + 50}.000000] usb: new device")
    text = " ".join(analysis_text("\n".join([*lines, ""]).encode()))
    assert f"2 backtrace requests: CPU 1 {word}." in text


def test_states_are_explained_where_they_appear(host: CapturedHost) -> None:
    lines = analysis_text(host.console)
    for state in ("self", "idle", "silent", "pending", "late", "answered"):
        used = [at for at, line in enumerate(lines) if re.match(rf"  cpu \d+ +{state}\b", line)]
        explained = [at for at, line in enumerate(lines) if line.startswith(f"      {state}: ")]
        assert len(explained) == bool(used), state
        assert not used or "" not in lines[used[0] : explained[0]]
    assert all(len(line) <= 80 for line in lines)


def test_silence_and_lockups_are_coloured() -> None:
    lines = list(render_analysis(analyze_files([Source("log", [load_host("dt-none").console], list)])))
    pieces = {(text.strip(), style) for line in lines for text, style in line}
    assert ("silent", "red") in pieces
    assert any(text.startswith("hard lockup of CPU 1") and style == "bold red" for text, style in pieces)
    assert not any(text == "idle" and style for text, style in pieces)


def test_each_sentence_has_a_subject(host: CapturedHost) -> None:
    """A reader of one line does not know what `it` is."""
    for finding in build_report(collect(open_root(str(host.root))))["findings"]:
        assert not re.match(r"(it|they|there|its|is|are|has|was)\b", finding["seen"]), finding["seen"]


def test_help_shows_each_command() -> None:
    assert sdeictl("help").stdout == sdeictl("--help").stdout
    assert sdeictl("help", "probe").stdout == sdeictl("probe", "--help").stdout
    assert sdeictl("help", "drill", "stop").stdout == sdeictl("drill", "stop", "--help").stdout
    for words, sentence in (
        (("prob",), "there is no command 'prob'; did you mean probe?"),
        (("probe", "more"), "`sdeictl probe` has no further commands"),
    ):
        done = sdeictl("help", *words)
        assert (done.returncode, done.stdout) == (2, "")
        assert sentence in done.stderr


@pytest.mark.parametrize(("words", "sentence"), [
    (("porbe",), "there is no command 'porbe'; did you mean probe?"),
    (("zzz",), "there is no command 'zzz'; `sdeictl --help` lists the commands"),
    (("drill", "backtrce"), "there is no command 'backtrce'; did you mean backtrace?"),
    (("fleet", "raport"), "there is no command 'raport'; did you mean report?"),
    (("probe", "--rot", "x"), "there is no option --rot; did you mean --root?"),
    (("probe", "--zzz"), "there is no option --zzz; `sdeictl probe --help` lists the options"),
    (("bench", "run", "getpid"), "the call getpid does not exist; did you mean getppid or"),
    (("bench", "run", "zzz"), "the call zzz does not exist; `sdeictl bench list` names the calls"),
    (("explain", "sdei-anwsered"), "there is no check 'sdei-anwsered'; did you mean sdei-answered or"),
    (("explain", "lockup"), "did you mean hard-lockup-detector or soft-lockup-detector or no-lockup-seen?"),
])  # fmt: skip
def test_mistakes_get_a_suggestion(words: tuple[str, ...], sentence: str) -> None:
    done = sdeictl(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert sentence in " ".join(done.stderr.split())


@pytest.mark.parametrize("module", [
    "sdeictl.cli", "click", "sdeictl.errors", "sdeictl.commands.probe", "sdeictl.probe.collect",
    "sdeictl.host.directory",
])  # fmt: skip
def test_interrupted_import_has_no_traceback(module: str) -> None:
    program = f"""
import sys
class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupt())
sys.argv = ["sdeictl", "probe", "--root", {str(load_host("dt-sdei").root)!r}]
from sdeictl.__main__ import main
main()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr.strip()) == (130, "", "")


def test_arming_needs_a_host_for_drills() -> None:
    done = sdeictl("drill", "arm", "--for", "10m")
    assert done.returncode in (3, 4)
    assert done.stdout == ""
    assert done.stderr.startswith("sdeictl: nothing that needs arming can run here. ")


def screen(tmp_path: Path, size: tuple[int, int], command: str, **environment: str) -> str:
    """Return what tmux shows of a command on a screen of a size, with the lines that scrolled away."""
    words = " ".join(f"{name}={value}" for name, value in environment.items())
    hosts, programs = load_host("dt-sdei").root.parent.parent, Path(sys.executable).parent
    script = tmp_path / "script"
    script.write_text(f"cd {hosts}\nPATH={programs}:$PATH {words} {command}\ntmux wait -S done\nsleep 60\n")
    with running_tmux(f"sh {script}", size) as tmux:
        tmux("wait", "done")
        return tmux("capture-pane", "-p", "-e", "-S", "-").rstrip("\n") + "\n"


ESCAPES = re.compile(r"\x1b\[[\d;]*m")
SIZES = ((80, 24), (100, 40), (60, 30))
COMMANDS = (
    *(f"sdeictl probe --root {name}/root" for name in ("acpi-advertised", "dt-idle", "stock-debian")),
    "sdeictl probe --root dt-sdei/root --root dt-none/root",
    "sdeictl analyze dt-none/console.log",
    "sdeictl explain sdei-answered",
)


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_recorded_session(tmp_path: Path, golden: Golden, size: tuple[int, int]) -> None:
    said = "".join(f"$ {each}\n{screen(tmp_path, size, each)}\n" for each in COMMANDS)
    plain = ESCAPES.sub("", said)
    golden.check(f"session-{size[0]}x{size[1]}.txt", plain)
    assert all(len(line) <= size[0] or line.startswith("$ ") for line in plain.splitlines())
    assert "\x1b" not in plain


@pytest.mark.parametrize(
    "environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}, {"LC_ALL": "C"}], ids=lambda e: next(iter(e))
)
def test_recorded_session_without_colour(tmp_path: Path, environment: dict[str, str]) -> None:
    command = COMMANDS[0]
    coloured = screen(tmp_path, SIZES[0], command)
    shown = screen(tmp_path, SIZES[0], command, **environment)
    assert ESCAPES.sub("", shown) == ESCAPES.sub("", coloured)
    assert "\x1b[31m" in coloured
    assert ("\x1b[31m" in shown) is ("LC_ALL" in environment)


def test_hosts_of_the_session_exist() -> None:
    assert {"acpi-advertised", "dt-idle", "stock-debian", "dt-none"} <= set(HOST_NAMES)
    assert NMI_PATHS["dt-none"] == "none"


@pytest.mark.parametrize("words", ["--help", "--version", "probe --help", "help probe", "version"])
def test_help_that_nobody_reads_is_no_answer(words: str) -> None:
    """Status 1 says that a host cannot reach a masked CPU."""
    ours, theirs = os.pipe()
    os.close(ours)
    command = [str(Path(sys.executable).parent / "sdeictl"), *words.split()]
    done = subprocess.run(command, stdout=theirs, stderr=subprocess.PIPE, check=False, timeout=60)
    os.close(theirs)
    assert (done.returncode, done.stderr) == (0, b"")


def test_one_host_named_twice() -> None:
    root = load_host("dt-sdei").root
    done = sdeictl("probe", "--root", root, "--root", root)
    assert (done.returncode, done.stdout.count("READY  ")) == (0, 2)


@pytest.mark.skipif(os.uname().machine == "aarch64", reason="there the log replaces that of this host")
def test_log_of_another_host_is_judged_alone(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(load_host("dt-sdei").console)
    assert sdeictl("probe", "--kernel-log", log).stdout.startswith("READY  NMI path: sdei\n")
    log.write_text("nothing\n")
    done = sdeictl("probe", "--kernel-log", log)
    assert (done.returncode, done.stdout) == (3, "")
    assert "it holds none of a host's files and no kernel record" in done.stderr


def test_escapes_in_a_name_stay_harmless(tmp_path: Path) -> None:
    done = sdeictl("probe", "--root", tmp_path / "\x1b[31mred")
    assert (done.returncode, "\x1b" in done.stderr) == (2, False)


def test_remedy_belongs_to_the_owner() -> None:
    """The kernel did not ask the firmware: its vendor can do nothing about that."""
    finding = next(each for each in report_of("debian-11")["findings"] if each["id"] == "sdei-answered")
    assert (finding["outcome"], finding["owner"]) == ("fail", "kernel")
    assert finding["remedy"].startswith("Build the kernel with CONFIG_ARM_SDE_INTERFACE=y")


def test_work_is_not_begun_for_a_file_that_cannot_be(tmp_path: Path) -> None:
    done = sdeictl("bench", "run", "--seconds", "600", "--output", tmp_path / "none/x.json")
    assert (done.returncode, done.stdout) == (2, "")
    assert "is not a directory" in done.stderr
