"""How is a report on a crash dump shown as text?"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone

from sdeictl.klog.render import ladder_line
from sdeictl.text import Line, Piece, name_cpus, wrapped
from sdeictl.vmcore.report import RegistersDocument, VmcoreCpuDocument, VmcoreDocument

_MASKED = {True: "masked", False: "not masked", None: "masked unknown"}
_PARKED = (
    "parked in an SDEI event that never completes: firmware reports the CPU as on,"
    " so a capture kernel that starts more than one CPU cannot bring it up"
)
_UNKNOWN = "unknown: the dump lacks the memory where the CPU saves its registers, or holds other data there"
_MAX_TIME = 1 << 36
"""About the year 4147; datetime ends at 9999."""


def render_vmcore(report: VmcoreDocument, width: int = 80) -> Iterator[Line]:
    """Return a report as text: the verdict, the dump, the panic, the CPUs, the stop ladder and the gaps."""
    word, text, style = _headline(report)
    yield from wrapped(text, width, "  ", style, head=((f"{word}  ", style),))
    kernel = f"Linux {report['kernel']}" if report["kernel"] else "unknown release of Linux"
    text = f"crash dump ({report['format']}), {kernel}{_when(report['crash_time'])}"
    yield from wrapped(text, width, "  ", head=(("", ""),))
    if report["panic"] is not None:
        on = "" if report["panic_cpu"] is None else f" on CPU {report['panic_cpu']}"
        yield from wrapped(f"panic{on}: {report['panic']}", width, "  ", head=(("", ""),))
    indent = " " * 10
    for cpu in report["cpus"]:
        words, style = _cpu_words(cpu)
        yield from wrapped(words, width, indent, style, head=((f"  cpu {cpu['cpu']:<4}", "bold"),))
        if cpu["parked"]:
            yield from wrapped(_PARKED, width, indent, "dim")
    for registers in report["unmatched"]:
        yield from wrapped(_register_words(registers), width, indent, head=(("  cpu ?   ", "yellow"),))
    if stop := report["stop"]:
        yield ladder_line(stop)
    for gap in report["gaps"]:
        yield from wrapped(f"gap: {gap}", width, "  ", "yellow", head=(("", ""),))


def _headline(report: VmcoreDocument) -> tuple[str, str, str]:
    """Return the verdict, its reason, and the style of both."""
    if report["missing"]:
        return "INCOMPLETE", f"the dump lacks the registers of {name_cpus(report['missing'])}", "bold red"
    if unmatched := len(report["unmatched"]):
        sets = "a set" if unmatched == 1 else f"{unmatched} sets"
        return "UNKNOWN", f"the dump does not show which CPU wrote {sets} of registers", "bold yellow"
    if not report["cpus"]:
        return "UNKNOWN", "the dump does not show which CPUs left registers", "bold yellow"
    unknown = [cpu["cpu"] for cpu in report["cpus"] if cpu["online"] is not False and not cpu["registers"]]
    if unknown:
        words = f"whether the registers of {name_cpus(unknown)} are missing"
        return "UNKNOWN", f"the dump does not show {words}", "bold yellow"
    return "COMPLETE", "the dump holds the registers of every CPU that was online", "bold green"


def _cpu_words(cpu: VmcoreCpuDocument) -> Piece:
    if cpu["registers"]:
        return _register_words(cpu["registers"]), ""
    if not cpu["known"]:
        return _UNKNOWN, "yellow"
    if cpu["online"] is None:
        return "no registers; the dump does not show whether the CPU was online", "yellow"
    if cpu["online"]:
        return "NO REGISTERS: the kernel did not stop the CPU", "bold red"
    return "offline", "dim"


def _register_words(registers: RegistersDocument) -> str:
    where = "user program" if registers["user"] else registers["function"] or f"pc {registers['pc']}"
    return (
        f"{_MASKED[registers['masked']]}, {where}, pstate {registers['pstate']}"
        f", sp {registers['sp']}, pid {registers['pid']}"
    )


def _when(crash_time: int | None) -> str:
    if crash_time is None or crash_time > _MAX_TIME:
        return ""
    return f", crashed {datetime.fromtimestamp(crash_time, timezone.utc):%Y-%m-%d %H:%M:%S} UTC"
