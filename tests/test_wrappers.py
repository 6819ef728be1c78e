"""A kernel log that was pasted somewhere gives the same episodes as the log itself."""

from __future__ import annotations

import html
import json
import quopri
import textwrap
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdeictl.klog.analysis import analyze
from sdeictl.klog.episodes import Episode
from sdeictl.klog.log import CUT_LINE, parse_log
from sdeictl.klog.unwrap import Wrapping
from tests.test_analysis_properties import EXAMPLES

TEXTS = (
    "watchdog: BUG: soft lockup - CPU#5 stuck for 31s! [load:88]",
    "Modules linked in: nfs",
    "rcu: INFO: rcu_sched detected stalls on CPUs/tasks:",
    "rcu: \t5-....: (1 GPs behind) idle=7db/2/0 softirq=4884/4886 fqs=6999",
    "Kernel panic - not syncing: softlockup: hung tasks",
    "SMP: stopping secondary CPUs",
    "SMP: failed to stop secondary CPUs 5",
)
KINDS = ["SoftLockup", "RcuStall", "Panic", "Stop"]
TIMED = [f"[{40 + index / 1000:12.6f}] {text}" for index, text in enumerate(TEXTS)]
CLOCK = "2026-02-03T04:05:06"


def episodes(text: str | bytes) -> tuple[Episode, ...]:
    data = text if isinstance(text, bytes) else text.encode()
    return analyze(parse_log(data)).episodes


def untimed(found: Sequence[Episode]) -> list[Episode]:
    return [episode._replace(at=None) for episode in found]


def joined(lines: Sequence[str], end: str = "\n") -> str:
    return "".join(f"{line}{end}" for line in lines)


EXPECTED = episodes(joined(TIMED))

Wrapper = Callable[[list[str]], list[str]]
WRAPPERS: dict[str, Wrapper] = {
    "mail": lambda lines: [f"> {line}" for line in lines],
    "mail twice": lambda lines: [f">> {line}" for line in lines],
    "mail without a blank": lambda lines: [f">{line}" for line in lines],
    "bar": lambda lines: [f"| {line}" for line in lines],
    "indented": lambda lines: [f"    {line}" for line in lines],
    "HTML": lambda lines: [f"<div>{html.escape(line)}<br/>" for line in lines],
    "code block": lambda lines: ["```", *lines, "```"],
    "no-break blanks": lambda lines: [line.replace(" ", "\u00a0") for line in lines],
    "trailing blanks": lambda lines: [f"{line}   " for line in lines],
    "colours": lambda lines: [f"\x1b[31m{line}\x1b[0m" for line in lines],
    "syslog tabs": lambda lines: [line.replace("\t", "#011") for line in lines],
    "dmesg tabs": lambda lines: [line.replace("\t", "\\x09") for line in lines],
}


def test_expected_episodes() -> None:
    assert [type(episode).__name__ for episode in EXPECTED] == KINDS


@pytest.mark.parametrize("lines", [TIMED, list(TEXTS)], ids=["timed", "untimed"])
@pytest.mark.parametrize("name", WRAPPERS)
def test_wrapper_changes_nothing(name: str, lines: list[str]) -> None:
    assert untimed(episodes(joined(WRAPPERS[name](lines)))) == untimed(EXPECTED)


@settings(max_examples=EXAMPLES)
@given(
    st.lists(st.sampled_from(sorted(WRAPPERS)), max_size=4, unique=True),
    st.sampled_from(["\n", "\r\n", "\r"]),
)
def test_nested_wrappers(names: list[str], end: str) -> None:
    lines = TIMED
    for name in names:
        lines = WRAPPERS[name](lines)
    assert episodes(joined(lines, end)) == EXPECTED


def test_nothing_is_left_twice() -> None:
    lines = quopri.encodestring(joined(TIMED).encode()).decode().split("\n")
    wrapping = Wrapping(lines)
    wrapping.read(lines)
    wrapping.rest()
    assert wrapping.rest() == []


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_encodings(encoding: str) -> None:
    assert episodes(joined(TIMED).encode(encoding)) == EXPECTED


def test_wrapped_and_collapsed_lines() -> None:
    wrapped = [part for line in TIMED for part in textwrap.wrap(line, 72)]
    assert len(wrapped) > len(TIMED)
    assert untimed(episodes(joined(wrapped))) == untimed(EXPECTED)
    assert episodes(" ".join(TIMED) + "\n") == EXPECTED
    assert episodes(quopri.encodestring(joined(TIMED).encode())) == EXPECTED


@pytest.mark.parametrize(
    ("kernel", "other"),
    [
        ("Feb  3 04:05:06 node7 kernel: {}", "Feb  3 04:05:06 node7 sshd[12]: "),
        (f"{CLOCK}.1+01:00 node7 kernel: {{}}", f"{CLOCK}.1+01:00 node7 systemd-logind[1]: "),
        (f"<0>1 {CLOCK}Z node7 kernel - - - {{}}", f"<30>1 {CLOCK}Z node7 sshd 12 - - "),
        ("02-03 04:05:06.789     0     0 E kernel  : {}", "02-03 04:05:06.789   123   456 I Zygote  : "),
        ("{}", "2026-02-03 04:05:06,789 INFO "),
    ],
)
@pytest.mark.parametrize("count", [1, 2])
def test_lines_of_other_programs_are_not_joined(kernel: str, other: str, count: int) -> None:
    """They are longer than the few lines of the kernel, as if those had been wrapped."""
    others = [f"{other}session {number} of a user with a long name {'x ' * 40}" for number in range(5)]
    lines = []
    for number in range(count):
        panic = f"[{number + 5:5}.000000] Kernel panic - not syncing: sysrq triggered crash"
        lines += [kernel.format(panic), *others]
    found = episodes(joined(lines))
    assert [getattr(each, "message", None) for each in found][-1:] == ["sysrq triggered crash"]


@pytest.mark.parametrize(
    "stamp",
    [
        "[Tue Feb  3 04:05:06 2026] {}", "[Feb 3 04:05] {}", "[  +0.000012] {}", "[<    0.000012>] {}",
        f"{CLOCK},123456+00:00 {{}}", f"kern  :emerg : {CLOCK},123456+00:00 {{}}", "kern  :emerg : {}",
        "<0>{}", "Feb  3 04:05:06 node7 kernel: {}", "Feb  3 04:05:06 node7 kernel[0]:  {}",
        f"{CLOCK}+0000 node7 kernel: {{}}", "kernel: {}", " kernel:{}",
        f"<0>1 {CLOCK}Z node7 kernel - - - {{}}",
    ],
)  # fmt: skip
def test_formats_without_the_time_since_boot(stamp: str) -> None:
    if " - - - " in stamp:  # RFC 5424 keeps the time of the kernel
        assert episodes(joined([stamp.format(line) for line in TIMED])) == EXPECTED
        return
    assert untimed(episodes(joined([stamp.format(text) for text in TEXTS]))) == untimed(EXPECTED)


@pytest.mark.parametrize(
    "change",
    [
        lambda line: line.replace("]", " <    0.000001>]", 1),
        lambda line: line.replace("000]", "]", 1),
        lambda line: line.replace("] ", "][    C2] ", 1),
        lambda line: line.replace("] ", "] node7 kernel: ", 1),
        lambda line: f"[{CLOCK}] {line}",
        lambda line: f"{CLOCK} | {line}",
        lambda line: f"7:{line}",
    ],
)
def test_formats_with_the_time_since_boot(change: Callable[[str], str]) -> None:
    assert episodes(joined([change(line) for line in TIMED])) == EXPECTED


def journal_entries() -> list[dict[str, str]]:
    entries = [
        {"_TRANSPORT": "kernel", "SYSLOG_FACILITY": "0", "PRIORITY": "0", "MESSAGE": text,
         "_SOURCE_MONOTONIC_TIMESTAMP": str(40_000_000 + index * 1000)}
        for index, text in enumerate(TEXTS)
    ]  # fmt: skip
    forged = {**entries[0], "_TRANSPORT": "syslog", "MESSAGE": TEXTS[0].replace("CPU#5", "CPU#6")}
    return [*entries, forged]


DMESG = [{"pri": 0, "time": 40 + at / 1000, "msg": text} for at, text in enumerate(TEXTS)]


def as_fields(indent: str) -> str:
    head = "Tue 2026-02-03 04:05:06.000001 UTC [s=1;i=1;b=2;m=3;t=4;x=5]\n" if indent else "__CURSOR=s=1\n"
    entries = (
        joined([f"{indent}{key}={value}" for key, value in entry.items()]) for entry in journal_entries()
    )
    return "".join(f"{head}{entry}\n" for entry in entries)


@pytest.mark.parametrize(
    "text",
    [
        joined([json.dumps(entry) for entry in journal_entries()]),
        joined([f"data: {json.dumps(entry)}" for entry in journal_entries()]),
        joined([json.dumps(entry, indent="\t") for entry in journal_entries()]),
        json.dumps(journal_entries()) + "\n",
        json.dumps(journal_entries(), indent=1) + "\n",
        as_fields("    "),
        as_fields(""),
        json.dumps({"dmesg": DMESG}, indent=3) + "\n",
    ],
    ids=["json", "sse", "pretty", "array", "pretty array", "verbose", "export", "dmesg -J"],
)  # fmt: skip
def test_journal_formats(text: str) -> None:
    assert episodes(text) == EXPECTED


@pytest.mark.parametrize(
    "text",
    [
        "The console said [   40.000000] watchdog: BUG: soft lockup - CPU#5 stuck for 31s! [load:88]",
        'We saw "[   40.000000] Kernel panic - not syncing: dead" there.',
        "Feb  3 04:05:06 node7 app[7]: [   40.000000] Kernel panic - not syncing: dead",
        "Our watchdog: BUG: soft lockup - CPU#5 stuck for 31s! [load:88] appears in the log",
        "SDEI and sdei_nmi: are words of this README.",
    ],
)
def test_prose_is_no_record(text: str) -> None:
    prose = "This is a text about logs, and most of it is prose.\n" * 3
    assert not [
        episode for episode in episodes(f"{prose}{text}\n{prose}") if type(episode).__name__ != "SoftLockup"
    ]


def test_program_that_quotes_a_record() -> None:
    """A second time in one line of many is text of the first record."""
    forged = "[   41.000000] app: [   41.000000] Kernel panic - not syncing: forged"
    assert episodes(joined([*TIMED, forged])) == EXPECTED
    monotonic = [line.replace("] ", "] node7 kernel: ", 1) for line in TIMED]
    forged = "[   41.000000] node7 app[9]: Kernel panic - not syncing: forged"
    assert episodes(joined([*monotonic, forged])) == EXPECTED


def test_unterminated_line_is_noted() -> None:
    log = parse_log(joined(TIMED).encode()[:-1])
    assert log.notes == (CUT_LINE,)
    assert parse_log(joined(TIMED).encode()).notes == ()
