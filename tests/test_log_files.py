"""`analyze` reads logs of any size in bounded memory, in several files, packed, or in a capture."""

from __future__ import annotations

import bz2
import ctypes
import gzip
import json
import lzma
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdeictl.host.open import open_root
from sdeictl.klog import analysis as module
from sdeictl.klog.analysis import FORGOTTEN, NO_RECORD, OMITTED, Source, analyze, analyze_files
from sdeictl.klog.document import analysis_document, analysis_json
from sdeictl.klog.episodes import Analysis, Backtrace
from sdeictl.klog.lines import MAX_LINE_CHARACTERS
from sdeictl.klog.log import CUT_LINE, LONG_LINE, SAMPLE_CHARACTERS, parse_log
from sdeictl.klog.render import render_analysis
from sdeictl.klog.seen import SURE_LINES
from sdeictl.probe.capture import make_capture, pack
from sdeictl.text import to_plain
from tests.conftest import HOST_NAMES, CapturedHost, load_host, validate
from tests.test_analysis_properties import EXAMPLES, FORMS
from tests.test_cli import sdeictl
from tests.test_wrappers import TIMED, WRAPPERS, joined

HOSTS = {name: load_host(name) for name in HOST_NAMES}
REQUEST = "Sending NMI from CPU 1 to CPUs 3:"


def read(*files: bytes, size: int = 1 << 16) -> Analysis:
    return analyze_files([source(f"file {at}", data, size) for at, data in enumerate(files)])


def source(name: str, data: bytes, size: int) -> Source:
    return Source(name, [data[at : at + size] for at in range(0, len(data), size)], lambda: ())


def timed(texts: Sequence[str], start: float = 50.0) -> bytes:
    return "".join(f"[{start + at:12.6f}] {text}\n" for at, text in enumerate(texts)).encode()


def filler(lines: int, start: float) -> bytes:
    return "".join(f"[{start + at / 1000:12.6f}] usb 1-1: number {at}\n" for at in range(lines)).encode()


@pytest.mark.parametrize("form", FORMS)
def test_lines_that_no_episode_needs_are_left_out(host: CapturedHost, form: str) -> None:
    log = FORMS[form](host.console)
    whole = analyze(parse_log(log))
    found = read(log)
    assert (found.episodes, found.records, found.architecture) == (
        whole.episodes, whole.records, whole.architecture
    )  # fmt: skip


@settings(max_examples=EXAMPLES // 3)
@given(st.sampled_from(HOST_NAMES), st.sampled_from(sorted(FORMS)), st.integers(100, 30_000))
def test_pieces_of_any_size(name: str, form: str, size: int) -> None:
    log = FORMS[form](HOSTS[name].console)
    assert read(log, size=size) == read(log, size=len(log))


@settings(max_examples=EXAMPLES // 3)
@given(st.lists(st.sampled_from(sorted(WRAPPERS)), max_size=3, unique=True), st.integers(1, 200))
def test_wrapped_log_in_small_pieces(names: list[str], size: int) -> None:
    lines = TIMED
    for name in names:
        lines = WRAPPERS[name](lines)
    data = joined(lines).encode()
    assert read(data, size=size) == read(data, size=len(data))


@pytest.mark.parametrize("name", ["mail", "HTML", "indented", "syslog tabs", "colours"])
def test_wrapper_goes_on_after_the_sample(name: str) -> None:
    early = filler(SAMPLE_CHARACTERS // 30, 1.0).decode().splitlines()
    lines = WRAPPERS[name]([*early, *(line.replace("[   ", "[ 9999") for line in TIMED)])
    assert [type(episode).__name__ for episode in read(joined(lines).encode()).episodes] == [
        "SoftLockup", "RcuStall", "Panic", "Stop"
    ]  # fmt: skip


def test_kernel_lines_after_a_long_text() -> None:
    text = b"Some prose about nothing.\n" * (SAMPLE_CHARACTERS // 20)
    assert len(read(text + timed([REQUEST])).episodes) == 1


def test_console_and_dmesg_are_one_log() -> None:
    console = timed([REQUEST, "NMI backtrace for cpu 3"])
    later = timed(["sysrq: Show backtrace of all active CPUs"], 70.0)
    dmesg = timed(["usb: only in dmesg"], 40.0) + console + later
    found = read(console, dmesg)
    (episode,) = found.episodes
    assert (episode.file, episode.boot) == (0, 0)
    assert [file.records for file in found.files] == [2, 2]
    assert found.records == 4
    validate("analysis-1", dict(analysis_document(found)))


def test_kmsg_and_dmesg_are_one_log() -> None:
    texts = ["usb 1-1: new", REQUEST, "NMI backtrace for cpu 3"]
    kmsg = "".join(f"4,{at},{50 + at}000000,-;{text}\n" for at, text in enumerate(texts)).encode()
    for files in ((kmsg, timed(texts)), (timed(texts), kmsg), (kmsg, kmsg)):
        found = read(*files)
        assert [file.records for file in found.files] == [3, 0]
        assert len(found.episodes) == 1
    # The same text at the same time, under another number, is another record.
    twice = kmsg + kmsg.replace(b"4,2,", b"4,3,").split(b"\n")[-2] + b"\n"
    assert read(twice).records == 4


def test_text_names_the_files() -> None:
    text = to_plain(render_analysis(read(timed([REQUEST]), timed([REQUEST, "usb: new"]))))
    assert text.splitlines()[1:4] == [
        "2 kernel records, 1 episode", "file 0: 1 of them", "file 1: 1 of them"
    ]  # fmt: skip
    assert "\nfile 0: 50.000000 s backtrace" in text


def test_rotated_logs() -> None:
    log = HOSTS["dt-sdei"].console.replace(b"\r", b"")
    middle = log.index(b"\n", log.index(b"Sending NMI")) + 1
    found = read(log[:middle], log[middle:])
    assert [episode._replace(file=0) for episode in found.episodes] == list(read(log).episodes)
    assert {episode.file for episode in found.episodes} == {0, 1}


def test_file_without_kernel_records() -> None:
    found = read(timed([REQUEST]), b"hello\n", timed([REQUEST]))
    assert [file.notes for file in found.files] == [(), (NO_RECORD,), (NO_RECORD,)]
    assert found.notes[:2] == (f"file 1: {NO_RECORD}", f"file 2: {NO_RECORD}")


def test_cut_line_of_the_first_file() -> None:
    found = read(timed([REQUEST])[:-1] + b"", timed(["Linux version 6.1.0"]))
    assert found.files[0].notes == (CUT_LINE, NO_RECORD)
    assert found.episodes == ()


def test_requests_of_a_very_large_machine() -> None:
    log = "".join(f"[{100 + 11 * at:12.6f}] Sending NMI from CPU 0 to CPUs 1-4095:\n" for at in range(60))
    found = read(log.encode())
    entries = [len(episode.cpus) for episode in found.episodes if isinstance(episode, Backtrace)]
    omitted = [episode.cpus_omitted for episode in found.episodes if isinstance(episode, Backtrace)]
    assert sum(entries) <= module.MAX_CPU_ENTRIES + len(entries)
    assert all(shown + left_out == 4096 for shown, left_out in zip(entries, omitted))
    assert all(len(episode.targets) == 4095 for episode in found.episodes if isinstance(episode, Backtrace))
    assert OMITTED.format(sum(omitted), module.MAX_CPU_ENTRIES) in found.notes
    assert entries[0] == 4096, "the first request is whole"


def test_answer_is_never_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_CPU_ENTRIES", 4)
    texts = ["Sending NMI from CPU 0 to CPUs 1-9:", "NMI backtrace for cpu 8", "NMI backtrace for cpu 9"]
    (episode,) = read(timed(texts)).episodes
    assert isinstance(episode, Backtrace)
    assert [cpu.cpu for cpu in episode.cpus] == [0, 1, 2, 8, 9]
    assert episode.cpus_omitted == 5


@pytest.mark.parametrize("name", ["dt-sdei", "debian-13"])
def test_json_episode_by_episode(name: str) -> None:
    found = read(HOSTS[name].console)
    for some in (found, found._replace(episodes=())):
        assert "".join(analysis_json(some)) == json.dumps(analysis_document(some), indent=2) + "\n"


def test_forgotten_quotation() -> None:
    long = filler(SURE_LINES + 110_000, 1.0)
    repeated = read(long + filler(2, 1.0))
    assert FORGOTTEN.format(SURE_LINES) in repeated.notes
    remembered = read(long + long[-60 * SURE_LINES // 10 :].partition(b"\n")[2])
    assert remembered.records == long.count(b"\n")
    assert remembered.notes == ()


def test_line_without_end() -> None:
    found = read(b"x" * 2 * MAX_LINE_CHARACTERS + b"\n" + timed([REQUEST]))
    assert (len(found.episodes), found.notes[0]) == (1, LONG_LINE)


def zstd(data: bytes) -> bytes:
    library = ctypes.CDLL("libzstd.so.1")
    target = ctypes.create_string_buffer(len(data) + 1000)
    size = library.ZSTD_compress(target, ctypes.c_size_t(len(target)), data, ctypes.c_size_t(len(data)), 3)
    return target.raw[:size]


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress, "xz": lzma.compress, "bz2": bz2.compress, "zst": zstd,
}  # fmt: skip


@pytest.mark.parametrize("packer", PACKERS)
def test_packed_files(tmp_path: Path, packer: str) -> None:
    log = filler(20_000, 1.0) + timed([REQUEST])
    packed = PACKERS[packer](log)
    (tmp_path / "whole").write_bytes(packed)
    (tmp_path / "cut").write_bytes(packed[: len(packed) // 2])
    (tmp_path / "broken").write_bytes(packed[:200] + b"?" * 500 + packed[700:])
    (tmp_path / "log").write_bytes(log)
    names = ("log", "whole", "cut", "broken")
    plain, whole, cut, broken = (
        sdeictl("analyze", "--format", "json", str(tmp_path / name)) for name in names
    )
    assert json.loads(whole.stdout)["episodes"] == json.loads(plain.stdout)["episodes"] != []
    assert b"Traceback" not in cut.stderr + broken.stderr
    # The frames of ZSTD_compress() have no checksum.
    for damaged in (cut,) if packer == "zst" else (cut, broken):
        said = json.loads(damaged.stdout)["notes"][0] if damaged.returncode == 0 else damaged.stderr.decode()
        assert "The end of the file is missing" in said


def test_capture(tmp_path: Path) -> None:
    (tmp_path / "dmesg.txt").write_bytes(HOSTS["dt-sdei"].console)
    capture = tmp_path / "host.tar.gz"
    capture.write_bytes(pack(make_capture(open_root(str(tmp_path)))))
    found = json.loads(sdeictl("analyze", "--format", "json", str(capture)).stdout)
    plain = [episode for episode in read(HOSTS["dt-sdei"].console).episodes if isinstance(episode, Backtrace)]
    assert "A capture keeps only" in found["notes"][0]
    states = [[cpu["state"] for cpu in episode["cpus"]] for episode in found["episodes"] if "cpus" in episode]
    assert [[str(cpu.state) for cpu in episode.cpus] for episode in plain] == states[: len(plain)]


def test_archive_that_is_no_capture(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tgz", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("etc/hostname"))
    done = sdeictl("analyze", str(tmp_path / "x.tgz"))
    assert (done.returncode, done.stdout) == (3, b"")
    assert b"cannot be read as a capture" in done.stderr


@pytest.mark.parametrize("arguments", [("/nonexistent", "-"), ("-", "/nonexistent")])
def test_file_that_does_not_exist(arguments: tuple[str, str]) -> None:
    done = sdeictl("analyze", *arguments, stdin=timed([REQUEST]))
    assert (done.returncode, done.stdout) == (2, b"")
