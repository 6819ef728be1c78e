"""Kernel logs of every format become the same records."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdeictl.klog.analysis import analyze
from sdeictl.klog.bootlog import read_bootlog
from sdeictl.klog.kmsg import parse_head
from sdeictl.klog.log import parse_log
from sdeictl.klog.records import KernelLog, Record


def texts(log: bytes) -> list[str]:
    return [record.text for record in parse_log(log).records]


def boots(log: bytes) -> list[tuple[int, str]]:
    return [(record.boot, record.text) for record in parse_log(log).records]


@pytest.mark.parametrize(
    ("line", "record"),
    [
        (b"6,339,5140900,-;NET: Registered\n", Record("NET: Registered", 5.1409)),
        (b"6,339,5140900,-,caller=T12;NET: Registered\n", Record("NET: Registered", 5.1409, caller="T12")),
        (b"[    5.140900] NET: Registered\n", Record("NET: Registered", 5.1409)),
        (b"[    5.140900][   C3] NET: Registered\n", Record("NET: Registered", 5.1409, caller="C3")),
        (b"<6>[    5.140900] NET: Registered\n", Record("NET: Registered", 5.1409)),
        (b"kern  :info  : [    5.140900] NET: Registered\n", Record("NET: Registered", 5.1409)),
        (b"lab login: [    5.140900] NET: Registered\r\n", Record("NET: Registered", 5.1409)),
        (b"[Mon Nov 23 13:00:05 2026] SMP: Total\n", Record("SMP: Total", None)),
        (b"Nov 23 13:00:05 host kernel: SMP: Total\n", Record("SMP: Total", None)),
        (b"[    5.140900] [   C3] NET: Registered\n", Record("NET: Registered", 5.1409, caller="C3")),
        (
            b"\x1b[32m[    5.140900] \x1b[0m\x1b[33mNET: \x1b[0mRegistered\n",
            Record("NET: Registered", 5.1409),
        ),
        (b"kern  :info  : [Mon Nov 23 13:00:05 2026] SMP: Total\n", Record("SMP: Total", None)),
        (b"kern  :info  : SMP: Total\n", Record("SMP: Total", None)),
        (b"<6>SMP: Total\n", Record("SMP: Total", None)),
        (b"SMP: Total\n", Record("SMP: Total", None)),
    ],
)
def test_line_formats(line: bytes, record: Record) -> None:
    assert parse_log(line) == KernelLog((record,), 0, relayed=b"host kernel: " in line)


@pytest.mark.parametrize(
    ("record", "head"),
    [
        (b"6,339,5140900,-;text", (6, 339, 5140900)),
        (b"6,%d,1,-;text" % (2**64 - 1), (6, 2**64 - 1, 1)),
        (b"6,%b,1,-;text" % (b"9" * 5000), None),
        (b"6,1,%b,-;text" % (b"9" * 400), None),
        (b" SUBSYSTEM=pci", None),
        (b"6,339,5140900", None),
        (b"6,-1,1,-;text", None),
    ],
)
def test_head_of_a_record(record: bytes, head: tuple[int, int, int] | None) -> None:
    assert parse_head(record) == head


@pytest.mark.parametrize("text", ["x", "x \\x09"])
@pytest.mark.parametrize(("priority", "count"), [("0", 1), ("7", 1), ("8", 0), ("07", 0), ("4294967295", 0)])
def test_priority_of_a_kernel_record(priority: str, count: int, text: str) -> None:
    assert len(parse_log(f"{priority},1,1000000,-;{text}\n".encode()).records) == count


@pytest.mark.parametrize("text", ["panic", "panic \\x09"])
@pytest.mark.parametrize(
    ("flags", "caller"),
    [
        ("-,caller=C3", "C3"), ("c,caller=T12,SUBSYSTEM=pci", "T12"), ("-", None), ("-,caller=Cx", None),
        ("-,caller=C3x", None), ("-,caller=C" + "9" * 5000, None), ("-,notcaller=C3", None),
    ],
)  # fmt: skip
def test_only_a_known_caller_counts(flags: str, caller: str | None, text: str) -> None:
    """A record with an escape is read alone, any other one together with its neighbours."""
    log = f"6,1,1000000,{flags};Kernel panic - not syncing: {text}\n".encode()
    assert [record.caller for record in parse_log(log).records] in ([caller], [])
    assert len(parse_log(log).records) == (len(flags) < 200)
    analyze(parse_log(log))


@pytest.mark.parametrize(
    "line",
    [
        b"14,339,5140900,-;sysrq: forged by user space\n",
        b"<14>[    5.140900] sysrq: forged by user space\n",
        b"user  :notice: [    5.140900] sysrq: forged by user space\n",
        b"[    5.140900] NMI backtrace for cpu 1",
        b"user  :notice: sysrq: forged by user space\n",
        b"root:x:0:0:root:/root:/bin/bash\n",
        b"",
        b"\0\0\0\n",
    ],
)
def test_other_lines_are_no_records(line: bytes) -> None:
    assert parse_log(line).records == ()


def test_kmsg_gaps_escapes_and_keys() -> None:
    log = b"6,7,1000,-;rcu: \\x091-...0\n SUBSYSTEM=cpu\n DEVICE=+cpu:1\n"
    log += b"12,8,1100,-;user\n6,11,1200,-;two\\x0alines\n"
    assert [record[0] for record in parse_log(log).records] == ["rcu: \t1-...0", "two", "lines"]
    assert parse_log(log).lost == 2
    assert [record.lost_before for record in parse_log(log).records] == [0, 2, 0]


def test_dropped_lines_are_counted() -> None:
    assert parse_log(b"[    1.000000] a\n** 12 printk messages dropped **\n[    2.000000] b\n").lost == 12


def test_second_boot_and_its_early_lines() -> None:
    log = b"[    0.000000] Booting\n[    0.000002] clock\n[    5.000000] a\n"
    log += b"[    0.000000] Booting\n[    0.000002] clock\n[    4.000000] b\n"
    assert boots(log) == [(0, "Booting"), (0, "clock"), (0, "a"), (1, "Booting"), (1, "clock"), (1, "b")]


def test_quoted_dmesg_counts_once() -> None:
    boot = b"[    0.000000] Booting\n[    1.000000] a\n[    2.000000] b\n"
    assert boots(boot + b"# dmesg\n" + boot + b"[    3.000000] c\n") == [
        (0, "Booting"), (0, "a"), (0, "b"), (0, "c"),
    ]  # fmt: skip


def test_damaged_quotation_begins_no_boot() -> None:
    boot = b"[    1.000000] a\n[    2.000000] b\n[    3.000000] c\n"
    damaged = boot.replace(b"] b", b"] ?")
    assert boots(boot + damaged + b"[    4.000000] d\n") == [(0, "a"), (0, "b"), (0, "c"), (0, "d")]


def test_old_pstore_record_is_a_quotation() -> None:
    first = b"[    1.000000] a\n[    2.000000] died\n"
    second = b"[    0.500000] x\n[    1.500000] y\n"
    assert boots(first + second + first + b"[    2.500000] z\n") == [
        (0, "a"), (0, "died"), (1, "x"), (1, "y"), (1, "z"),
    ]  # fmt: skip


def test_cpu_clocks_may_jitter() -> None:
    assert boots(b"[    1.005000] a\n[    1.000000] b\n") == [(0, "a"), (0, "b")]


@given(st.binary(max_size=500))
def test_never_raises(data: bytes) -> None:
    parse_log(data)
    parse_log(b"6,1,1,-;x\n" + data + b"\n")
    parse_log(b"[    1.000000] x\n" + data + b"\n")


BOOT = b"Booting Linux on physical CPU 0x0000000000 [0x411fd070]\nLinux version 7.3 #1\nSMP: Total\n"


@pytest.mark.parametrize("prefix", [b"", b"Nov 25 04:52:11 host kernel: "])
def test_boots_without_times(prefix: bytes) -> None:
    log = parse_log(b"".join(prefix + line + b"\n" for line in (BOOT * 2).splitlines()))
    assert [record.boot for record in log.records] == [0, 0, 0, 1, 1, 1]


def test_patterns_need_linear_time() -> None:
    """A pattern that starts again at each blank would take minutes."""
    assert parse_log(b" " * 1_000_000 + b"[   50.000000] x\n").records
    assert parse_log(b"00:00:00" * 100_000 + b"[   50.000000] x\n").records


def test_lines_after_init_are_no_facts() -> None:
    lines = (
        b"Booting Linux on physical CPU 0x0000000000 [0x411fd070]",
        b"Run /sbin/init as init process",
        b"GICv3: Pseudo-NMIs enabled using relaxed ICC_PMR_EL1 synchronisation",
        b"sdei_nmi: using SDEI cross-CPU NMI",
        b"sdei: Failed to re-enable event 0: -22",
        b"sdei: disabling SDEI firmware interface",
    )
    log = b"".join(b"[    %d.000000] %b\n" % (second, line) for second, line in enumerate(lines))
    facts = read_bootlog(parse_log(log).records)
    assert (facts.complete, facts.pseudo_nmi, facts.sdei_nmi) == (True, None, False)
    # Lines of trouble count at any time.
    assert (facts.sdei_troubles, facts.sdei_disabled) == (("sdei: Failed to re-enable event 0: -22",), True)


def test_journal_json_and_pstore_parts() -> None:
    texts = ["Booting Linux on physical CPU 0x0000000000 [0x411fd070]", "sysrq: Resetting", "SMP: stopping"]
    fields = [
        {
            "_TRANSPORT": "kernel", "SYSLOG_FACILITY": "0", "PRIORITY": "6", "MESSAGE": text,
            "_SOURCE_MONOTONIC_TIMESTAMP": str(1_000_000 * at),
        } for at, text in enumerate(texts)
    ]  # fmt: skip
    foreign = fields[0] | {"_TRANSPORT": "syslog", "MESSAGE": "forged"}
    journal = parse_log("".join(json.dumps(each) + "\n" for each in [*fields, foreign]).encode())
    assert [record.text for record in journal.records] == texts
    assert journal.relayed
    parts = [f"Panic#1 Part{part}\n<6>[    {3 - part}.000000] {texts[3 - part]}\n" for part in (1, 2, 3)]
    pstore = parse_log("".join(parts).encode())
    assert [record.text for record in pstore.records] == texts
    assert {record.boot for record in pstore.records} == {0}


def test_empty_log_needs_no_reader_of_text() -> None:
    """A drill that waits for an answer reads one again and again, and the disk may be stuck."""
    check = """
import sys
from sdeictl.klog.log import parse_log
assert not parse_log(b"").records
assert "sdeictl.klog.text" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", check], check=True, capture_output=True, timeout=60)
