"""Entries of the journal: lines of the kernel's own records, the same in whatever pieces they arrive."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from sdeictl.klog.journald import BOUNDARY, EntryReader, is_journal, parse_journal
from sdeictl.klog.log import parse_log
from tests.fuzz import logs
from tests.fuzz.harness import Target
from tests.fuzz.shapes import with_long_numbers

LINE = re.compile(r"<\d+>\[ *\d+\.\d{6}\] .*")
ENTRY = {
    "_TRANSPORT": "kernel", "SYSLOG_FACILITY": "0", "PRIORITY": "6", "_SOURCE_MONOTONIC_TIMESTAMP": "1000000",
    "MESSAGE": [104, 105, 255], "_BOOT_ID": "1",
}  # fmt: skip


def seeds() -> Iterator[bytes]:
    yield from with_long_numbers(
        log for log in logs.logs() if is_journal(log.decode("utf-8", "replace").split("\n"))
    )
    text = json.dumps(ENTRY)
    yield from with_long_numbers((f"{text}\n{text.replace('1000000', '2000000')}\n".encode(),))
    yield f"[{text},\n{text.replace('_BOOT_ID', 'X')}]\n".encode()
    yield json.dumps({"log": "[    1.000000] hello\n", "stream": "stdout"}).encode() + b"\n"
    yield b'{"dmesg":[{"pri":6,"time":1e300,"msg":"x"},{"pri":-1,"time":-1,"msg":"y"}]}\n'


def check(data: bytes) -> None:
    lines = data.decode("utf-8", "replace").split("\n")[:-1]
    printed = parse_journal(data).decode().split("\n")[:-1]
    entries = EntryReader(lines)
    read = [found for line in lines for found in entries.read([line])] + entries.rest()
    assert "".join(f"{line}\n" for line in read) == "".join(f"{line}\n" for line in printed)
    if '"log"' not in data.decode("utf-8", "replace") and '"msg"' not in data.decode("utf-8", "replace"):
        assert all(line == BOUNDARY or LINE.fullmatch(line) for line in read), read
    parse_log(data)


TARGET = Target(
    check, seeds, (parse_journal, EntryReader.read), (*logs.WORDS, *(f'"{name}":"' for name in ENTRY)), 8192
)
