"""What stands before a record: who logged it, and what a file format or a page added to every line."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from sdeictl.klog.analysis import Source, analyze_files
from sdeictl.klog.episodes import Analysis, Backtrace
from sdeictl.klog.log import parse_log

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


@pytest.mark.parametrize("end", ["=0A=\n", "=0D=0A=\n", "&#10;", "&#xD;&#xA;"])
def test_line_end_can_be_written_as_an_escape(end: str) -> None:
    lines = [f"{stamped(at)} {text}" for at, text in enumerate(TEXTS)]
    log = parse_log((end.join(lines) + "\n").encode())
    assert tuple(record.text for record in log.records) == TEXTS


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


def test_boots_of_a_journal() -> None:
    request, later = "Sending NMI from CPU 1 to CPUs 2:", "usb 1-1: new device"
    short = [
        f"[  100.000000] h kernel: {request}",
        "-- Boot aabbccdd --",
        f"[  200.000000] h kernel: {later}",
    ]
    entries = [
        {
            "_TRANSPORT": "kernel", "SYSLOG_FACILITY": "0", "PRIORITY": "6", "MESSAGE": text,
            "_BOOT_ID": boot, "_SOURCE_MONOTONIC_TIMESTAMP": str(micros),
        }
        for boot, micros, text in (("a", 100_000_000, request), ("b", 200_000_000, later))
    ]  # fmt: skip
    for lines in (short, [json.dumps(entry) for entry in entries]):
        found = read(lines)
        (episode,) = found.episodes
        assert isinstance(episode, Backtrace)
        assert ([str(cpu.state) for cpu in episode.cpus], found.records) == (["self", "pending"], 2)
    stop = [f"Jan 12 10:00:00 h kernel: {text}" for text in STOPS]
    assert [episode.boot for episode in read([*stop, "-- Reboot --", *stop]).episodes] == [0, 1]


@pytest.mark.parametrize(
    "prefix", ["Jan 12 10:00:00 h kernel: ", "<6>1 2026-01-12T10:00:00.1Z h kernel - - - "]
)
def test_frame_keeps_its_blank(prefix: str) -> None:
    lines = ("Booting Linux on physical CPU 0x0", "Call trace:", " show_stack+0x14/0x1c")
    log = "".join(f"{prefix}{line}\n" for line in lines)
    assert [record.text for record in parse_log(log.encode()).records] == [*lines]


@pytest.mark.parametrize("guest", ["(XEN)", "(d1)"])
def test_lines_of_a_hypervisor(guest: str) -> None:
    lines = [
        f"{stamped(0)} Sending NMI from CPU 1 to CPUs 2:", f"{guest} [  125.000000] {PANIC}",
        f"{guest} [    0.000000] Booting Linux on physical CPU 0x0000000000 [0x410fd0c1]",
        f"{stamped(1)} usb 1-1: new device",
    ]  # fmt: skip
    found = read(lines)
    assert (found.records, len(found.episodes), found.notes) == (2, 1, ())


def test_pstore_records_of_two_crashes() -> None:
    def crash(second: int, name: str) -> list[str]:
        return [
            "Panic#1 Part2", f"<6>[  {second}.000000] usb a", "Panic#1 Part1",
            f"<0>[  {second + 3}.000000] Kernel panic - not syncing: {name}",
        ]  # fmt: skip

    for first, second, boots in ((150, 200, [0, 0]), (200, 150, [0, 1])):
        found = read([*crash(first, "one"), *crash(second, "two")])
        assert [(episode.boot, getattr(episode, "message", "")) for episode in found.episodes] == [
            (boots[0], "one"), (boots[1], "two")
        ]  # fmt: skip


def test_pstore_panic_after_an_oops() -> None:
    lines = [
        "Oops#1 Part1", "<4>[   98.000000] a", "<4>[   99.000000] b", "Panic#2 Part2", "<4>[   90.000000] c",
        "Panic#2 Part1", "<4>[   98.000000] a", "<4>[   99.000000] b", f"<0>[  100.000000] {PANIC}",
    ]  # fmt: skip
    found = read(lines)
    assert ([episode.boot for episode in found.episodes], found.records) == ([0], 4)


def test_time_of_another_clock_in_a_message() -> None:
    one = [f"{stamped(0)} remoteproc0: [   50.000000] {PANIC}"]
    many = [
        f"[  {100 + at}.000000] remoteproc0: [   {10 + at}.000100] SMP: stopping secondary CPUs"
        for at in range(3)
    ]
    assert (kinds(one), read(one).records) == ([], 1)
    assert (kinds(many), read(many).records) == ([], 3)


def test_records_that_the_journal_missed() -> None:
    lines = [
        f"{stamped(0)} h kernel: Sending NMI from CPU 1 to CPUs 2:",
        "[  100.500000] h systemd-journald[300]: Missed 55 kernel messages", f"{stamped(30)} h kernel: usb",
    ]  # fmt: skip
    assert read(lines).records_lost == 55


@pytest.mark.parametrize("other", ["ubuntu login:", "[  OK  ] Started foo.", "NOTICE:  BL31: v2.10"])
def test_line_of_another_program_is_no_continuation(other: str) -> None:
    assert kinds([f"{stamped(0)} {SOFT}", other, f"{stamped(1)} usb 1-1: new device"]) == ["SoftLockup"]


@pytest.mark.parametrize(
    "before",
    [
        "I/TC: Reserved shared memory is ena", "D/TC:0 0 ", "Jan 12 10:00:03 ubuntu login: ",
        "2024-01-12T10:00:03 host Password: ",
    ],
)  # fmt: skip
def test_record_after_other_console_text(before: str) -> None:
    lines = [f"Jan 12 10:00:01 {stamped(0)} usb a", f"{before}{stamped(2)} {PANIC}"]
    assert kinds(lines) == ["Panic"]


@pytest.mark.parametrize(
    "after", ["\x01dModules linked in: p", "#001dModules linked in: x", "Modules linked in: y"]
)
def test_hard_lockup_without_its_line_end(after: str) -> None:
    line = f"NMI watchdog: Watchdog detected hard LOCKUP on cpu 5{after}"
    assert kinds([f"{stamped(0)} {line}"]) == ["HardLockup"]


@pytest.mark.parametrize("before", ["c1 ", "(1)[25:kworker/1:0]"])
def test_stamps_of_vendors(before: str) -> None:
    assert kinds([f"{stamped(at)} {before}{text}" for at, text in enumerate(TEXTS)]) == KINDS


@pytest.mark.parametrize("before", ["<4>", "kernel: "])
def test_level_inside_syslog(before: str) -> None:
    assert kinds([f"Jan 12 10:00:00 host1 kernel: {before}{text}" for text in TEXTS]) == KINDS
    assert kinds([f"Jan 12 10:00:00 host1 kernel: <14>{PANIC}"]) == []


def test_repeated_message_of_rsyslog() -> None:
    before = "Jan 12 10:00:00 host1 kernel: "
    for stamp in ("", "[  102.000000] "):
        (panic,) = read(
            [f"{before}{stamp}usb", f"{before}message repeated 2 times: [ {stamp}{PANIC}]"]
        ).episodes
        assert getattr(panic, "message", None) == "test"


@pytest.mark.parametrize("escape", ["\x1b(B", "\x1b[?25h", "\x1b[2J", "\x1b[0;1m"])
def test_escape_sequence_at_the_end(escape: str) -> None:
    assert kinds([f"{stamped(at)} {text}{escape}" for at, text in enumerate(TEXTS)]) == KINDS


def test_firmware_before_a_log_without_times() -> None:
    booting = "Booting Linux on physical CPU 0x0000000000 [0x410fd0c1]"
    found = read(["NOTICE:  BL31: v2.10", "U-Boot 2024.01", "Hit any key", booting, *TEXTS])
    assert (found.records, {episode.boot for episode in found.episodes}) == (6, {0})
