"""What stands before a record: who logged it, and what a file format or a page added to every line."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from sdeictl.klog.analysis import Source, analyze_files
from sdeictl.klog.episodes import Analysis

PANIC = "Kernel panic - not syncing: test"
SOFT = "watchdog: BUG: soft lockup - CPU#3 stuck for 26s! [worker:4242]"
STOPS = ("SMP: stopping secondary CPUs", "SMP: failed to stop secondary CPUs 2")
TEXTS = (SOFT, "usb 1-1: new device", PANIC, *STOPS)
KINDS = ["SoftLockup", "Panic", "Stop"]
ISO = "2026-01-12T10:00:00.123456+01:00"


def read(lines: Sequence[str]) -> Analysis:
    log = "".join(f"{line}\n" for line in lines)
    return analyze_files([Source("log", [log.encode()], lambda: ())])


def kinds(lines: Sequence[str]) -> list[str]:
    return [type(episode).__name__ for episode in read(lines).episodes]


def stamped(number: int) -> str:
    return f"[  {100 + number}.000001]"


FOREIGN = [
    "<14>1 2026-01-12T10:00:00Z host1 myapp 22 - - {}",
    "2026-01-12T10:00:00Z host1 myapp 22 - - {}",
    '<14>1 2026-01-12T10:00:00Z host1 myapp 22 ID7 [meta x="1"] {}',
    "<14>Jan 12 10:00:01 host1 {}",
    "<30>{}",
    "Mon Jan 12 10:00:01 2026 daemon.notice myapp[33]: {}",
    "user.notice root: {}",
    "01-12 10:00:01.000  1234  1240 I MyApp  : {}",
    "Jan 12 10:00:01 host1 kdump[22]: saved: {}",
    "Jan 12 10:00:01 host1 vmcons[22]: guest7: <0>{}",
    "Mon 2026-01-12 10:00:01 UTC host1 vm[22]: {}",
    "1768212001.123456 host1 vm[22]: {}",
    "Jan 12 10:00:01 2026 host1 vm[22]: {}",
    f"{ISO} host1 vm[22]: {{}}",
    "user  :notice: {}",
    "he wrote `{}`",
    "he wrote \u00ab{}\u00bb",
]


@pytest.mark.parametrize("form", FOREIGN)
def test_line_of_another_program(form: str) -> None:
    lines = [f"<6>{stamped(0)} usb 1-1: new", form.format(f"{stamped(1)} {PANIC}")]
    assert kinds(lines) == []
    assert read(lines).records == 1


OURS = [
    "<6>1 2026-01-12T10:00:00Z host1 kernel - - - {}",
    "<4>Jan 12 10:00:01 host1 kernel: {}",
    "Mon Jan 12 10:00:01 2026 kern.warn kernel: {}",
    "01-12 10:00:01.000     0     0 E KERNEL  : {}",
    "Jan 12 10:00:01 host1 kernel: {}",
    "Mon 2026-01-12 10:00:01 UTC host1 kernel: {}",
    "1768212001.123456 host1 kernel: {}",
    f"{ISO} {{}}",
    "[2026-01-12 10:00:00] {}",
    "lab login: {}",
    "console.log:12:{}",
    "kern  :warn  : {}",
]


@pytest.mark.parametrize("form", OURS)
def test_line_of_the_kernel(form: str) -> None:
    assert kinds([form.format(f"{stamped(at)} {text}") for at, text in enumerate(TEXTS)]) == KINDS


PREFIXES = [
    "<6>1 2026-01-12T10:00:0{0}Z host1 kernel - - - ", f"{ISO} host1 kernel - - - ", "E KERNEL  : ",
    "1{0}:", "console.log:", "log:1{0}:", "log:[Mon Jan 12 10:00:0{0} 2026] ", "2026-01-12 10:00:0{0} | ",
    "[2026-01-12 10:00:0{0}] ", "2026-01-12T10:00:0{0}.1234567Z ", "Jan 12 10:00:0{0} ", "* ", "- ", "\t",
    "[Mon Jan 12 10:00:0{0} 2026] [    C3] ", "2026-01-12T10:00:0{0},123456+00:00 [    C3] ",
    "[Mon Jan 12 10:00:0{0} 2026 <    0.000012>] ", "Jan 12 10:00:0{0} host1 kernel: ",
]  # fmt: skip


@pytest.mark.parametrize("prefix", PREFIXES)
def test_prefix_of_records_without_time(prefix: str) -> None:
    assert kinds([prefix.format(at) + text for at, text in enumerate(TEXTS)]) == KINDS


@pytest.mark.parametrize(
    "lines",
    [
        [f"Jan 12 10:00:0{at} host1 app[7]: {text}" for at, text in enumerate(TEXTS)],
        [f"app[7]: {text}" for text in TEXTS],
        [f"We saw that {text}" for text in TEXTS],
        ["It said", f"- {PANIC}", "and then nothing more happened", "for a long time"],
    ],
)
def test_prefix_that_is_no_format(lines: list[str]) -> None:
    assert kinds(lines) == []


def test_records_on_one_line() -> None:
    line = f"<6>{stamped(0)} usb 1 <14>{stamped(1)} {PANIC} <6>{stamped(2)} usb 3"
    assert (kinds([line]), read([line]).records) == ([], 2)
    syslog = "Jan 12 10:00:00 host1"
    assert kinds([f"{syslog} app[3]: {stamped(0)} usb 1 {stamped(1)} {PANIC}"]) == []
    both = f"{syslog} kernel: {stamped(0)} {PANIC} {syslog} kernel: {stamped(1)} usb 3"
    (panic,) = read([both]).episodes
    assert getattr(panic, "message", None) == "test"
    assert kinds([f'{stamped(0)} app: said "[   50.000001] {PANIC}"']) == []


def test_stamp_of_another_program_hides_nothing() -> None:
    syslog = [f"Jan 12 10:00:00 host1 kernel: {text}" for text in TEXTS]
    other = "Jan 12 10:01:00 host1 gdm-x-session[900]: [    12.345] (II) modeset(0): x"
    assert kinds([*syslog, other]) == KINDS
    assert kinds([f"[Mon Jan 12 10:00:00 2026] {text}" for text in TEXTS] + [f"{stamped(9)} x"]) == KINDS
    assert read(["It took [12.345] seconds"]).records == 0


def test_kernel_lines_are_few() -> None:
    systemd = [f"Jan 12 10:00:00 host1 systemd[1]: Started unit {number}." for number in range(11)]
    line = "Jan 12 10:00:00 host1 kernel: usb 1-1: new device"
    assert read([*systemd, line, *systemd]).records == 1


@pytest.mark.parametrize(
    "text",
    [
        "After 10 seconds, these CPUS still haven't responded to the NMI: 5", "Task dump for CPU 3:",
        "Starting crashdump kernel...",
    ],
)  # fmt: skip
def test_single_message_without_time(text: str) -> None:
    assert len(read([text]).episodes) == 1


def test_wrapped_mail_with_an_introduction() -> None:
    wrapped = [
        "Hello,", "", f"{stamped(1)} watchdog: BUG: soft lockup - CPU#3 stuck for 26s!",
        "[kworker/u16:4:4242]", f"{stamped(2)} Kernel panic - not syncing: synchronous external abort:",
        "Fatal exception in interrupt", "", "Joe",
    ]  # fmt: skip
    soft, panic = read(wrapped).episodes
    assert getattr(soft, "task", None) == "kworker/u16:4:4242"
    assert getattr(panic, "message", "").endswith("abort: Fatal exception in interrupt")


def test_soft_breaks_alone_are_quoted_printable() -> None:
    line = f"{stamped(2)} Kernel panic - not syncing: synchronous external abort: Fatal exception"
    assert len(line) > 75
    (panic,) = read([f"{line[:75]}=", line[75:]]).episodes
    assert getattr(panic, "message", "").endswith("Fatal exception")


def test_table_of_records() -> None:
    assert kinds([f"| {stamped(at)} {text} |" for at, text in enumerate(TEXTS)]) == KINDS


@pytest.mark.parametrize(
    "form",
    [
        '- {{"dt": "2026-01-12T10:00:00", "lvl": "target", "msg": "{}"}}',
        '{{"log":"{}\\n","stream":"stdout"}}',
    ],
)  # fmt: skip
def test_console_in_json(form: str) -> None:
    assert kinds([form.format(f"{stamped(at)} {text}") for at, text in enumerate(TEXTS)]) == KINDS


@pytest.mark.parametrize("before", ["6.12.1-arm64,", "12:", "1:6.12.1,"])
def test_kmsg_with_something_before(before: str) -> None:
    lines = [f"{before}4,{at},{100_000_000 + at},-;{text}" for at, text in enumerate(TEXTS)]
    assert kinds(lines) == KINDS


def test_dmesg_json_of_util_linux() -> None:
    lines = ["{", '   "dmesg": [', "      {"]
    for at, text in enumerate(TEXTS):
        lines += [
            '         "pri": 4,',
            f'         "time": {100 + at}.000001,',
            f'         "msg": "{text}"',
            "      },{",
        ]
    assert kinds([*lines[:-1], "      }", "   ]", "}"]) == KINDS


def test_code_in_a_sentence_is_a_quotation() -> None:
    line = f"<p>The line <code>{stamped(0)} {PANIC}</code> means trouble.</p>"
    assert read([line]).records == 0


def test_monotonic_journal_without_the_kernel() -> None:
    lines = [f"{stamped(at)} host1 {tag}: x" for at, tag in enumerate(["systemd[1]", "myapp[3]", "myapp[3]"])]
    assert read(lines).records == 0
