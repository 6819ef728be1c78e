"""Records of /dev/kmsg: whole runs are read as line by line, and a gap in the sequence is counted once."""

from __future__ import annotations

from collections.abc import Iterator

from sdeictl_agent.collector import join_logs

from sdeictl.klog.kmsg import KmsgParser, parse_head, split_record, unescape
from sdeictl.klog.lines import clean_lines
from sdeictl.klog.log import parse_log
from tests.fuzz import logs
from tests.fuzz.harness import Target
from tests.fuzz.shapes import with_long_numbers
from tests.test_analysis_properties import as_kmsg


def seeds() -> Iterator[bytes]:
    yield from with_long_numbers(piece for piece in map(as_kmsg, logs.logs()) if piece)
    yield b"6,1,1000,-,caller=T1;a\\x0ab\n continued\n14,2,2000,c;user\n6,9,3000,-;late\n"


def check(data: bytes) -> None:
    lines = clean_lines(data.decode("utf-8", "replace"))
    slow, fast = KmsgParser(), KmsgParser()
    read = list(slow.parse(lines))
    run = fast.parse_run(lines)
    if run is not None:
        assert run.lines() == read
        assert (fast.lost, slow.lost) == (0, 0)
    assert slow.lost >= 0
    for line in lines:
        record = split_record(line)
        assert record is None or isinstance(unescape(record[1]), str)
    for raw in data.splitlines():
        head = parse_head(raw)
        assert head is None or min(head) >= 0
    joined = join_logs(data[: len(data) // 2], data)
    assert joined.endswith(data) or not any(map(parse_head, data.splitlines()))
    assert parse_log(data).lost >= 0


TARGET = Target(
    check, seeds, (parse_head, split_record, KmsgParser.parse, KmsgParser.parse_run), logs.WORDS, 8192
)
