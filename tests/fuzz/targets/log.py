"""A kernel log in any format, to its document: valid, and the same in pieces of any size."""

from __future__ import annotations

import json
from collections.abc import Iterator

from sdeictl.klog.analysis import analyze
from sdeictl.klog.boot_reader import BootReader
from sdeictl.klog.bootlog import read_bootlog
from sdeictl.klog.boots import Boots
from sdeictl.klog.document import analysis_document, analysis_json
from sdeictl.klog.episodes import Analysis, Backtrace
from sdeictl.klog.kernel import Kernel
from sdeictl.klog.log import LogFile, parse_log, read_last_boot
from sdeictl.klog.render import render_analysis
from sdeictl.klog.text import TextParser
from sdeictl.klog.words import CpuState
from sdeictl.text import to_plain
from tests.conftest import validate
from tests.fuzz import logs
from tests.fuzz.harness import Target
from tests.fuzz.shapes import with_long_numbers

ANSWERED = (CpuState.BACKTRACE, CpuState.IDLE, CpuState.LATE, CpuState.SELF)


def seeds() -> Iterator[bytes]:
    yield from logs.logs()
    yield from with_long_numbers(logs.logs()[:3])


def check(data: bytes) -> None:
    parsed = parse_log(data)
    whole, pieces = logs.analyze_pieces([data]), logs.analyze_pieces(logs.pieces_of(data))
    if b"\0" not in data and data[:1] not in (
        b"\xef",
        b"\xff",
        b"\xfe",
    ):  # the first piece shows the encoding
        assert pieces.episodes == whole.episodes
        if not any(piece.isspace() for piece in logs.pieces_of(data)):  # blank pieces become one empty line
            assert pieces == whole
    assert (len(parsed.records), parsed.lost) == (whole.records, whole.records_lost)
    assert analyze(parsed).episodes == whole.episodes
    assert whole.records or not whole.episodes
    for episode in whole.episodes:
        if isinstance(episode, Backtrace):
            check_request(episode, whole)
    document = json.loads("".join(analysis_json(whole)))
    assert document == json.loads(json.dumps(analysis_document(whole)))
    if whole.episodes:
        validate("analysis-1", document)
    assert "\x1b" not in to_plain(render_analysis(whole))
    assert read_last_boot(logs.pieces_of(data)).last_boot() == parsed.last_boot() or pieces != whole
    bootlog = read_bootlog(parsed.last_boot())
    assert bootlog.started or not bootlog.complete
    assert len(bootlog.mpidrs) == len(bootlog.midrs)


def check_request(request: Backtrace, analysis: Analysis) -> None:
    numbers = [cpu.cpu for cpu in request.cpus]
    assert numbers == sorted(set(numbers))
    assert {request.initiator, *request.targets} - {None} >= set(numbers) or request.cpus_omitted
    for cpu in request.cpus:
        if cpu.state not in ANSWERED:
            assert (cpu.masked, cpu.pc, cpu.pstate) == (None, None, None), (
                "registers of a CPU without an answer"
            )
        if analysis.architecture not in (None, "arm64"):
            assert cpu.masked is None


TARGET = Target(
    check, seeds,
    (
        parse_log, read_last_boot, read_bootlog, LogFile.read, Boots.read, Boots.read_run, BootReader.read,
        Kernel.read, TextParser.parse, TextParser.parse_run,
    ),
    logs.WORDS,
)  # fmt: skip
