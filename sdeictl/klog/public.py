"""What of a kernel log may leave the host: of each line only what the analysis reads in it. No I/O.

A line leaves as far as a message of klog/messages/ matches it. Where a pattern takes text that is not the
kernel's own (names of tasks, paths, reasons of a panic), a function below says what is kept of it. Every
other line, and the rest of each line, is left out: a line that nobody knows cannot leak.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice

from sdeictl.formats.cmdline import public_part
from sdeictl.klog.boot_reader import BEGINNINGS, MAX_TEXT_CHARACTERS
from sdeictl.klog.boots import BOOT_FALLBACK_SECONDS, CONTINUES, Boots
from sdeictl.klog.kmsg import escape, is_kmsg, split_record, unescape
from sdeictl.klog.lines import LineBudget, LineReader, clean_lines
from sdeictl.klog.log import LogFile
from sdeictl.klog.messages import architecture, backtrace, boot, lockups, pseudo_nmi, rcu, request, sdei, stop
from sdeictl.klog.messages.message import Message
from sdeictl.klog.messages.printk import DROPPED
from sdeictl.klog.records import Record
from sdeictl.klog.seen import SeenLines
from sdeictl.klog.text import KERNEL_TEXT

LEFT_OUT = "(left out)"
NAME = "left_out"
"""Instead of the name of a function of a module, or of a module."""
REBOOT = "-- Reboot --"
"""journalctl prints it between two boots."""
SYSLOG = "Jan  1 00:00:00 host kernel: "
"""How each line of a log begins that came through syslog or the journal."""
_RECORD = re.compile(rb"^(?=.)(?!-- Reboot --|\*\* )", re.MULTILINE)
"""The start of a line that is neither a mark between two boots nor a number of lost records."""
_SAMPLE_LINES = 500
_SAMPLE_BYTES = 4 << 20
"""More than a reader looks at before it knows the format of a log."""
_MAX_TIMES = 10_000
"""Of so many times it is known how many lines were left out."""
_PLACE = re.compile(r"([\w.$]{1,200})(\+0x[0-9a-f]{1,8}/0x[0-9a-f]{1,8})(?!\S)( \[)?", re.ASCII)
_PSTATE = re.compile(
    r"[0-9a-f]{8,16}(?: \([nN][zZ][cC][vV] [dD][aA][iI][fF](?: [-+](?:PAN|UAO|TCO|DIT|SSBS))*"
    r"(?: BTYPE=[-jc]{2})?\))?",
    re.ASCII,
)
_RCU_FLAVORS = frozenset(("rcu_preempt", "rcu_sched", "rcu_bh", "rcu_tasks", "rcu"))
_DIGITS = re.compile(r"[0-9a-f]{1,16}")
_OF_ARM = re.compile(r"\[<[0-9a-f]{8}>\]")
_OLD_ADDRESS = "[<00000000>]"
"""The value of pc on 32-bit ARM, without its digits."""
_FIRST_LINE = Message(boot.BOOTING, boot.BOOTING + r"(?:0x[0-9a-f]{1,16})?")
"""The first line of a boot as any kernel prints it, and where it was cut."""

_Render = Callable[["re.Match[str]"], str]


def whole(match: re.Match[str]) -> str:
    """Return what a message matches: its pattern takes only numbers and the words of the kernel."""
    return match[0]


def _instead(match: re.Match[str], group: int, text: str) -> str:
    """Return a match with other text for one of its groups."""
    start, end = (at - match.start() for at in match.span(group))
    return match[0][:start] + text + match[0][end:]


def _place(text: str) -> str:
    """Return a place in the kernel's own code; of a module or a user's program only that it is one."""
    match = _PLACE.match(text)
    if not match:
        return f"{NAME}+0x0/0x0" if backtrace.PLACE.match(text) else LEFT_OUT
    foreign = match[3] or match[1].startswith("bpf_prog_")
    return f"{NAME}{match[2]} [{NAME}]" if foreign else match[1] + match[2]


def _idle(match: re.Match[str]) -> str:
    return f"{backtrace.HEADER}{match[1]} skipped: idling at {LEFT_OUT}"


def _soft_lockup(match: re.Match[str]) -> str:
    pid = re.search(r":\d{1,10}$", match[3], re.ASCII)
    return _instead(match, 3, LEFT_OUT + (pid[0] if pid else ""))


def _stall(match: re.Match[str]) -> str:
    """Return the first line of an RCU stall with the CPUs and the pids in it."""
    text = match[0]
    if match["members"]:
        start = match.start("members") - match.start()
        text = f"{text[:start]} {_members(match['members'])} }}"
    return text if match[1] in _RCU_FLAVORS else text.replace(match[1], "rcu", 1)


def _members(text: str) -> str:
    found = sorted(
        (place.start(), f"P{place[1]}" if pattern is rcu.TASK else f"{place[1]}-...")
        for pattern in (rcu.CPU, rcu.TASK)
        for place in pattern.finditer(text)
    )
    return " ".join(word for _place, word in found)


def _command_line(match: re.Match[str]) -> str:
    kept = public_part(match[1])
    words = [kept] if kept == match[1] else [kept, LEFT_OUT]
    return boot.COMMAND_LINE.begins + " ".join(filter(None, words))


def _panic(match: re.Match[str]) -> str:
    reason = re.match(stop.PANIC_REASON, match[1], re.ASCII)
    if reason:
        return stop.PANIC.begins + reason[0] + ("" if reason.end() == len(match[1]) else f" {LEFT_OUT}")
    oops = f": {stop.AFTER_OOPS}" if stop.AFTER_OOPS in match[0] else ""
    return f"{stop.PANIC.begins}{LEFT_OUT}{oops}"


def _exactly(*messages: Message) -> tuple[tuple[Message, _Render], ...]:
    return tuple((message, whole) for message in messages)


MESSAGES: tuple[tuple[Message, _Render], ...] = (
    *_exactly(
        _FIRST_LINE, boot.BOOT_CPU, boot.SECONDARY_CPU, boot.CPUS_ONLINE, boot.EXCEPTION_LEVEL, boot.VHE,
        sdei.VERSION, sdei.ERROR, sdei.NMI, sdei.NMI_ERROR, sdei.WATCHDOG, sdei.AGDI_ERROR, *sdei.TROUBLE,
        pseudo_nmi.ENABLED, pseudo_nmi.BROKEN, pseudo_nmi.QUIRK, pseudo_nmi.GICV3, pseudo_nmi.GIC_SECURITY,
        pseudo_nmi.FEAT_NMI,
        *lockups.DETECTOR_ON, *lockups.DETECTOR_OFF, *lockups.HARD_LOCKUP, *lockups.CSD_LOCK,
        lockups.WORKQUEUE_LOCKUP,
        request.REQUEST, request.TIMEOUT, request.SYSRQ_L,
        backtrace.ANSWER, backtrace.SHOW_CPU, backtrace.TASK_DUMP,
        *stop.REASON, stop.LADDER, stop.CRASH_KERNEL, stop.STALE_CPUS, stop.BYE,
        # The machine, its firmware and the release of its kernel stand in each report.
        boot.MODEL, boot.DMI_FIRMWARE, boot.DMI_MODEL,
    ),
    (boot.VERSION, lambda match: match[0] + _compiler(match.string)),
    (boot.COMMAND_LINE, _command_line),
    (boot.INIT, lambda _match: "Run (...) as init process"),
    (backtrace.IDLE, _idle),
    *((message, _soft_lockup) for message in lockups.SOFT_LOCKUP),
    (lockups.HUNG_TASK, lambda match: _instead(match, 1, LEFT_OUT)),
    *((message, _stall) for message in rcu.STALL),
    (stop.PANIC, _panic),
)  # fmt: skip
"""Each message that the analysis knows, with the function that returns what is kept of a match."""


def _compiler(line: str) -> str:
    """Return which architecture the compiler of a kernel builds for, in the words of the line."""
    match = architecture.COMPILER.search(line)
    return f" ({match[1]}-linux-gcc" if match else ""


def _cpu_line(match: re.Match[str]) -> str:
    pid = re.match(r"\d{1,10}", match.string[match.end() :], re.ASCII)
    taint = architecture.TAINT.match(match.string)
    is_release = taint and re.fullmatch(boot.RELEASE, taint["release"], re.ASCII)
    words = f" {taint['tainted']} {taint['release']}" if taint and is_release else ""
    return f"CPU: {match[1]} PID: {pid[0] if pid else ''} Comm: {LEFT_OUT}{words}"


def _register(match: re.Match[str]) -> str:
    name, value = match[0][: match.start(2) - match.start()], match[2].strip()
    if match[1] == "pc":
        return name + (f"{_OLD_ADDRESS} {LEFT_OUT}" if _OF_ARM.match(value) else _place(value))
    kept = (_PSTATE if match[1] == "pstate" else _DIGITS).match(value)
    return name + (kept[0] if kept else LEFT_OUT)


def _frame(match: re.Match[str]) -> str:
    start = re.sub("[0-9a-f]", "0", match[0][: match.start(1)])
    return start + _place(match.string[match.start(1) :])


def _blocked_tasks(match: re.Match[str]) -> str:
    return match[0][: match.start(1) - match.start()] + "".join(
        f" P{pid}" for pid in rcu.TASK.findall(match[1])
    )


def _addresses(match: re.Match[str]) -> str:
    return re.sub(r"(?<=\[<)[0-9a-f]+", lambda digits: "0" * len(digits[0]), match[0])


LINES: tuple[tuple[re.Pattern[str], _Render], ...] = (
    (backtrace.CPU_LINE, _cpu_line),
    (backtrace.OLD_REGISTERS, _addresses),
    (backtrace.OLD_PC, lambda match: f"PC is at {_place(match[1])}"),
    (backtrace.REGISTER, _register),
    (re.compile(backtrace.LAST_REGISTERS), whole),
    (backtrace.FRAME, _frame),
    (rcu.STALLED_CPU, whole),
    (rcu.BLOCKED_TASKS, _blocked_tasks),
)  # fmt: skip
"""Lines that continue a message, with the function that returns what is kept of a match."""
_KEEPS_REST_OUT = (_cpu_line, _register, _frame, _idle, _panic)
"""They leave out the rest of the line themselves."""
_EVIDENCE = {"x86": "x86/", "riscv": "riscv: ", "powerpc": "NIP [", "arm": f"pc : {_OLD_ADDRESS} "}
"""A line that only the kernel of an architecture prints, in short."""
_EVIDENCE_OF_ARM64 = ("GICv3: ", "sdei_nmi: ", "sdei: ")
_RULES_OF: dict[str, list[tuple[Message, _Render]]] = {}
for _message, _render in MESSAGES:
    _RULES_OF.setdefault(_message.begins[:3], []).append((_message, _render))


def public_text(text: str) -> str:
    """Return the part of a line of the kernel that may leave the host. No reader looks at more of it."""
    text = text[:MAX_TEXT_CHARACTERS]
    if text[:3] not in BEGINNINGS and text[:1] not in CONTINUES:
        return _beginning(text) + LEFT_OUT
    found = [
        (match.end(), _with_end(match, render))
        for message, render in _RULES_OF.get(text[:3], ())
        if (match := message.match(text))
    ]
    if found:
        return max(found)[1]
    for pattern, render in LINES:
        if match := pattern.match(text):
            return _with_end(match, render)
    return (_evidence(text, architecture.architecture_of_line(text)) or _beginning(text)) + LEFT_OUT


def _beginning(text: str) -> str:
    """Return the words that show that a line without a time is the kernel's; "" without them."""
    known = KERNEL_TEXT.match(text)
    if not known or text.startswith(boot.VERSION.begins):  # the digit behind it would be a release
        return ""
    return known[0] if known[0].endswith(" ") else f"{known[0]} "


def _evidence(text: str, found: str | None) -> str:
    """Return the words of a line that show the architecture of the kernel; "" if it shows none."""
    if found != "arm64":
        return _EVIDENCE[found] if found else ""
    return next((begins for begins in _EVIDENCE_OF_ARM64 if text.startswith(begins)), _EVIDENCE_OF_ARM64[0])


def _with_end(match: re.Match[str], render: _Render) -> str:
    """Return what is kept of a line, with a mark if that is not all of it."""
    text = render(match)
    if match.end() == len(match.string) or render in _KEEPS_REST_OUT:
        return text
    return f"{text.rstrip(' ')} {LEFT_OUT}"


def public_log(data: bytes) -> bytes:
    """Return the part of a kernel log that may leave the host, with the same episodes; never raises.

    Records of /dev/kmsg stay records. Any other format becomes the text of dmesg, or of syslog. A log that is
    too long to be read whole stays one that cannot be read.
    """
    budget = LineBudget()
    reader, file = LineReader([data], LineBudget()), LogFile([data], budget)
    lines = (line for text in reader for line in clean_lines(text))
    first = list(islice(lines, _SAMPLE_LINES))
    in_records = bool(first) and is_kmsg(first)
    clean = bytearray()
    for line in _kmsg_records(chain(first, lines)) if in_records else _text_lines(file, budget):
        clean += line
    if reader.gap or file.has_gap:
        return LEFT_OUT.encode()
    if clean and not in_records and not any(_records(LogFile([bytes(clean[:_SAMPLE_BYTES])]), Boots())):
        # No line is left that shows that these are records of the kernel.
        clean = bytearray(_RECORD.sub(SYSLOG.encode(), clean))
    return bytes(clean)


def _kmsg_records(lines: Iterable[str]) -> Iterator[bytes]:
    for line in lines:
        if record := split_record(line):
            numbers, caller, escaped = record
            of_kernel = int(numbers.partition(",")[0]) < 8
            text = escape(_public_lines(unescape(escaped))) if of_kernel else LEFT_OUT
            flags = f"-,caller={caller}" if caller else "-"
            yield f"{numbers},{flags};{text}\n".encode("utf-8", "replace")


def _public_lines(text: str) -> str:
    """Return the part of a record that may leave the host. Different lines stay different.

    Of two equal lines of a record the second one is a quotation.
    """
    if "\n" not in text:
        return public_text(text)
    shown, lines = _Shown(), text.split("\n")
    public = {line: shown.unlike(BOOT_FALLBACK_SECONDS, public_text(line)) for line in dict.fromkeys(lines)}
    return "\n".join(public[line] for line in lines)


def _text_lines(file: LogFile, budget: LineBudget) -> Iterator[bytes]:
    """Yield the lines of a log in another format. The work on them counts in the budget of the file."""
    boots = Boots()
    shown = _Shown()
    before: Record | None = None
    for record in _records(file, boots):
        budget.clean()
        text = public_text(record.text)
        if before and record.boot != before.boot:
            marked = record.at is None or before.at is None or record.boot in boots.marked
            shown.begin_boot(marked=marked)
            if marked:  # otherwise the time falls back
                yield f"{REBOOT}\n".encode()
        if record.lost_before:
            yield f"** {record.lost_before} {DROPPED} **\n".encode()
        if record.at is not None:
            text = shown.unlike(record.at, text)
            caller = f"[{record.caller:>5}]" if record.caller else ""
            text = f"[{record.at:12.6f}]{caller} {text}"
        yield f"{SYSLOG if file.relayed else ''}{text}\n".encode("utf-8", "replace")
        before = record


def _records(file: LogFile, boots: Boots) -> Iterator[Record]:
    yield from file.read(boots)
    yield from boots.read((), last=True)


class _Shown:
    """The lines of this boot and the one before: lines of equal time and text count once (klog/boots.py)."""

    def __init__(self) -> None:
        self._lines = SeenLines()
        self._early: set[int] = set()
        """The lines of the first 10 ms in this boot. Each boot begins with the same ones."""
        self._before: set[int] = set()
        """The lines of the first 10 ms in the boot before."""
        self._may_quote = False
        """A line of the first 10 ms may repeat the boot before: a mark alone shows where this boot begins, or
        a later line of this boot has come."""
        self._waiting: set[int] = set()
        """The lines of the first 10 ms for which no later line has decided whether they count once."""
        self._numbers: dict[float, int] = {}
        """How many lines of a time were left out."""

    def begin_boot(self, *, marked: bool) -> None:
        self._lines.begin_boot()
        self._before, self._may_quote = self._early | self._waiting, marked
        self._early, self._waiting, self._numbers = set(), set(), {}

    def unlike(self, at: float, text: str) -> str:
        """Return a text that no line of this time has: one that repeats another is marked or numbered."""
        if at >= BOOT_FALLBACK_SECONDS:
            self._early |= self._waiting
            self._waiting.clear()
            self._may_quote = True
        if text == LEFT_OUT or self._has(at, text):
            begin = text if text.endswith(LEFT_OUT) else _marked(text)
            number = self._numbers.get(at, 0) + 1
            while self._has(at, text := _numbered(begin, number)):
                number += 1
            if len(self._numbers) > _MAX_TIMES:
                self._numbers.clear()
            self._numbers[at] = number
        if at < BOOT_FALLBACK_SECONDS:
            self._waiting.add(hash((at, text)))
        else:
            self._lines.add(hash((at, text)))
        return text

    def _has(self, at: float, text: str) -> bool:
        key = hash((at, text))
        if at >= BOOT_FALLBACK_SECONDS:
            return key in self._lines
        return key in self._early or (self._may_quote and LEFT_OUT in text and key in self._before)


def _marked(text: str) -> str:
    """Return a line with a mark, if it is then read as without; else only the mark."""
    marked = f"{text} {LEFT_OUT}"
    return marked if public_text(marked) in (text, marked) else LEFT_OUT


def _numbered(text: str, number: int) -> str:
    return text if number == 1 else f"{text} {number}"
